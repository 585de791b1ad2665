#pragma once

#include <string>
#include <string_view>

#include "infer/protocols/infer_request.h"

/// The Open Inference Protocol's messages by gRPC, as proto/inference.proto declares them.
namespace lathe::infer {

/// The fields that name a model: 1 and 2 of all messages that do. Errors: `invalid` — not a message.
struct ModelName {
  std::string_view name;
  std::string_view version;
};
Result<ModelName> read_model_name(std::string_view message);

/// Reads a ModelInferRequest for `model` into `out`, whose memory is used again.
/// Errors: `invalid`, naming the input, what was expected and what came.
Result<void> read_infer_message(std::string_view message, const Model& model, InferRequest& out);

/// Appends a ModelInferResponse.
void append_infer_message(std::string& out, std::string_view model_name, std::string_view model_version,
                          const InferRequest& request, const std::vector<Tensor>& outputs);

/// Makes a ModelStreamInferResponse of the ModelInferResponse that `out` holds.
void wrap_in_stream(std::string& out);
std::string stream_error(std::string_view message);

std::string metadata_message(std::string_view model_name, std::string_view version, const Model& model);

}  // namespace lathe::infer
