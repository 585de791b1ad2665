#include "infer/predict.h"

#include <charconv>

#include "base/log.h"
#include "infer/protocols/open_inference.h"
#include "infer/protocols/scoring.h"

namespace lathe::infer {
namespace {

/// Memory that a thread uses again for each request.
struct Scratch {
  ondemand::parser parser;
  InferRequest request;
  std::vector<Tensor> outputs;
};

constexpr std::size_t kKeptBytes = std::size_t{1} << 20;  ///< after a larger request the memory is given back

int status_of(Code code) {
  switch (code) {
    case Code::invalid:
      return 400;
    case Code::unsupported_media:
      return 415;
    case Code::exhausted:
    case Code::unavailable:
      return 503;
    default:
      return 500;
  }
}

/// The part of the content type before its parameters.
std::string_view media_type(const http::Request& request) {
  auto type = request.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return type;
}

Result<void> infer(const http::Request& request, const Deployment& deployment, Scratch& scratch, http::Reply& reply) {
  std::optional<std::size_t> json_bytes;
  if (const auto text = request.header("inference-header-content-length"); !text.empty()) {
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
      return fail(Code::invalid, "Inference-Header-Content-Length is not a number");
    json_bytes = value;
  }
  const auto& model = *deployment.model;
  LATHE_CHECK(read_infer_request(scratch.parser, request.body, json_bytes, model, scratch.request));
  LATHE_CHECK(model.run(scratch.request.inputs, scratch.request.wanted, scratch.outputs));
  const auto json_size = append_infer_response(reply.body, deployment.endpoint, deployment.desired.model.version,
                                               scratch.request, scratch.outputs);
  if (json_size) {
    reply.content_type = "application/octet-stream";
    reply.headers += "Inference-Header-Content-Length: " + std::to_string(*json_size) + "\r\n";
  }
  return {};
}

Result<void> score(Operation operation, const http::Request& request, const Deployment& deployment, Scratch& scratch,
                   http::Reply& reply) {
  const auto& model = *deployment.model;
  const auto style = operation == Operation::score ? ScoringStyle::azure : ScoringStyle::mlflow;
  const auto type = media_type(request);
  std::vector<Tensor> inputs;
  if (http::equal_ignoring_case(type, "text/csv")) {
    LATHE_TRY(inputs, read_scoring_csv(request.body, model));
  } else if (type.empty() || http::equal_ignoring_case(type, "application/json")) {
    LATHE_TRY(inputs, read_scoring_json(scratch.parser, request.body, style, model));
  } else {
    return fail(Code::unsupported_media,
                "the Content-Type must be application/json or text/csv, got " + std::string(type));
  }
  LATHE_CHECK(model.run(inputs, deployment.predictions, scratch.outputs));
  append_predictions(reply.body, style, scratch.outputs);
  return {};
}

Result<void> run(Operation operation, const http::Request& request, const Deployment& deployment, http::Reply& reply) {
  thread_local auto scratch = std::make_unique<Scratch>();
  auto done = operation == Operation::infer ? infer(request, deployment, *scratch, reply)
                                            : score(operation, request, deployment, *scratch, reply);
  if (request.body.size() > kKeptBytes || reply.body.size() > kKeptBytes) scratch = std::make_unique<Scratch>();
  return done;
}

}  // namespace

void refuse(http::Reply& reply, int status, std::string_view message) {
  reply.status = status;
  reply.content_type = "application/json";
  reply.body = "{\"error\":";
  append_text(reply.body, message);
  reply.body += '}';
}

void predict_now(Operation operation, const http::Request& request, const Deployment& deployment, http::Reply& reply) {
  const auto begin = Lane::Clock::now();
  reply.headers += deployment.reply_header;
  try {
    if (const auto done = run(operation, request, deployment, reply); !done)
      refuse(reply, status_of(done.error().code), done.error().message);
  } catch (const std::bad_alloc&) {
    refuse(reply, 503, "there is not enough memory for this request; send fewer rows at once");
  } catch (const std::exception& error) {
    log::error("a request failed endpoint={} deployment={} error=\"{}\"", deployment.endpoint, deployment.name,
               error.what());
    refuse(reply, 500, "the request failed; the server's log says why");
  }
  const auto took = Lane::Clock::now() - begin;
  if (reply.status == 200) deployment.cost.add(took, request.body.size());
  deployment.stats->add(reply.status, took);
}

}  // namespace lathe::infer
