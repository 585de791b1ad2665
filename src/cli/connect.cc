#include "cli/connect.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "cli/contexts.h"
#include "json/json.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

/// The data folder of the server that was started last by this user, where another than the default was named.
fs::path last_data_folder() {
  return trim(read_file(Contexts::file().parent_path() / "last-data").value_or(""));
}

Result<Target> local_server(const fs::path& data) {
  const auto text = read_file(data / "server.json");
  if (!text && text.error().code == Code::not_found) return fail(no_server());
  if (!text) return fail(text.error());
  LATHE_TRY(const auto document, json::parse_object(*text));
  LATHE_TRY(auto url, json::need_string(document, "url"));
  Target target{without_slash(std::move(url)), {}, {}, true};
  LATHE_TRY(const auto pin, json::get_string(document, "certificate_sha256"));
  target.certificate_sha256 = pin.value_or("");
  if (const auto token = read_file(data / "admin.token")) target.token = trim(*token);
  return target;
}

}  // namespace

Error no_server() {
  return {Code::unavailable, "no server is running here; start one with `lathe serve`", {}};
}

Result<Target> find_server(const Arguments& arguments) {
  const auto data_flag = arguments.get("--data");
  const fs::path data = data_flag
                            ? *data_flag
                            : environment("LATHE_DATA").value_or(user_folder("XDG_DATA_HOME", ".local/share").string());
  const auto token = arguments.has("--token") ? arguments.get("--token") : environment("LATHE_TOKEN");
  LATHE_TRY(const auto contexts, Contexts::load());

  Target target;
  if (const auto url = arguments.get("--url")) {
    target.url = without_slash(*url);
  } else if (const auto name = arguments.get("--context")) {
    LATHE_TRY(auto context, contexts.find(*name));
    return Target{context.url, arguments.get_or("--token", context.token), context.certificate_sha256, false};
  } else if (data_flag) {
    LATHE_TRY(target, local_server(data));
  } else if (const auto from_environment = environment("LATHE_URL")) {
    target.url = without_slash(*from_environment);
  } else if (!contexts.current.empty()) {
    LATHE_TRY(auto context, contexts.find(contexts.current));
    return Target{context.url, arguments.get_or("--token", context.token), context.certificate_sha256, false};
  } else {
    auto found = local_server(data);
    if (!found && !environment("LATHE_DATA")) found = local_server(last_data_folder());
    LATHE_TRY(target, std::move(found));
  }

  if (!target.here) {  // a bare URL: whatever is known of it
    for (const auto& entry : contexts.all)
      if (entry.second.url == target.url)
        target = Target{target.url, entry.second.token, entry.second.certificate_sha256, false};
    if (target.token.empty()) {
      const auto local = local_server(data);
      if (local && local->url == target.url) target = *local;
    }
  }
  if (token) target.token = *token;
  return target;
}

}  // namespace lathe::cli
