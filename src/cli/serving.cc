#include <charconv>
#include <cstdio>

#include "base/file.h"
#include "cli/handlers.h"
#include "cli/session.h"

namespace lathe::cli {

Result<int> run_endpoint_invoke(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(const auto file, session.need("--request-file"));
  LATHE_TRY(const auto body, read_file(file));
  LATHE_TRY(auto* http, session.client());
  const auto response = http->request("POST", path, body);
  if (!response) return fail(session.explained(response.error()));
  if (response->status >= 400) return fail(session.problem(*response));
  const auto answer = json::parse(response->body);
  return session.print(answer ? *answer : json::Value(boost::json::string_view(response->body)));
}

Result<int> run_deployment_logs(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  LATHE_TRY(auto* http, session.client());
  const auto response = http->request("GET", path);
  if (!response) return fail(session.explained(response.error()));
  if (response->status >= 400) return fail(session.problem(*response));
  std::fwrite(response->body.data(), 1, response->body.size(), stdout);
  return 0;
}

Result<int> run_rollback(Session& session) {
  LATHE_TRY(auto path, session.expand(session.verb.path));
  if (session.arguments.has("--no-wait")) path += "?wait_s=0";
  json::Object body;
  if (session.arguments.has("--revision")) {
    const auto text = session.arguments.get_or("--revision", "");
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number < 1)
      return fail(Code::invalid, "--revision: must be the number of a revision, not \"" + text +
                                     "\"; 'lathe online-endpoint revisions' lists them");
    body["revision"] = number;
  }
  const json::Value value = std::move(body);
  LATHE_TRY(const auto answer, session.call("POST", path, &value));
  return session.print(answer);
}

Result<int> run_regenerate_keys(Session& session) {
  LATHE_TRY(const auto path, session.expand(session.verb.path));
  const json::Value body = json::Object{{"key_type", session.arguments.get_or("--key-type", "primary")}};
  LATHE_TRY(const auto answer, session.call("POST", path, &body));
  return session.print(answer);
}

}  // namespace lathe::cli
