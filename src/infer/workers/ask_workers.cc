#include "infer/workers/ask_workers.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "infer/predict.h"
#include "infer/workers/python_model.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

using Clock = WorkerPool::Clock;

std::optional<Ask> ask_of(Operation operation) {
  switch (operation) {
    case Operation::score:
      return Ask::score;
    case Operation::invocations:
      return Ask::invocations;
    default:
      return std::nullopt;
  }
}

std::string json_text(std::string_view text) {
  return json::print(json::Value(boost::json::string_view(text.data(), text.size())));
}

/// The request but for its body, without the key.
std::string head_of(const http::Request& request) {
  std::string out = R"({"method":)" + json_text(printable(request.method)) + R"(,"path":)" +
                    json_text(printable(request.path)) + R"(,"query":)" + json_text(printable(request.query)) +
                    R"(,"headers":[)";
  bool first = true;
  for (const auto& [name, value] : request.headers) {
    if (http::equal_ignoring_case(name, "authorization")) continue;
    if (!std::exchange(first, false)) out += ',';
    out += '[' + json_text(printable(name)) + ',' + json_text(printable(value)) + ']';
  }
  return out + "]}";
}

bool is_plain_json(const http::Request& request) {
  const auto type = request.header("content-type");
  return type.empty() || http::equal_ignoring_case(type, "application/json");
}

void fill(http::Reply& reply, WorkerAnswer& answer) {
  constexpr int kFirstStatus = 200;
  constexpr int kLastStatus = 599;
  reply.status = answer.status >= kFirstStatus && answer.status <= kLastStatus ? answer.status : 500;
  reply.headers += kept_headers(answer.head);
  reply.content_type = nullptr;
  reply.body = std::move(answer.body);
}

}  // namespace

std::string kept_headers(std::string_view head) {
  constexpr std::array<std::string_view, 6> kOfTheMessage{"content-length", "transfer-encoding", "connection",
                                                          "keep-alive",     "upgrade",           "trailer"};
  const auto is_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
  };
  const auto is_of_value = [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != '\x7f'; };
  std::string out;
  while (!head.empty()) {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    head.remove_prefix(end == std::string_view::npos ? head.size() : end + 2);
    const auto name = line.substr(0, line.find(':'));
    const auto value = line.substr(std::min(line.size(), name.size() + 1));
    const bool good = !name.empty() && name.size() < line.size() && std::all_of(name.begin(), name.end(), is_of_name) &&
                      std::all_of(value.begin(), value.end(), is_of_value);
    const bool ours = std::any_of(kOfTheMessage.begin(), kOfTheMessage.end(),
                                  [&](auto each) { return http::equal_ignoring_case(name, each); });
    if (good && !ours) out.append(line).append("\r\n");
  }
  return out;
}

bool ask_workers(Operation operation, const http::Request& request, const std::shared_ptr<const Deployment>& deployment,
                 http::Reply& reply, const std::function<http::Answer()>& put_off) {
  const auto& python = *deployment->model->python();
  const auto ask = ask_of(operation);
  if (!ask || !python.answers(*ask)) {
    const auto where = "POST /endpoints/" + deployment->endpoint;
    refuse(reply, Code::invalid,
           "deployment \"" + deployment->name + "\" of endpoint \"" + deployment->endpoint +
               "\" is computed by Python: it answers " + where + "/score" +
               (python.answers(Ask::invocations) ? " and " + where + "/invocations" : " alone"));
    return true;
  }
  WorkerRequest asked{*ask, python.wants_head() || !is_plain_json(request) ? head_of(request) : std::string{},
                      request.body};
  const auto begin = Clock::now();
  auto done = [deployment, begin, answer = put_off()](Result<WorkerAnswer> given) {
    http::Reply out;
    out.headers = deployment->reply_header;
    const auto took = Clock::now() - begin;
    Timing timing;
    if (given) {
      fill(out, *given);
      timing.queue = given->queued;
      timing.compute = std::min<std::chrono::nanoseconds>(given->ran, took - given->queued);
      timing.parse = took - timing.queue - timing.compute;  // and writing, and the ways between the processes
    } else {
      timing.queue = took;
      refuse(out, given.error());
    }
    deployment->stats->add(out.status, timing, 1);
    answer(std::move(out));
  };
  python.workers()->ask(std::move(asked), std::move(done));
  return false;
}

}  // namespace lathe::infer
