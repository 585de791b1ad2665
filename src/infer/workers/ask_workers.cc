#include "infer/workers/ask_workers.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "infer/capture/capture.h"
#include "infer/http/departure.h"
#include "infer/predict.h"
#include "infer/protocols/infer_exchange.h"
#include "infer/protocols/media_type.h"
#include "infer/workers/python_model.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

using Clock = WorkerPool::Clock;

constexpr int kModelFailed = 424;  ///< as a scoring script that fails

Ask ask_of(Operation operation) {
  switch (operation) {
    case Operation::score:
      return Ask::score;
    case Operation::invocations:
      return Ask::invocations;
    default:
      return Ask::infer;
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

/// A request of the Open Inference Protocol, as its worker gets it.
struct Exchange {
  ondemand::parser parser;
  InferRequest asked;
  std::string elements;

  /// What describes the tensors, whose elements lie one after the other in what `body` gives.
  std::string head() const {
    std::string out = R"({"inputs":[)";
    for (const auto& each : asked.inputs) {
      out += out.back() == '[' ? R"({"name":)" : R"(,{"name":)";
      out += json_text(printable(each.name)) + R"(,"datatype":")" + std::string(name_of(each.type)) + R"(","shape":)";
      append_shape(out, each.shape);
      out += R"(,"size":)" + std::to_string(bytes_of(each)) + '}';
    }
    return out + "]}";
  }

  std::string_view body() {
    if (asked.inputs.size() == 1 && asked.inputs.front().type != DataType::bytes)
      return {asked.inputs.front().data.data(), asked.inputs.front().data.size()};
    for (const auto& each : asked.inputs) append_bytes(elements, each);
    return elements;
  }

  std::size_t rows() const {
    if (asked.inputs.empty() || asked.inputs.front().shape.empty()) return 1;
    return static_cast<std::size_t>(asked.inputs.front().shape.front());
  }
};

void fill(http::Reply& reply, WorkerAnswer& answer) {
  constexpr int kFirstStatus = 200;
  constexpr int kLastStatus = 599;
  reply.status = answer.status >= kFirstStatus && answer.status <= kLastStatus ? answer.status : 500;
  reply.headers += kept_headers(answer.head);
  reply.content_type = nullptr;
  reply.body = std::move(answer.body);
}

/// The tensors that a worker answered: what it says of them is not believed.
Result<std::vector<Tensor>> read_outputs(const WorkerAnswer& answer) {
  LATHE_TRY(const auto head, json::parse_object(answer.head));
  LATHE_TRY(const auto* const list, json::get_array(head, "outputs"));
  if (list == nullptr) return fail(Code::invalid, "it has no outputs");
  std::vector<Tensor> out;
  std::string_view left = answer.body;
  for (const auto& item : *list) {
    if (!item.is_object()) return fail(Code::invalid, "an output is no object");
    LATHE_TRY(const auto info, read_tensor_info(item.get_object()));
    LATHE_TRY(const auto size, json::get_int(item.get_object(), "size"));
    if (!size || *size < 0 || static_cast<std::size_t>(*size) > left.size())
      return fail(Code::invalid, "output " + info.name + " reaches past its end");
    Tensor tensor{info.name, info.type, info.shape, {}, {}};
    LATHE_CHECK(take_bytes(tensor, left.substr(0, static_cast<std::size_t>(*size)), "output " + info.name + ": "));
    left.remove_prefix(static_cast<std::size_t>(*size));
    out.push_back(std::move(tensor));
  }
  return out;
}

/// The sentence of a worker's {"error": ...}.
std::string error_of(const WorkerAnswer& answer) {
  const auto told = json::parse_object(answer.body);
  const auto text = told ? json::get_string(*told, "error") : Result<std::optional<std::string>>();
  return text && *text ? **text : "the model's worker answers " + std::to_string(answer.status);
}

Result<void> fill_tensors(const http::Request& request, const Deployment& deployment, Exchange& exchange,
                          WorkerAnswer& answer, http::Reply& reply) {
  constexpr int kGood = 200;
  constexpr int kBadInput = 400;
  if (answer.status != kGood)
    return fail(answer.status == kBadInput ? Code::invalid : Code::internal, error_of(answer));
  auto outputs = read_outputs(answer);
  if (!outputs) return fail(Code::internal, "the model's worker answers no tensors: " + outputs.error().message);
  LATHE_CHECK(keep_wanted(exchange.asked, *outputs));
  if (deployment.capture) deployment.capture->take(request, deployment.model, exchange.asked.inputs, *outputs);
  return write_infer(request, deployment.endpoint, deployment.desired.model.version, exchange.asked, *outputs, reply);
}

/// An answer to `request`, which is valid until it is given.
http::Reply reply_to(const http::Request& request, const Deployment& deployment, Exchange* exchange,
                     Result<WorkerAnswer>& given) {
  http::Reply out;
  out.headers = deployment.reply_header;
  if (!given) {
    refuse(out, given.error());
  } else if (exchange == nullptr) {
    fill(out, *given);
    constexpr int kGood = 200;
    if (deployment.capture && out.status == kGood) deployment.capture->take_bodies(request, deployment.model, out.body);
  } else if (const auto filled = fill_tensors(request, deployment, *exchange, *given, out); !filled) {
    refuse(out, filled.error());
    if (filled.error().code == Code::internal) out.status = kModelFailed;
  }
  return out;
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
  const auto refused = [&](Error error) {
    reply.headers += deployment->reply_header;
    refuse(reply, std::move(error));
    deployment->count(reply.status, {}, 0);
    return true;
  };
  if (!python.answers(ask))
    return refused({Code::invalid,
                    "deployment \"" + deployment->name + "\" of endpoint \"" + deployment->endpoint +
                        "\" has a scoring script: it answers POST /endpoints/" + deployment->endpoint + "/score alone",
                    {}});
  std::shared_ptr<Exchange> exchange;
  if (ask == Ask::infer) {
    exchange = std::make_shared<Exchange>();
    if (const auto read = read_infer(request, *deployment->model, exchange->parser, exchange->asked); !read)
      return refused(read.error());
  } else if (!python.wants_head()) {
    if (const auto good = check_charset(request); !good) return refused(good.error());
  }
  const bool tells_head = python.wants_head() || !is_plain_json(request);
  WorkerRequest asked{ask,
                      exchange     ? exchange->head()
                      : tells_head ? head_of(request)
                                   : std::string{},
                      exchange ? exchange->body() : request.body};
  const auto begin = Clock::now();
  auto done = [deployment, begin, exchange, &request, answer = put_off()](Result<WorkerAnswer> given) {
    auto out = reply_to(request, *deployment, exchange.get(), given);
    const auto took = Clock::now() - begin;
    Timing timing;
    if (given) {
      timing.queue = given->queued;
      timing.compute = std::min<std::chrono::nanoseconds>(given->ran, took - given->queued);
      timing.parse = took - timing.queue - timing.compute;  // and writing, and the ways between the processes
    } else {
      timing.queue = took;
    }
    deployment->count(out.status, timing, exchange ? exchange->rows() : 1);
    answer(std::move(out));
  };
  const auto departure = request.departure;  // which may be gone with its answer
  const auto pool = python.workers()->shared_from_this();
  const auto number = pool->ask(std::move(asked), std::move(done));
  if (number != 0 && departure) departure->on([pool, number] { pool->forget(number); });
  return false;
}

}  // namespace lathe::infer
