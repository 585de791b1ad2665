#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assets/asset.h"
#include "db/db.h"
#include "model_config/model_config.h"
#include "serving/access.h"
#include "serving/data_collector.h"
#include "serving/guard.h"
#include "serving/python.h"
#include "serving/traffic.h"

/// Online endpoints and deployments as the store keeps them. Functions over a connection; those that change something
/// belong on the writer.
namespace lathe::serving {

/// A way back that waits until its deployments are ready, or one of them has failed.
struct Rollback {
  std::int64_t revision = 0;
  Traffic traffic;
  Traffic mirror_traffic;
  std::vector<std::string> deployments;  ///< that it waits for
  std::string who;
};

/// What one machine has counted of a deployment since a moment.
struct Watched {
  Sample baseline;                     ///< its counts at that moment, or when its data plane began
  std::optional<Sample> seen = {};     ///< its counts when it was last looked at
  std::optional<Sample> carried = {};  ///< what came before `baseline`, from data planes that have ended

  /// What has come, as far as it was looked at.
  Sample sample() const { return together(carried.value_or(Sample{}), between(baseline, seen.value_or(baseline))); }
  /// Takes what it counts now. False: it has told nothing new.
  bool look(const Sample& now);
};

/// A change of traffic that is watched, or was: by itself it stays, or goes back. Its own `Watched` is that of the
/// server's machine.
struct Shift : Watched {
  std::string state;  ///< watching; kept, rolled back; ended by another change
  std::string why;
  std::string deployment;  ///< that gets more
  std::string guard;       ///< "p99<50ms,errors<1%"
  Traffic before;
  std::int64_t started_us = 0;
  std::int64_t ends_us = 0;
  std::string who;
  std::map<std::string, Watched> nodes;  ///< of the inference cluster, by name

  /// What has come since it began, on all machines, as far as they were looked at.
  Sample total() const;
};

struct Endpoint {
  std::string name;
  std::string description;
  std::map<std::string, std::string> tags;
  Traffic traffic;
  Traffic mirror_traffic;  ///< of one deployment, or of none
  std::optional<Rollback> rollback;
  std::optional<Shift> shift;  ///< the last one
  std::string primary_key;
  std::string secondary_key;
  std::string created_by;
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
  Access access = {};
};

struct ServedFile {
  std::string path;
  std::string sha256;
  std::int64_t size = 0;
};

/// How the number of instances follows the load: Azure's target_utilization. Times in seconds.
struct ScaleSettings {
  std::string type = "target_utilization";
  std::int64_t min_instances = 1;
  std::int64_t max_instances = 1;
  std::int64_t target_utilization_percentage = 70;
  std::int64_t polling_interval = 1;
  std::int64_t idle_time_before_scale_down = 120;

  bool operator==(const ScaleSettings&) const = default;
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
  std::optional<PythonSpec> python;  ///< of the formats script, pyfunc and torchscript
  std::optional<ModelConfig> model_config;
  std::optional<DataCollector> data_collector;
  std::optional<ScaleSettings> scale;

  /// What room is kept for.
  std::int64_t most_instances() const { return python && scale ? scale->max_instances : instance_count; }
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
  std::string changed_by;  ///< who asked for `spec`
  std::int64_t created_us = 0;
  std::int64_t updated_us = 0;
};

/// The shift that is watched, if one is, ends: the endpoint has changed otherwise. Its row is the caller's to write.
void end_watch(Endpoint& endpoint, const std::string& why);

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
/// Makes the deployment's row, or changes it, so that `wanted.spec` will be served, and what answers now until then.
/// Errors: `conflict` — it is being updated.
Result<void> begin_change(db::Connection& c, Deployment wanted, const std::string& who, bool all_traffic, std::int64_t generation);
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
struct Fields<serving::Rollback> {
  static constexpr std::string_view name = "Rollback";
  using T = serving::Rollback;
  static constexpr auto list =
      std::tuple{field("revision", &T::revision), field("traffic", &T::traffic), field("mirror_traffic", &T::mirror_traffic),
                 field("deployments", &T::deployments), field("who", &T::who)};
};

template <>
struct Fields<serving::Watched> {
  static constexpr std::string_view name = "Watched";
  using T = serving::Watched;
  static constexpr auto list =
      std::tuple{field("baseline", &T::baseline), field("seen", &T::seen), field("carried", &T::carried)};
};

template <>
struct Fields<serving::Shift> {
  static constexpr std::string_view name = "Shift";
  using T = serving::Shift;
  static constexpr auto list =
      std::tuple{field("state", &T::state),   field("why", &T::why),     field("deployment", &T::deployment),
                 field("guard", &T::guard),   field("before", &T::before), field("started_us", &T::started_us),
                 field("ends_us", &T::ends_us), field("who", &T::who),     field("baseline", &T::baseline),
                 field("seen", &T::seen),     field("carried", &T::carried), field("nodes", &T::nodes)};
};

template <>
struct Fields<serving::ServedFile> {
  static constexpr std::string_view name = "ServedFile";
  static constexpr auto list = std::tuple{field("path", &serving::ServedFile::path), field("sha256", &serving::ServedFile::sha256),
                                          field("size", &serving::ServedFile::size)};
};

template <>
struct Fields<serving::ScaleSettings> {
  static constexpr std::string_view name = "ScaleSettings";
  using T = serving::ScaleSettings;
  static constexpr auto list = std::tuple{
      field("type", &T::type, "target_utilization"),
      field("min_instances", &T::min_instances, "0: none while nobody asks"),
      field("max_instances", &T::max_instances),
      field("target_utilization_percentage", &T::target_utilization_percentage, "of the time in which instances are busy"),
      field("polling_interval", &T::polling_interval, "seconds"),
      field("idle_time_before_scale_down", &T::idle_time_before_scale_down,
            "seconds in which fewer must have been enough before one goes")};
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
      field("model_config", &serving::Spec::model_config),
      field("data_collector", &serving::Spec::data_collector),
      field("scale", &serving::Spec::scale)};
};

}  // namespace lathe::json
