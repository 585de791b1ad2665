// The data plane's bodies: whatever comes is an answer or an error, by every protocol. The first byte picks the
// protocol.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "infer/grpc/reflection.h"
#include "infer/protocols/open_inference.h"
#include "infer/protocols/open_inference_grpc.h"
#include "infer/protocols/scoring.h"

namespace {

using namespace lathe;
using namespace lathe::infer;

/// Takes a matrix and texts, and gives back zeros.
class EmptyModel : public Model {
 public:
  explicit EmptyModel(std::vector<TensorInfo> inputs) : inputs_(std::move(inputs)) {}
  std::string_view platform() const override { return "fuzz"; }
  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  bool converts_numbers() const override { return inputs_.size() == 1; }
  Result<void> run(std::span<const Tensor>, std::span<const std::size_t>, std::vector<Tensor>&) const override {
    return {};
  }

 private:
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_{{"y", DataType::fp32, {-1}}};
  std::vector<std::string> columns_{"a", "b"};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const EmptyModel kMatrix({{"input", DataType::fp32, {-1, 2}}});
  static const EmptyModel kMixed({{"a", DataType::bytes, {-1, 1}}, {"b", DataType::int8, {-1}}});
  std::vector<char> padded(size - 1 + simdjson::SIMDJSON_PADDING);
  std::memcpy(padded.data(), data + 1, size - 1);
  const std::string_view body(padded.data(), size - 1);
  const Model& model = (data[0] & 1) != 0 ? static_cast<const Model&>(kMixed) : kMatrix;

  ondemand::parser parser;
  InferRequest request;
  std::vector<Tensor> inputs;
  switch (data[0] >> 1 & 7) {
    case 0:
      if (read_infer_request(parser, body, std::nullopt, model, request)) inputs = request.inputs;
      break;
    case 1:
      if (read_infer_request(parser, body, body.size() / 2, model, request)) inputs = request.inputs;
      break;
    case 2:
      if (auto read = read_scoring_json(parser, body, ScoringStyle::azure, model)) inputs = std::move(*read);
      break;
    case 3:
      if (read_infer_message(body, model, request)) {
        inputs = request.inputs;
        std::string answer;
        append_infer_message(answer, "m", "1", request, inputs);
      }
      break;
    case 4:
      if (read_infer_request(parser, body, std::size_t{0}, model, request)) inputs = request.inputs;
      break;
    case 5:
      (void)grpc::reflect(body);
      break;
    default:
      if (auto read = read_scoring_csv(body, model)) inputs = std::move(*read);
  }
  // What was accepted must hang together: printing walks the data by the shape.
  std::string out;
  for (const auto& input : inputs) append_nested(out, input);
  return 0;
}
