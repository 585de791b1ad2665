#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "cli/set_path.h"

namespace lathe::cli {

Result<int> run_endpoint_invoke(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto file, session.need("--request-file"));
  LATHE_TRY(const auto body, read_file(file));
  LATHE_TRY(auto* http, session.client());
  http::Client::Headers headers;
  if (const auto deployment = session.arguments.get("--deployment-name")) headers.emplace_back("azureml-model-deployment", *deployment);
  const auto response = http->request("POST", path, body, headers);
  if (!response) return fail(session.explained(response.error()));
  if (response->status >= 400) return fail(session.problem(*response));
  const auto answer = json::parse(response->body);
  return session.print(answer ? *answer : json::Value(boost::json::string_view(response->body)));
}

Result<int> run_regenerate_keys(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  const json::Value body = json::Object{{"key_type", session.arguments.get_or("--key-type", "primary")}};
  LATHE_TRY(const auto answer, session.call("POST", path, &body));
  return session.print(answer);
}

Result<int> run_deployment_create(Session& session) {
  LATHE_TRY(const int code, run_create(session));
  if (code != 0 || !session.arguments.has("--all-traffic")) return code;
  LATHE_TRY(const auto endpoint_path, session.expand("/api/v1/online-endpoints/{endpoint_name}"));
  const auto path = endpoint_path.substr(0, endpoint_path.find('?'));
  LATHE_TRY(const auto endpoint, session.call("GET", path));
  json::Object traffic;
  if (const auto* now = find_field(endpoint, "traffic"); now != nullptr && now->is_object())
    for (const auto& member : now->get_object()) traffic[member.key()] = 0;
  LATHE_TRY(const auto name, json::need_string(session.document.fields(), "name"));
  traffic[name] = 100;
  const json::Value body = json::Object{{"traffic", std::move(traffic)}};
  LATHE_CHECK(session.call("PATCH", path, &body));
  return 0;
}

}  // namespace lathe::cli
