#pragma once

#include <cstddef>
#include <vector>

#include "infer/runtimes/runtime.h"

namespace lathe::infer {

/// Rows that reach both sides of many splits of a tree: numbers of eight orders of magnitude, and where `gaps`, some
/// that are missing (NaN). The seed is fixed: the same rows every time.
std::vector<float> sample_rows(std::size_t count, std::size_t features, bool gaps);

/// Such rows for each of the model's inputs, without gaps; at most `most` of them, fewer where a row is large. Texts
/// are empty.
std::vector<Tensor> sample_inputs(const Model& model, std::size_t most);

}  // namespace lathe::infer
