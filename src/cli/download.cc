#include "cli/download.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/handlers.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

/// Whether a path from the server stays below the folder it is written to.
bool stays_below(std::string_view path) {
  const auto parts = split(path, '/');
  return !parts.empty() && std::none_of(parts.begin(), parts.end(),
                                        [](auto part) { return part.empty() || part == "." || part == ".."; });
}

std::string encoded_path(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/')) out += "/" + url_encode(part);
  return out;
}

}  // namespace

Result<int> download(Session& session, const std::string& base, const fs::path& folder,
                     const std::function<bool(std::string_view)>& wanted) {
  LATHE_TRY(const auto answer, session.call("GET", base));
  const auto* list = find_field(answer, "value");
  if (list == nullptr || !list->is_array())
    return fail(Code::internal, "the server did not answer with a list of files");
  LATHE_TRY(auto* http, session.client());
  json::Array written;
  for (const auto& entry : list->get_array()) {
    const auto* path_value = find_field(entry, "path");
    if (path_value == nullptr || !path_value->is_string()) continue;
    const auto path = json::view(path_value->get_string());
    if (!wanted(path)) continue;
    if (!stays_below(path))
      return fail(Code::internal, fmt::format("the server named a file \"{}\", which leads outside", printable(path)));
    const fs::path target = folder / path;
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (error)
      return fail(Code::internal,
                  fmt::format("cannot make the folder {}: {}", target.parent_path().string(), error.message()));
    const auto response = http->get_file(base + encoded_path(path), target.string());
    if (!response) return fail(session.explained(response.error()));
    if (response->status >= 400) return fail(session.problem(*response));
    written.push_back(json::Value(boost::json::string_view(target.string())));
  }
  if (written.empty()) return fail(Code::not_found, "there are no such files");
  return session.print(
      json::Object{{"folder", fs::absolute(folder).lexically_normal().string()}, {"files", std::move(written)}});
}

Result<int> run_model_download(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  auto version = session.arguments.get("--version");
  if (!version) {
    const auto label = session.arguments.get_or("--label", "latest");
    LATHE_TRY(const auto model,
              session.call("GET", fmt::format("/api/v1/models/{}/labels/{}", url_encode(name), url_encode(label))));
    const auto* found = find_field(model, "version");
    if (found == nullptr) return fail(Code::internal, "the server did not say the model's version");
    version = found->is_string() ? std::string(json::view(found->get_string())) : json::print(*found);
  }
  const fs::path folder = fs::path(session.arguments.get_or("--download-path", ".")) / name;
  return download(session, fmt::format("/api/v1/models/{}/versions/{}/files", url_encode(name), url_encode(*version)),
                  folder, [](std::string_view) { return true; });
}

}  // namespace lathe::cli
