#include "infer/predict.h"

#include <utility>

#include "base/log.h"
#include "infer/protocols/infer_exchange.h"
#include "infer/protocols/media_type.h"
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
    case Code::unauthenticated:
      return 401;
    case Code::forbidden:
      return 403;
    case Code::not_found:
      return 404;
    case Code::timeout:
      return 504;
    case Code::unsupported_media:
      return 415;
    case Code::exhausted:
    case Code::unavailable:
      return 503;
    default:
      return 500;
  }
}

/// Measures the phases of one request.
class Watch {
 public:
  Watch() : last_(Lane::Clock::now()) {}
  std::chrono::nanoseconds lap() {
    const auto now = Lane::Clock::now();
    return now - std::exchange(last_, now);
  }

 private:
  Lane::Clock::time_point last_;
};

std::size_t rows_of(const std::vector<Tensor>& inputs) {
  const bool batch = !inputs.empty() && !inputs.front().shape.empty();
  return batch ? static_cast<std::size_t>(inputs.front().shape.front()) : 1;
}

Result<void> infer(const http::Request& request, const Deployment& deployment, Scratch& scratch, Timing& timing,
                   http::Reply& reply) {
  Watch watch;
  const auto& model = *deployment.model;
  auto& asked = scratch.request;
  LATHE_CHECK(read_infer(request, model, scratch.parser, asked));
  if (asked.timeout.count() > 0 && timing.queue > asked.timeout)
    return fail(Code::timeout, "the request waited longer for its turn than its parameter timeout allows");
  timing.parse = watch.lap();
  LATHE_CHECK(model.run(asked.inputs, asked.wanted, scratch.outputs));
  timing.compute = watch.lap();
  LATHE_CHECK(
      write_infer(request, deployment.endpoint, deployment.desired.model.version, asked, scratch.outputs, reply));
  timing.write = watch.lap();
  return {};
}

Result<std::vector<Tensor>> read_score(ScoringStyle style, const http::Request& request, const Model& model,
                                       Scratch& scratch) {
  LATHE_CHECK(check_charset(request));
  const auto type = media_type(request);
  if (http::equal_ignoring_case(type, "text/csv")) return read_scoring_csv(request.body, model);
  if (type.empty() || http::equal_ignoring_case(type, "application/json"))
    return read_scoring_json(scratch.parser, request.body, style, model);
  return fail(Code::unsupported_media,
              "the Content-Type must be application/json or text/csv, got " + std::string(type));
}

Result<void> score(Operation operation, const http::Request& request, const Deployment& deployment, Scratch& scratch,
                   Timing& timing, http::Reply& reply) {
  Watch watch;
  const auto& model = *deployment.model;
  const auto style = operation == Operation::score ? ScoringStyle::azure : ScoringStyle::mlflow;
  LATHE_TRY(scratch.request.inputs, read_score(style, request, model, scratch));
  timing.parse = watch.lap();
  LATHE_CHECK(model.run(scratch.request.inputs, deployment.predictions, scratch.outputs));
  timing.compute = watch.lap();
  append_predictions(reply.body, style, scratch.outputs);
  timing.write = watch.lap();
  return {};
}

/// Answers, and counts what was done.
Result<void> run(Operation operation, const http::Request& request, const Deployment& deployment, Timing& timing,
                 std::size_t& rows, http::Reply& reply) {
  thread_local auto scratch = std::make_unique<Scratch>();
  const bool infers = operation == Operation::infer || operation == Operation::stream_infer;
  auto done = infers ? infer(request, deployment, *scratch, timing, reply)
                     : score(operation, request, deployment, *scratch, timing, reply);
  rows = rows_of(scratch->request.inputs);
  if (request.body.size() > kKeptBytes || reply.body.size() > kKeptBytes) scratch = std::make_unique<Scratch>();
  return done;
}

}  // namespace

void refuse(http::Reply& reply, Error error) {
  reply.status = status_of(error.code);
  reply.content_type = "application/json";
  reply.body = "{\"error\":";
  append_text(reply.body, error.message);
  reply.body += '}';
  if (error.code == Code::unauthenticated) reply.headers += "WWW-Authenticate: Bearer\r\n";
  if (reply.status == 503) reply.headers += "Retry-After: 1\r\n";
  reply.error = std::move(error);
}

void predict_now(Operation operation, const http::Request& request, const Deployment& deployment,
                 std::chrono::nanoseconds queued, http::Reply& reply) {
  const auto begin = Lane::Clock::now();
  Timing timing;
  timing.queue = queued;
  std::size_t rows = 0;
  reply.headers += deployment.reply_header;
  try {
    if (auto done = run(operation, request, deployment, timing, rows, reply); !done) refuse(reply, done.error());
  } catch (const std::bad_alloc&) {
    refuse(reply, Code::exhausted, "there is not enough memory for this request; send fewer rows at once");
  } catch (const std::exception& error) {
    log::error("a request failed endpoint={} deployment={} error=\"{}\"", deployment.endpoint, deployment.name,
               error.what());
    refuse(reply, Code::internal, "the request failed; the server's log says why");
  }
  if (reply.error) timing = {queued, Lane::Clock::now() - begin, {}, {}};
  if (!reply.error) deployment.cost.add(timing.work(), request.body.size());
  deployment.stats->add(reply.status, timing, rows);
}

}  // namespace lathe::infer
