#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assets/asset.h"
#include "db/db.h"
#include "model_config/model_config.h"
#include "serving/python.h"
#include "serving/traffic.h"

/// Online endpoints and deployments as the store keeps them. Functions over a connection; those that change something
/// belong on the writer.
namespace lathe::serving {

struct Endpoint {
  std::string name;
  std::string description;
  std::map<std::string, std::string> tags;
  Traffic traffic;
  Traffic mirror_traffic;  ///< of one deployment, or of none
  std::string primary_key;
  std::string secondary_key;
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
};

struct ServedFile {
  std::string path;
  std::string sha256;
  std::int64_t size = 0;
};

/// What a deployment serves, complete: the desired state is made of these.
struct Spec {
  std::string model;  ///< "azureml:NAME:VERSION"
  std::string model_name;
  std::string model_version;
  std::string format;
  std::string folder;
  std::string file;
  std::vector<ServedFile> files;
  std::vector<std::string> feature_names;
  std::int64_t instance_count = 1;
  std::string instance_type;
  std::int64_t request_timeout_ms = 5000;
  std::int64_t max_queue = 100;
  std::optional<PythonSpec> python;  ///< of the formats script and pyfunc
  std::optional<ModelConfig> model_config;
};

struct Deployment {
  std::string endpoint;
  std::string name;
  Spec spec;
  std::optional<Spec> previous;  ///< while updating: what still answers
  std::string state;             ///< Creating, Updating, Succeeded, Failed
  bool served = true;            ///< part of the desired state
  std::string error;
  bool all_traffic = false;
  std::int64_t generation = 0;
  std::string description;
  std::map<std::string, std::string> tags;
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
};

Result<std::vector<Endpoint>> endpoints(db::Connection& c);
/// Errors: `not_found`, naming the nearest.
Result<Endpoint> find_endpoint(db::Connection& c, const std::string& name);
/// Errors: `conflict` — there is one.
Result<void> insert_endpoint(db::Connection& c, const Endpoint& endpoint);
Result<void> update_endpoint(db::Connection& c, const Endpoint& endpoint);
/// With its deployments.
Result<void> delete_endpoint(db::Connection& c, const std::string& name);

Result<std::vector<Deployment>> deployments(db::Connection& c, const std::string& endpoint);
Result<std::vector<Deployment>> every_deployment(db::Connection& c);
Result<std::vector<Deployment>> unsettled_deployments(db::Connection& c);
/// Errors: `not_found`, naming the nearest.
Result<Deployment> find_deployment(db::Connection& c, const std::string& endpoint, const std::string& name);
Result<void> put_deployment(db::Connection& c, const Deployment& deployment);
Result<void> delete_deployment(db::Connection& c, const std::string& endpoint, const std::string& name);

/// Counts a change to what should be served: the generation that shows it.
Result<std::int64_t> next_generation(db::Connection& c);
/// The newest one.
Result<std::int64_t> last_generation(db::Connection& c);
/// One deployment as the data plane's document has it.
json::Value desired_deployment(const std::string& name, const Spec& spec);
/// The document for the data plane: a pure function of the rows.
Result<json::Value> desired_state(db::Connection& c);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::ServedFile> {
  static constexpr std::string_view name = "ServedFile";
  static constexpr auto list = std::tuple{field("path", &serving::ServedFile::path), field("sha256", &serving::ServedFile::sha256),
                                          field("size", &serving::ServedFile::size)};
};

template <>
struct Fields<serving::Spec> {
  static constexpr std::string_view name = "DeploymentSpec";
  static constexpr auto list = std::tuple{
      field("model", &serving::Spec::model),
      field("model_name", &serving::Spec::model_name),
      field("model_version", &serving::Spec::model_version),
      field("format", &serving::Spec::format),
      field("folder", &serving::Spec::folder),
      field("file", &serving::Spec::file),
      field("files", &serving::Spec::files),
      field("feature_names", &serving::Spec::feature_names),
      field("instance_count", &serving::Spec::instance_count),
      field("instance_type", &serving::Spec::instance_type),
      field("request_timeout_ms", &serving::Spec::request_timeout_ms),
      field("max_queue", &serving::Spec::max_queue),
      field("python", &serving::Spec::python),
      field("model_config", &serving::Spec::model_config)};
};

}  // namespace lathe::json
