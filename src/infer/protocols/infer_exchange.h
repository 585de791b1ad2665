#pragma once

#include "infer/http/server.h"
#include "infer/protocols/infer_request.h"
#include "infer/protocols/tensor_json.h"

namespace lathe::infer {

/// Reads a request of the Open Inference Protocol in whichever form it came: JSON, JSON with bytes behind it, or gRPC's
/// message. Errors: `invalid`, naming the input, what was expected and what came.
Result<void> read_infer(const http::Request& request, const Model& model, ondemand::parser& parser, InferRequest& out);

/// Answers `outputs`, which are those that `asked` wants, in the form of the request. Errors: `invalid` — one of them
/// cannot be classified, or does not fit where it is to be left.
Result<void> write_infer(const http::Request& request, std::string_view model_name, std::string_view version,
                         const InferRequest& asked, std::vector<Tensor>& outputs, http::Reply& reply);

}  // namespace lathe::infer
