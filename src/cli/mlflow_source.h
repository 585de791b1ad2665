#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http/client.h"
#include "json/json.h"

namespace lathe::cli {

/// Another MLflow server, read by its REST API. What is away for a moment is asked again.
class MlflowSource {
 public:
  /// `environment`: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
  /// Errors: `invalid` — not a server's URL.
  static Result<std::unique_ptr<MlflowSource>> open(std::string url, const char* (*environment)(const char*));

  /// The URL without what logs in.
  const std::string& name() const { return name_; }

  /// What the server is called in the store, whatever URL leads to it: by the moment at which its first experiment was
  /// made. One that does not tell is called by its URL. Errors: as the server says; `unavailable` — it does not answer.
  Result<std::string> identity();

  /// Below /api/2.0/mlflow. Errors: as the server says; `not_found` also for a call that it does not know.
  Result<json::Value> get(const std::string& path);
  Result<json::Value> post(const std::string& path, const json::Object& body);
  /// All items of the answers' list `list`, page by page. `path`: a GET, with at least one query; or a POST with
  /// `body`.
  using Each = std::function<Result<void>(const json::Object&)>;
  Result<void> each(const std::string& path, const json::Object* body, const std::string& list, const Each& take);

  struct File {
    std::string path;
    std::int64_t size = 0;
  };
  /// What lies below an artifact URI of a run or, with `model`, of a logged model, at any depth.
  Result<std::vector<File>> files(const std::string& uri, const std::string& id, bool model);
  Result<void> download(const std::string& uri, const std::string& id, bool model, const std::string& path,
                        const std::string& to);

 private:
  MlflowSource(std::string name, http::ClientOptions options) : name_(std::move(name)), client_(std::move(options)) {}
  Result<json::Value> call(std::string_view method, const std::string& path, const std::string& body, int tries);
  Result<void> list(const std::string& uri, const std::string& id, bool model, const std::string& folder, int depth,
                    std::vector<File>& out);

  std::string name_;
  http::Client client_;
};

/// A member's text, or "" where there is none.
std::string text_in(const json::Value& value, std::string_view key);

}  // namespace lathe::cli
