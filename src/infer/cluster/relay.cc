#include "infer/cluster/relay.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/digest.h"
#include "infer/predict.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

/// Those of one connection, those that this side writes, and what was seen to already.
bool stays(std::string_view name) {
  static constexpr std::array<std::string_view, 15> kStay{"host",
                                                          "connection",
                                                          "content-length",
                                                          "transfer-encoding",
                                                          "content-encoding",
                                                          "expect",
                                                          "te",
                                                          "trailer",
                                                          "upgrade",
                                                          "keep-alive",
                                                          "accept-encoding",
                                                          "origin",
                                                          "azureml-model-deployment",
                                                          kMark,
                                                          kRelayTimeout};
  return std::any_of(kStay.begin(), kStay.end(), [&](auto each) { return http::equal_ignoring_case(each, name); }) ||
         name.starts_with(':');
}

bool comes_back(std::string_view name) {
  return name != "connection" && name != "keep-alive" && name != kErrorCode && name != kNotHere;
}

Error error_of(const Exchanged& answer) {
  const auto said = answer.header(kErrorCode);
  int code = static_cast<int>(Code::internal);
  std::from_chars(said.data(), said.data() + said.size(), code);
  if (code < 0 || code > static_cast<int>(Code::unsupported_media)) code = static_cast<int>(Code::internal);
  const auto document = json::parse_object(answer.body);
  const auto message =
      document ? json::get_string(*document, "error") : Result<std::optional<std::string>>(std::nullopt);
  return {static_cast<Code>(code), message && *message ? **message : "the node that computed it failed", {}};
}

}  // namespace

std::string place_of_deployment(std::string_view endpoint, std::string_view deployment) {
  return std::string(endpoint) + '/' + std::string(deployment);
}

bool is_marked(const http::Request& request, const Catalog& catalog) {
  return catalog.cluster && equal_secrets(request.header(kMark), catalog.cluster->key);
}

std::string relayed_head(const http::Request& request, Operation operation, std::string_view deployment,
                         const std::string& key) {
  std::string head = "POST ";
  if (request.grpc && operation == Operation::stream_infer)
    head += std::string(kGrpcPaths) + "ModelInfer";  // each message of a stream is a request
  else
    head += request.path;
  if (!request.query.empty()) head.append("?").append(request.query);
  head += " HTTP/1.1\r\nHost: lathe\r\nContent-Length: " + std::to_string(request.body.size()) + "\r\n";
  for (const auto& [name, value] : request.headers) {
    const bool goes = request.grpc ? name == "authorization" || name == "x-lathe-endpoint" : !stays(name);
    if (goes) head.append(name).append(": ").append(value).append("\r\n");
  }
  if (request.timeout)
    head.append(kRelayTimeout).append(": ").append(std::to_string(request.timeout->count())).append("\r\n");
  head.append("azureml-model-deployment: ").append(deployment).append("\r\n");
  return head.append(kMark).append(": ").append(key).append("\r\n\r\n");
}

http::Request as_grpc(const http::Request& relayed) {
  auto out = relayed;
  out.grpc = true;
  const auto limit = relayed.header(kRelayTimeout);
  std::int64_t left = 0;
  if (const auto [end, error] = std::from_chars(limit.data(), limit.data() + limit.size(), left);
      error == std::errc{} && left > 0)
    out.timeout = std::chrono::nanoseconds(left);
  return out;
}

http::Reply relayed_reply(const http::Request& request, Exchanged answer, const std::string& peer) {
  http::Reply reply;
  if (answer.outcome != Exchanged::Outcome::answered) {
    refuse(reply, Code::unavailable,
           "the machine that computed this, \"" + peer +
               "\", was lost meanwhile: whether it was done is not known; ask again");
    return reply;
  }
  reply.status = answer.status;
  if (request.grpc && answer.status != 200) {
    reply.error = error_of(answer);
    reply.body = std::move(answer.body);
    return reply;
  }
  reply.content_type = nullptr;
  for (const auto& [name, value] : answer.headers) {
    const bool goes = request.grpc ? name == "azureml-model-deployment" : comes_back(name);
    if (goes) reply.headers.append(name).append(": ").append(value).append("\r\n");
  }
  reply.headers.append(kNode).append(": ").append(peer).append("\r\n");
  reply.body = std::move(answer.body);
  return reply;
}

}  // namespace lathe::infer
