#include "infer/protocols/infer_exchange.h"

#include <charconv>

#include "infer/protocols/open_inference.h"
#include "infer/protocols/open_inference_grpc.h"

namespace lathe::infer {

Result<void> read_infer(const http::Request& request, const Model& model, ondemand::parser& parser, InferRequest& out) {
  if (request.grpc) return read_infer_message(request.body, model, out);
  std::optional<std::size_t> json_bytes;
  if (const auto text = request.header("inference-header-content-length"); !text.empty()) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      return fail(Code::invalid, "Inference-Header-Content-Length is not a number");
    json_bytes = value;
  }
  return read_infer_request(parser, request.body, json_bytes, model, out);
}

Result<void> write_infer(const http::Request& request, std::string_view model_name, std::string_view version,
                         const InferRequest& asked, std::vector<Tensor>& outputs, http::Reply& reply) {
  for (std::size_t i = 0; i < asked.classes.size(); ++i)
    if (asked.classes[i] > 0) {
      LATHE_TRY(outputs[i], classify(outputs[i], asked.classes[i]));
    }
  LATHE_CHECK(leave_in_regions(asked, outputs));
  if (request.grpc) {
    append_infer_message(reply.body, model_name, version, asked, outputs);
    return {};
  }
  const auto json_size = append_infer_response(reply.body, model_name, version, asked, outputs);
  if (!json_size) return {};
  reply.content_type = "application/octet-stream";
  reply.headers += "Inference-Header-Content-Length: " + std::to_string(*json_size) + "\r\n";
  return {};
}

}  // namespace lathe::infer
