#include <algorithm>

#include "base/text.h"
#include "http/client.h"
#include "serving/ask.h"
#include "serving/serving.h"

namespace lathe::serving {
bool is_open_inference(const std::string& body) {
  const auto document = json::parse(body);
  if (!document || !document->is_object()) return false;
  const auto* inputs = json::find(document->get_object(), "inputs");
  if (inputs == nullptr || !inputs->is_array() || inputs->get_array().empty()) return false;
  const auto& first = inputs->get_array().front();
  return first.is_object() && first.get_object().contains("datatype");
}

namespace {

/// What follows the data plane's address, by what the body has.
std::string path_for(const std::string& endpoint, const std::string& body) {
  if (is_open_inference(body)) return "/v2/models/" + endpoint + "/infer";
  const auto document = json::parse(body);
  const bool azures = document && document->is_object() && document->get_object().contains("input_data");
  return "/endpoints/" + endpoint + (azures ? "/score" : "/invocations");
}

}  // namespace

Result<http::Response> Serving::invoke(const std::string& endpoint, const std::string& deployment, const std::string& body,
                                       const std::string& content_type) {
  bool scripts = false;  // which answer /score alone
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) -> Result<Endpoint> {
    if (!deployment.empty()) LATHE_CHECK(find_deployment(c, endpoint, deployment));
    LATHE_TRY(const auto all, deployments(c, endpoint));
    scripts = std::any_of(all.begin(), all.end(), [&](const auto& each) {
      return each.spec.format == "script" && (deployment.empty() || each.name == deployment);
    });
    return find_endpoint(c, endpoint);
  }));
  LATHE_TRY(auto options, plane_.reported().client_options());
  LATHE_TRY(options.token, bearer_of(found));
  http::Client client(std::move(options));
  http::Client::Headers headers{{"Content-Type", content_type.empty() ? "application/json" : content_type}};
  if (!deployment.empty()) headers.emplace_back("azureml-model-deployment", deployment);
  const auto path = scripts ? "/endpoints/" + endpoint + "/score" : path_for(endpoint, body);
  LATHE_TRY(auto answer, client.request("POST", path, body, headers));
  http::Response response;
  response.status = answer.status;
  response.type = std::move(answer.type);
  response.body = std::move(answer.body);
  return response;
}

}  // namespace lathe::serving
