#pragma once

#include <span>
#include <string>
#include <vector>

#include "infer/runtimes/runtime.h"

/// Several requests as one: their tensors one after the other along the first dimension.
namespace lathe::infer {

/// The rows of a request, the first dimension of all its inputs. Errors: `invalid` — they differ, an input has none, or
/// there are more than `most`.
Result<std::size_t> count_rows(std::span<const Tensor> inputs, std::size_t most);

/// What must agree so that requests can be joined: types, and all dimensions but the first.
std::string kind_of(std::span<const Tensor> inputs);

/// Of requests of one kind, in their order; not for none.
std::vector<Tensor> join_inputs(std::span<const std::vector<Tensor>* const> requests);

/// `rows` rows of `whole`, which has `all_rows`, from the `first` on. Errors: `internal` — its first dimension is
/// another.
Result<Tensor> cut_rows(const Tensor& whole, std::size_t all_rows, std::size_t first, std::size_t rows);

}  // namespace lathe::infer
