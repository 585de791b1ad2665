#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/runtimes/runtime.h"
#include "infer/shared_regions.h"

/// A request of the Open Inference Protocol v2, whether it came as JSON or by gRPC.
namespace lathe::infer {

/// An output that the request names.
struct WantedOutput {
  std::size_t index = 0;  ///< of the model's outputs
  std::optional<bool> binary;
  std::size_t classes = 0;
  std::string name = {};                   ///< in place of the index, of a model that checks itself
  std::optional<RegionPlace> region = {};  ///< where its bytes are left, in place of the answer
};

struct InferRequest {
  std::optional<std::string> id;
  std::string parameters;               ///< those that are echoed, as the protocol writes them
  std::vector<Tensor> inputs;           ///< in the order of the model's inputs, fitting them
  std::vector<std::size_t> wanted;      ///< indexes of the model's outputs
  std::vector<bool> binary;             ///< for each wanted output: as bytes, not as numbers
  std::chrono::microseconds timeout{};  ///< refused when it waited longer; 0: as the deployment says
  std::uint64_t priority = 0;           ///< 1 is served first; 0: as the deployment says
  std::vector<std::size_t> classes;  ///< for each wanted output: so many of its greatest values; 0: the output itself
  std::vector<std::optional<RegionPlace>> regions;  ///< for each wanted output: where its bytes go, if not back

  // Of a model that checks itself: `wanted`, `binary` and `classes` follow when it has answered.
  std::vector<WantedOutput> named;
  bool all_binary = false;
};

/// Adds the output of this name. Errors: `invalid` — there is none, or it is there already.
Result<WantedOutput*> add_output(std::vector<WantedOutput>& named, std::string_view name, const Model& model);
/// All outputs when none is named.
void choose_outputs(const std::vector<WantedOutput>& named, const Model& model, bool all_binary, InferRequest& out);

/// Keeps of what a model that checks itself has answered the outputs that the request wants, in its order.
/// Errors: `invalid` — it has answered no such output.
Result<void> keep_wanted(InferRequest& request, std::vector<Tensor>& outputs);

/// Brings the inputs into the model's order and checks them. Errors: `invalid`, naming the input, what was expected and
/// what came.
Result<void> match_inputs(const Model& model, std::vector<Tensor>& inputs);
/// The names of these tensors, for a sentence.
std::string names_of(const std::vector<TensorInfo>& infos);

/// Whether a parameter of a request is an order to the server and so is not echoed.
bool is_order(std::string_view parameter);

/// The first dimension of the first input; 1 where there is none.
std::size_t rows_of(const std::vector<Tensor>& inputs);

/// Of the parameter "timeout", which may be any number.
std::chrono::microseconds to_timeout(std::uint64_t microseconds);

/// Fills a tensor whose type and shape are set from its elements' bytes; texts come each after its length in four
/// bytes, little-endian. `where` begins the sentence of an error. Errors: `invalid`.
Result<void> take_bytes(Tensor& tensor, std::string_view bytes, const std::string& where);
/// Fills it from a region of shared memory. Errors: `invalid`.
Result<void> take_region(Tensor& tensor, const RegionPlace& place, const std::string& where);
/// Leaves the outputs there that are wanted there. Errors: `invalid`.
Result<void> leave_in_regions(const InferRequest& request, const std::vector<Tensor>& outputs);
/// Bytes in the form that take_bytes reads.
void append_bytes(std::string& out, const Tensor& tensor);
std::size_t bytes_of(const Tensor& tensor);

/// Triton's classification extension: of each row (the whole tensor when it has fewer than two dimensions) the `most`
/// greatest values, as texts "value:index". Errors: `invalid` — its elements are texts.
Result<Tensor> classify(const Tensor& tensor, std::size_t most);

}  // namespace lathe::infer
