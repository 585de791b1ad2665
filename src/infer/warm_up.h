#pragma once

#include "infer/runtimes/runtime.h"
#include "model_config/model_config.h"

namespace lathe::infer {

/// Tries a model before it takes traffic: where requests may be joined, that its rows do not depend on each other; and
/// the requests of model_warmup. Blocks for as long as that takes. Errors: `invalid`, with a sentence for the person
/// who deploys it.
Result<void> warm_up(const Model& model, const ModelConfig& config);

DataType data_type_of(const WarmupInput& input);

}  // namespace lathe::infer
