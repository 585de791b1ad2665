#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/protocols/infer_request.h"
#include "infer/protocols/tensor_json.h"

/// The Open Inference Protocol's JSON, with Triton's extension for binary tensors.
namespace lathe::infer {

/// Reads a request for `model` into `out`, whose memory is used again.
/// `json_bytes`: the value of Inference-Header-Content-Length when the client sent it: binary tensors follow the JSON.
/// Errors: `invalid`, naming the input, what was expected and what came.
Result<void> read_infer_request(ondemand::parser& parser, std::string_view body, std::optional<std::size_t> json_bytes,
                                const Model& model, InferRequest& out);

/// Appends the response. Returns the size of its JSON when binary tensors follow it.
std::optional<std::size_t> append_infer_response(std::string& out, std::string_view model_name,
                                                 std::string_view model_version, const InferRequest& request,
                                                 const std::vector<Tensor>& outputs);

/// The model's metadata.
std::string model_metadata(std::string_view model_name, const std::vector<std::string>& versions, const Model& model);

}  // namespace lathe::infer
