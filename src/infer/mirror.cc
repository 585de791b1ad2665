#include "infer/mirror.h"

#include <sys/resource.h>

#include <boost/asio/post.hpp>
#include <deque>
#include <exception>
#include <string>
#include <utility>

#include "infer/predict.h"
#include "infer/protocols/tensor_json.h"
#include "infer/workers/ask_workers.h"

namespace lathe::infer {
namespace {

constexpr int kNicer = 10;
/// Of all copies together; more of them are dropped.
constexpr std::size_t kMostRequests = 256;
constexpr std::size_t kMostBytes = std::size_t{64} << 20;

}  // namespace

/// A request with all that it points to.
struct Mirror::Copy {
  Copy(Operation what, const http::Request& original, std::shared_ptr<const Deployment> to,
       std::shared_ptr<Held> counts)
      : operation(what), request(original), target(std::move(to)), held(std::move(counts)) {
    body.reserve(original.body.size() + simdjson::SIMDJSON_PADDING);
    body = original.body;
    request.body = body;
    for (auto* const view : {&request.method, &request.path, &request.query}) keep(*view);
    for (auto& header : request.headers) {
      keep(header.name);
      keep(header.value);
    }
    request.timeout.reset();  // nobody waits
    request.departure.reset();
    ++held->requests;
    held->bytes += body.size();
  }
  ~Copy() {
    --held->requests;
    held->bytes -= body.size();
  }
  Copy(const Copy&) = delete;

  void keep(std::string_view& view) { view = texts.emplace_back(view); }

  const Operation operation;
  http::Request request;
  const std::shared_ptr<const Deployment> target;
  const std::shared_ptr<Held> held;
  std::string body;
  std::deque<std::string> texts;
};

Mirror::Mirror() {
  boost::asio::post(threads_, [] { ::setpriority(PRIO_PROCESS, 0, kNicer); });  // of this thread, on Linux
}

void Mirror::send(Operation operation, const http::Request& request,
                  const std::shared_ptr<const Deployment>& target) noexcept {
  // Its outputs would go where the client looks for those of the deployment that answers.
  if (request.body.find("shared_memory_region") != std::string_view::npos) return;
  try {
    if (held_->requests < kMostRequests && held_->bytes + request.body.size() <= kMostBytes) {
      auto copy = std::make_shared<Copy>(operation, request, target, held_);
      return boost::asio::post(threads_, [kept = std::move(copy)] { compute(kept); });
    }
  } catch (const std::exception&) {  // there is no room for it
  }
  target->stats->add_copy(Stats::Copy::dropped);
}

void Mirror::compute(const std::shared_ptr<Copy>& copy) {
  constexpr int kFull = 503;
  const auto count = [copy](const http::Reply& reply) {
    copy->target->stats->add_copy(reply.status == kFull ? Stats::Copy::dropped : Stats::Copy::computed);
  };
  http::Reply reply;
  if (copy->target->model->python() == nullptr) {
    predict_now(copy->operation, copy->request, *copy->target, {}, nullptr, reply);
    count(reply);
    return;
  }
  const auto put_off = [&count]() -> http::Answer { return count; };
  if (ask_workers(copy->operation, copy->request, copy->target, reply, put_off)) count(reply);
}

}  // namespace lathe::infer
