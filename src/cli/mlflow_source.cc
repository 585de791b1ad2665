#include "cli/mlflow_source.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "base/digest.h"
#include "base/text.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

constexpr int kTries = 5;
constexpr int kFirstTries = 2;  // whether it is there at all
constexpr int kDeepest = 64;
constexpr std::string_view kProxy = "mlflow-artifacts:/";

std::string encoded_path(std::string_view path) {
  std::string out;
  for (const auto part : split(path, '/'))
    if (!part.empty()) out += "/" + url_encode(part);
  return out;
}

/// The path below the artifacts of "mlflow-artifacts:/PATH" or "mlflow-artifacts://HOST/PATH"; empty: another scheme.
std::string proxied(const std::string& uri) {
  if (!uri.starts_with(kProxy)) return {};
  auto rest = uri.substr(kProxy.size());
  if (rest.starts_with('/')) rest = rest.substr(std::min(rest.size(), rest.find('/', 1)));
  while (rest.starts_with('/')) rest.erase(0, 1);
  return rest;
}

Error refused(const http::ClientResponse& response, const std::string& url) {
  const Code code = response.status == 404   ? Code::not_found
                    : response.status == 401 ? Code::unauthenticated
                    : response.status == 403 ? Code::forbidden
                    : response.status < 500  ? Code::invalid
                                             : Code::unavailable;
  std::string why = fmt::format("{} answered {}", url, response.status);
  if (const auto body = json::parse_object(response.body))
    if (const auto text = json::get_string(*body, "message"); text && *text) why += ": " + printable(**text);
  if (code == Code::unauthenticated)
    why += " (set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)";
  return {code, why, {}};
}

}  // namespace

std::string text_in(const json::Value& value, std::string_view key) {
  const auto* found = find_field(value, key);
  if (found == nullptr || found->is_null()) return "";
  return found->is_string() ? std::string(json::view(found->get_string())) : json::print(*found);
}

Result<std::unique_ptr<MlflowSource>> MlflowSource::open(std::string url, const char* (*environment)(const char*)) {
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    return fail(Code::invalid,
                fmt::format("--from-mlflow {}: expected a server's URL, such as http://HOST:5000; for a folder or "
                            "a database start `mlflow server` on it first",
                            printable(url)));
  const auto get = [&](const char* name) {
    const char* value = environment(name);
    return std::string(value != nullptr ? value : "");
  };
  http::ClientOptions options;
  const auto host = url.find("://") + 3;
  const auto at = url.find('@', host);
  if (at != std::string::npos && at < url.find('/', host)) {
    options.authorization = "Basic " + base64_encode(url_decode(url.substr(host, at - host)));
    url.erase(host, at + 1 - host);
  }
  options.url = url;
  if (options.authorization.empty()) options.token = get("MLFLOW_TRACKING_TOKEN");
  if (const auto user = get("MLFLOW_TRACKING_USERNAME");
      !user.empty() && options.token.empty() && options.authorization.empty())
    options.authorization = "Basic " + base64_encode(user + ":" + get("MLFLOW_TRACKING_PASSWORD"));
  return std::unique_ptr<MlflowSource>(new MlflowSource(url, std::move(options)));
}

Result<json::Value> MlflowSource::call(std::string_view method, const std::string& path, const std::string& body,
                                       int most) {
  auto pause = std::chrono::milliseconds(200);
  for (int tries = 1;; ++tries, pause *= 3) {
    auto response = client_.request(method, path, body);
    const bool away =
        response ? response->status >= 500 || response->status == 429 : response.error().code != Code::invalid;
    if (away && tries < most) {
      std::this_thread::sleep_for(pause);
      continue;
    }
    if (!response) return fail(response.error());
    if (response->status >= 400) return fail(refused(*response, name_));
    auto value = json::parse(response->body);
    if (!value)
      return fail(Code::invalid,
                  fmt::format("{} did not answer as an MLflow server: {}", name_, value.error().message));
    return value;
  }
}

Result<json::Value> MlflowSource::get(const std::string& path) {
  return call("GET", "/api/2.0/mlflow/" + path, "", kTries);
}

Result<json::Value> MlflowSource::post(const std::string& path, const json::Object& body) {
  return call("POST", "/api/2.0/mlflow/" + path, json::print(body), kTries);
}

Result<std::string> MlflowSource::identity() {
  const auto first = call("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", "", kFirstTries);
  if (!first && first.error().code != Code::not_found) return fail(first.error());
  const auto made = first ? text_in(*first, "experiment.creation_time") : "";
  if (made.empty() || made == "0") return name_;  // an MLflow before 1.29, or one whose first experiment is gone
  return "mlflow server of " + made;
}

Result<void> MlflowSource::each(const std::string& path, const json::Object* body, const std::string& list,
                                const Each& take) {
  std::string token;
  do {
    json::Object asked = body != nullptr ? *body : json::Object{};
    if (!token.empty()) asked["page_token"] = token;
    auto page =
        body != nullptr ? post(path, asked) : get(path + (token.empty() ? "" : "&page_token=" + url_encode(token)));
    if (!page) return fail(page.error());
    const auto* items = find_field(*page, list);
    if (items != nullptr && items->is_array())
      for (const auto& item : items->get_array())
        if (item.is_object()) LATHE_CHECK(take(item.get_object()));
    const auto next = text_in(*page, "next_page_token");
    if (next == token) break;
    token = next;
  } while (!token.empty());
  return {};
}

Result<void> MlflowSource::list(const std::string& uri, const std::string& id, bool model, const std::string& folder,
                                int depth, std::vector<File>& out) {
  if (depth > kDeepest)
    return fail(Code::invalid, fmt::format("the artifacts at {} lie deeper than {} folders", uri, kDeepest));
  const auto root = proxied(uri);
  std::string path;
  if (!root.empty())
    path = "/api/2.0/mlflow-artifacts/artifacts?path=" + url_encode(root + (folder.empty() ? "" : "/" + folder));
  else if (model)
    path = fmt::format("/api/2.0/mlflow/logged-models/{}/artifacts/directories?artifact_directory_path={}",
                       url_encode(id), url_encode(folder));
  else
    path = fmt::format("/api/2.0/mlflow/artifacts/list?run_id={}&path={}", url_encode(id), url_encode(folder));
  LATHE_TRY(const auto answer, call("GET", path, "", kTries));
  const auto* files = find_field(answer, "files");
  if (files == nullptr || !files->is_array()) return {};
  for (const auto& entry : files->get_array()) {
    const auto named = text_in(entry, "path");
    // Some calls name the whole path, some the last part alone.
    const auto name = named.substr(named.rfind('/') + 1);
    if (name.empty() || name == "." || name == "..") continue;
    const auto below = folder.empty() ? name : folder + "/" + name;
    if (text_in(entry, "is_dir") == "true")
      LATHE_CHECK(list(uri, id, model, below, depth + 1, out));
    else
      out.push_back({below, std::atoll(text_in(entry, "file_size").c_str())});
  }
  return {};
}

Result<std::vector<MlflowSource::File>> MlflowSource::files(const std::string& uri, const std::string& id, bool model) {
  std::vector<File> out;
  LATHE_CHECK(list(uri, id, model, "", 0, out));
  return out;
}

Result<void> MlflowSource::download(const std::string& uri, const std::string& id, bool model, const std::string& path,
                                    const std::string& to) {
  const auto root = proxied(uri);
  std::string from;
  if (!root.empty())
    from = "/api/2.0/mlflow-artifacts/artifacts" + encoded_path(root + "/" + path);
  else if (model)
    from = fmt::format("/ajax-api/2.0/mlflow/logged-models/{}/artifacts/files?artifact_file_path={}", url_encode(id),
                       url_encode(path));
  else
    from = fmt::format("/get-artifact?run_uuid={0}&run_id={0}&path={1}", url_encode(id), url_encode(path));
  auto pause = std::chrono::milliseconds(200);
  for (int tries = 1;; ++tries, pause *= 3) {
    const auto response = client_.get_file(from, to);
    const bool away = response ? response->status >= 500 : response.error().code == Code::unavailable;
    if (away && tries < kTries) {
      std::this_thread::sleep_for(pause);
      continue;
    }
    if (!response) return fail(response.error());
    if (response->status >= 300) return fail(refused(*response, name_));
    return {};
  }
}

}  // namespace lathe::cli
