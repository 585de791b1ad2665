#include "infer/predict.h"

#include <utility>

#include "base/log.h"
#include "infer/batching/join.h"
#include "infer/capture/capture.h"
#include "infer/protocols/infer_exchange.h"
#include "infer/protocols/media_type.h"
#include "infer/protocols/scoring.h"

namespace lathe::infer {
namespace {

/// Memory that a thread uses again for each request.
struct Scratch {
  InferRequest request;
  std::vector<Tensor> outputs;
};

constexpr std::size_t kKeptBytes = std::size_t{4} << 20;  ///< after a larger request the memory is given back

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

/// That of the thread; a large body makes it large, and then it is given back.
std::unique_ptr<ondemand::parser>& thread_parser() {
  thread_local auto parser = std::make_unique<ondemand::parser>();
  return parser;
}

Result<std::vector<Tensor>> read_score(ScoringStyle style, const http::Request& request, const Model& model) {
  LATHE_CHECK(check_charset(request));
  const auto type = media_type(request);
  if (http::equal_ignoring_case(type, "text/csv")) return read_scoring_csv(request.body, model);
  if (type.empty() || http::equal_ignoring_case(type, "application/json"))
    return read_scoring_json(*thread_parser(), request.body, style, model);
  return fail(Code::unsupported_media,
              "the Content-Type must be application/json or text/csv, got " + std::string(type));
}

bool infers(Operation operation) {
  return operation == Operation::infer || operation == Operation::stream_infer;
}

ScoringStyle style_of(Operation operation) {
  return operation == Operation::score ? ScoringStyle::azure : ScoringStyle::mlflow;
}

/// The outputs, by a run of the model or from the cache.
Result<void> compute(const Deployment& deployment, const InferRequest& asked, ResponseCache* cache,
                     std::vector<Tensor>& outputs, Timing& timing) {
  Watch watch;
  if (cache == nullptr || !deployment.caches()) {
    LATHE_CHECK(deployment.model->run(asked.inputs, asked.wanted, outputs));
    timing.compute = watch.lap();
    return {};
  }
  LATHE_TRY(const auto key, ResponseCache::key_of(deployment.serial, asked));
  const auto kept = cache->find(key);
  timing.cache = kept ? Timing::Cache::hit : Timing::Cache::miss;
  if (kept) outputs = *kept;
  timing.lookup = watch.lap();
  if (kept) return {};
  LATHE_CHECK(deployment.model->run(asked.inputs, asked.wanted, outputs));
  timing.compute = watch.lap();
  cache->put(key, outputs);
  timing.lookup += watch.lap();
  return {};
}

Result<void> run(Operation operation, const http::Request& request, const Deployment& deployment, ResponseCache* cache,
                 Scratch& scratch, Timing& timing, http::Reply& reply) {
  Watch watch;
  auto& asked = scratch.request;
  LATHE_CHECK(decode(operation, request, deployment, asked));
  if (asked.timeout.count() > 0 && timing.queue > asked.timeout)
    return fail(Code::timeout, "the request waited longer for its turn than its parameter timeout allows");
  timing.parse = watch.lap();
  LATHE_CHECK(compute(deployment, asked, cache, scratch.outputs, timing));
  if (deployment.capture) deployment.capture->take(request, deployment.model, asked.inputs, scratch.outputs);
  watch.lap();
  LATHE_CHECK(encode(operation, request, deployment, asked, scratch.outputs, reply));
  timing.write = watch.lap();
  return {};
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

Result<void> decode(Operation operation, const http::Request& request, const Deployment& deployment,
                    InferRequest& asked) {
  const auto& model = *deployment.model;
  if (infers(operation)) {
    LATHE_CHECK(read_infer(request, model, *thread_parser(), asked));
  } else {
    LATHE_TRY(asked.inputs, read_score(style_of(operation), request, model));
    asked.wanted = deployment.predictions;
    asked.classes.clear();
    asked.timeout = {};
    asked.priority = 0;
  }
  if (request.body.size() > kKeptBytes) thread_parser() = std::make_unique<ondemand::parser>();
  const auto* const config = deployment.config();
  if (config != nullptr && config->max_batch_size > 0)
    LATHE_CHECK(count_rows(asked.inputs, static_cast<std::size_t>(config->max_batch_size)));
  return {};
}

Result<void> encode(Operation operation, const http::Request& request, const Deployment& deployment,
                    const InferRequest& asked, std::vector<Tensor>& outputs, http::Reply& reply) {
  if (infers(operation))
    return write_infer(request, deployment.endpoint, deployment.desired.model.version, asked, outputs, reply);
  append_predictions(reply.body, style_of(operation), outputs);
  return {};
}

std::chrono::nanoseconds limit_of(const Deployment& deployment, const http::Request& request) {
  const std::chrono::nanoseconds own = std::chrono::milliseconds(deployment.desired.request_timeout_ms);
  return std::min(own, request.timeout.value_or(own));
}

Error waited_too_long(const Deployment& deployment, const http::Request& request) {
  using std::chrono::milliseconds;
  const auto limit = limit_of(deployment, request);
  return {Code::timeout,
          "the request waited longer than " + std::to_string(std::chrono::duration_cast<milliseconds>(limit).count()) +
              " ms for its turn; " +
              (limit < milliseconds(deployment.desired.request_timeout_ms)
                   ? "that is its client's deadline: ask with a later one, or raise the deployment's instances"
                   : "raise the deployment's instances or request_settings.request_timeout_ms"),
          {}};
}

void refuse_caught(const Deployment& deployment, http::Reply& reply) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    refuse(reply, Code::exhausted, "there is not enough memory for this request; send fewer rows at once");
  } catch (const std::exception& error) {
    log::error("a request failed endpoint={} deployment={} error=\"{}\"", deployment.endpoint, deployment.name,
               error.what());
    refuse(reply, Code::internal, "the request failed; the server's log says why");
  }
}

void predict_now(Operation operation, const http::Request& request, const Deployment& deployment,
                 std::chrono::nanoseconds queued, ResponseCache* cache, http::Reply& reply) {
  thread_local auto scratch = std::make_unique<Scratch>();
  Watch watch;
  Timing timing;
  timing.queue = queued;
  reply.headers += deployment.reply_header;
  guarded(deployment, reply, [&] { return run(operation, request, deployment, cache, *scratch, timing, reply); });
  const auto rows = rows_of(scratch->request.inputs);
  if (request.body.size() > kKeptBytes || reply.body.size() > kKeptBytes) scratch = std::make_unique<Scratch>();
  if (reply.error) timing = {queued, watch.lap(), {}, {}};
  if (!reply.error && timing.cache != Timing::Cache::hit) deployment.cost.add(timing.work(), request.body.size());
  deployment.count(reply.status, timing, rows);
}

}  // namespace lathe::infer
