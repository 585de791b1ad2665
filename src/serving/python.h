#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "http/http.h"
#include "json/fields.h"
#include "json/report.h"

/// Deployments whose model is Python: a scoring script, or a model that only Python can read.
namespace lathe::serving {

/// The root file system of an image, in which workers run.
struct PythonImage {
  std::string root;
  std::map<std::string, std::string> variables;
  std::string shim;
};

/// How the data plane's workers run it.
struct PythonSpec {
  std::string interpreter;
  std::string library;      ///< the folder with Lathe's own Python
  std::string environment;  ///< its folder; empty: the default one
  std::optional<PythonImage> image;
  std::optional<std::string> environment_digest;  ///< of its recipe
  std::string environment_words;
  std::string code;  ///< the folder with the script; empty: none
  std::string script;
  std::string model_folder;  ///< the name of the folder that was registered
  std::map<std::string, std::string> variables;
  std::int64_t account = 0;  ///< that workers run as; 0: the data plane's own
  std::string isolation = "auto";
  bool network = true;
  std::int64_t memory_bytes = 0;  ///< of each worker; 0: no limit
  std::int64_t cores = 1;
  std::int64_t workers_per_instance = 1;
  std::int64_t max_queue_wait_ms = 500;
};

/// Who asks for a deployment.
struct Deployer {
  http::Principal who;
  bool local = false;  ///< on this machine
};

/// What such deployments need of the rest of the server.
struct PythonSite {
  struct Environment {
    std::filesystem::path folder;  ///< empty: the default one
    std::string interpreter;
    std::optional<PythonImage> image;
    std::string words;
    std::optional<std::string> digest;
  };

  std::filesystem::path library;
  std::string isolation = "auto";  ///< "off": no sandbox where the server is not root
  bool network = true;
  /// The account that a user's code runs as; 0: the server's own.
  std::function<Result<std::int64_t>(const std::string& user)> account;
  /// A folder of code as the digest of a kept one.
  std::function<Result<std::string>(const json::Value& code, const Deployer& deployer)> code;
  /// The environment for a deployment's field (null: none), built when it is not there yet.
  /// Errors: `unavailable` — it is not built within `limit`; `invalid` — an image without Python.
  std::function<Result<Environment>(const json::Value& environment, const Deployer& deployer, json::Report& report,
                                    std::chrono::milliseconds limit)>
      environment;
};

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::PythonImage> {
  static constexpr std::string_view name = "PythonImage";
  using T = serving::PythonImage;
  static constexpr auto list =
      std::tuple{field("root", &T::root), field("variables", &T::variables), field("shim", &T::shim)};
};

template <>
struct Fields<serving::PythonSpec> {
  static constexpr std::string_view name = "PythonSpec";
  using T = serving::PythonSpec;
  static constexpr auto list = std::tuple{field("interpreter", &T::interpreter),
                                          field("library", &T::library),
                                          field("environment", &T::environment),
                                          field("image", &T::image),
                                          field("environment_digest", &T::environment_digest),
                                          field("environment_words", &T::environment_words),
                                          field("code", &T::code),
                                          field("script", &T::script),
                                          field("model_folder", &T::model_folder),
                                          field("variables", &T::variables),
                                          field("account", &T::account),
                                          field("isolation", &T::isolation),
                                          field("network", &T::network),
                                          field("memory_bytes", &T::memory_bytes),
                                          field("cores", &T::cores),
                                          field("workers_per_instance", &T::workers_per_instance),
                                          field("max_queue_wait_ms", &T::max_queue_wait_ms)};
};

}  // namespace lathe::json
