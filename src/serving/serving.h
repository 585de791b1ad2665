#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "assets/models.h"
#include "compute/compute.h"
#include "db/db.h"
#include "http/http.h"
#include "serving/counts.h"
#include "serving/data_plane.h"
#include "serving/endpoint.h"
#include "serving/revision.h"
#include "serving/ticker.h"

/// Online endpoints: the rows say what should be served, the data plane serves it.
namespace lathe::serving {

struct RequestSettings {
  std::int64_t request_timeout_ms = 5000;
  std::optional<std::int64_t> max_queue_wait_ms;
  std::optional<std::int64_t> max_concurrent_requests_per_instance;
};

struct ShiftView {
  std::string state;
  std::string why;
  std::string deployment;
  std::string guard;
  Traffic before;
  std::string until;
  std::int64_t requests = 0;  ///< that were judged so far
};

struct EndpointView {
  std::string name;
  std::string auth_mode = "key";
  std::string description;
  std::map<std::string, std::string> tags;
  Traffic traffic;
  Traffic mirror_traffic;
  std::string scoring_uri;
  std::string invocations_uri;
  std::string grpc_uri;
  std::string provisioning_state = "Succeeded";
  std::vector<std::string> deployments;
  std::optional<Cors> cors;
  std::optional<RateLimit> rate_limit;
  std::optional<std::string> rollback;  ///< the one that goes on, in words
  std::optional<ShiftView> shift;       ///< the last guarded one
  assets::CreationContext creation_context;
  std::optional<json::Report> report;
};

/// Since the data plane, or the deployment, began.
struct DeploymentStatistics {
  std::string name;
  std::string version;
  std::int64_t instances = 0;
  std::int64_t requests = 0;
  std::int64_t errors = 0;
  std::int64_t mean_us = 0;
  std::int64_t p50_us = 0;
  std::int64_t p90_us = 0;
  std::int64_t p95_us = 0;
  std::int64_t p99_us = 0;
};

struct EndpointStatistics {
  std::string name;
  std::vector<DeploymentStatistics> deployments;
};

struct RevisionView {
  std::int64_t number = 0;
  std::string what;
  bool current = false;
  Traffic traffic;
  Traffic mirror_traffic;
  std::map<std::string, std::string> deployments;  ///< the model of each
  std::optional<std::string> refused;
  assets::CreationContext creation_context;
};

struct DeploymentView {
  std::string name;
  std::string endpoint_name;
  std::string type = "managed";
  std::string model;
  std::string format;
  std::optional<std::string> runtime;  ///< what answers, as the data plane says
  std::optional<std::string> scoring_script;
  std::optional<std::string> environment;
  std::int64_t instance_count = 1;
  std::optional<std::int64_t> instances;  ///< that there are now
  std::optional<ScaleSettings> scale_settings;
  std::string instance_type;
  std::optional<std::string> reserved;  ///< of this machine, in words
  RequestSettings request_settings;
  std::optional<ModelConfig> model_config;
  std::optional<DataCollector> data_collector;
  std::string provisioning_state;
  std::optional<std::string> error;
  std::string serving_state;  ///< as the data plane says: loading, ready, failed; or unloaded, waiting, unknown
  std::string description;
  std::map<std::string, std::string> tags;
  assets::CreationContext creation_context;
  std::optional<json::Report> report;
};

/// Keys, or a token: as the endpoint's auth_mode says.
struct Credentials {
  std::optional<std::string> primaryKey;
  std::optional<std::string> secondaryKey;
  std::optional<std::string> accessToken;
  std::optional<std::int64_t> expiryTimeUtc;        ///< seconds since 1970
  std::optional<std::int64_t> refreshAfterTimeUtc;  ///< the same
  std::optional<std::string> tokenType;
};

/// A key such as endpoints get.
std::string new_key();
/// What opens the endpoint for the server itself, now. Errors: `internal`.
Result<std::string> bearer_of(const Endpoint& endpoint);

/// Thread-safe; all functions block.
class Serving {
 public:
  using Clock = std::chrono::steady_clock;

  /// Deployments reserve room at `compute`.
  Serving(db::Database& db, assets::Models& models, compute::Compute& compute, DataPlaneOptions options);
  ~Serving() { compute_.on_gpus_of_changed({}); }

  /// Lets deployments be Python. Before requests come.
  void set_python(PythonSite site) { site_ = std::move(site); }

  /// Writes the desired state and adopts or starts the data plane; `start` waits for it. Errors: as DataPlane's.
  Result<void> begin();
  Result<void> start() {
    LATHE_CHECK(plane_.start());
    watch_.start();
    gpus_.start();
    return {};
  }
  const DataPlane& data_plane() const { return plane_; }

  /// Adds what the data plane here learns of others to its document. Before `begin`.
  void set_cluster(std::function<void(json::Object& desired)> add) { add_cluster_ = std::move(add); }
  /// What other machines have counted of an endpoint's deployments.
  void set_counts(std::function<std::vector<Counted>(const std::string& endpoint)> tell) { tell_counts_ = std::move(tell); }
  /// Hands the desired state over, as the store has it now.
  Result<void> publish();
  /// What was handed over last, without the others and without what is this machine's alone; null before the first time.
  std::shared_ptr<const json::Object> published() const { return published_.load(); }

  /// An endpoint that exists keeps its keys and its traffic.
  Result<EndpointView> put_endpoint(const json::Object& document, const http::Principal& who, bool strict);
  /// `changes`: the document's fields; "guard" and "for" watch the change of the traffic.
  Result<EndpointView> patch_endpoint(const std::string& name, const json::Object& changes, const http::Principal& who);
  Result<EndpointView> endpoint(const std::string& name);
  Result<std::vector<EndpointView>> all_endpoints();
  Result<void> remove_endpoint(const std::string& name);
  /// What the endpoint served, newest first.
  Result<std::vector<RevisionView>> all_revisions(const std::string& name);
  /// What the deployments that are ready have done, as the data plane tells it. Errors: `unavailable`.
  Result<EndpointStatistics> statistics_of(const std::string& name);
  /// Brings back models, settings and traffic of a revision, of the one before the newest where no `number` is given;
  /// deployments that it does not have stay, without traffic. Answers when it is done, or after `wait`.
  /// Errors: `not_found`; `conflict` — a part of it is gone, is being updated, or has failed.
  Result<EndpointView> roll_back(const std::string& name, std::optional<std::int64_t> number, const std::string& who,
                                 std::chrono::milliseconds wait);
  /// Its keys, or a new token.
  Result<Credentials> credentials(const std::string& name);
  /// A new token. Errors: `conflict` — the endpoint has keys.
  Result<Credentials> token(const std::string& name);
  /// Of an endpoint with tokens, those that the primary key has signed hold until they expire, and a new secondary key
  /// ends those of the one before.
  Result<Credentials> regenerate(const std::string& name, const std::string& key_type);

  struct Wish {
    bool all_traffic = false;
    bool strict = false;
    std::chrono::milliseconds wait{60'000};  ///< how long to wait for the model to answer or fail
  };
  /// Makes a deployment, or gives one that exists a new model or new settings. Answers when it is ready or has failed
  /// (see provisioning_state), or after `wait`.
  Result<DeploymentView> put_deployment(const std::string& endpoint, const json::Object& document,
                                        const Deployer& deployer, const Wish& wish);
  Result<DeploymentView> patch_deployment(const std::string& endpoint, const std::string& name,
                                          const json::Object& changes, const Deployer& deployer, const Wish& wish);
  Result<DeploymentView> deployment(const std::string& endpoint, const std::string& name);
  Result<std::vector<DeploymentView>> all_deployments(const std::string& endpoint);
  /// The last `lines` lines that its workers printed, each with its time and the worker's number. Empty where the model is
  /// not Python.
  Result<std::string> log(const std::string& endpoint, const std::string& name, std::size_t lines);
  /// The deployment that needs the environment with this digest of its recipe.
  Result<std::optional<std::string>> user_of_environment(const std::string& digest) const;
  /// Errors: `conflict` — it still gets traffic.
  Result<void> remove_deployment(const std::string& endpoint, const std::string& name, const http::Principal& who);

  /// Sends a request's body to the data plane and answers what it answered.
  Result<http::Response> invoke(const std::string& endpoint, const std::string& deployment, const std::string& body,
                                const std::string& content_type);

  /// Serves a deployment ("endpoint.deployment"), or all of an endpoint, or no longer; returns when it is ready or has
  /// failed. Errors: `not_found`; `conflict` — it is being updated; `invalid` — the model cannot be loaded.
  Result<void> set_loaded(const std::string& model, bool loaded, const http::Principal& who);

 private:
  /// Everything but the model's files, which `resolve_model` adds.
  Result<void> read_settings(const json::Object& document, Deployment& deployment, json::Report& report) const;
  /// `script`: its files are a scoring script's to read.
  Result<void> resolve_model(const std::string& reference, Spec& spec, bool script);
  /// What is Python's of the document; the rest is read already.
  Result<void> read_python(const json::Object& document, Deployment& deployment, const Deployer& deployer,
                           std::chrono::milliseconds limit, json::Report& report) const;
  Result<void> read_script(const json::Object& document, PythonSpec& python, const Deployer& deployer) const;
  Result<DeploymentView> apply(Deployment wanted, json::Report report, const Wish& wish, const std::string& who);
  Result<DeploymentView> await(const std::string& endpoint, const std::string& name, std::chrono::milliseconds limit);
  /// Runs `change` on the writer with a new generation, then hands the desired state over.
  Result<std::int64_t> commit(const std::function<Result<void>(db::Connection&, std::int64_t generation)>& change);
  void await_generation(std::int64_t generation);
  /// What the endpoint's deployments have done, as the data plane and the nodes tell it. Errors: `unavailable`.
  Result<std::vector<Counted>> statistics(const std::string& endpoint);
  /// Looks at each shift that is watched. False: there is none.
  bool watch_shifts();
  /// What came of a shift's deployment since it began, on all machines, whatever became of data planes meanwhile; kept with it.
  Result<Sample> look_at(const Endpoint& endpoint);
  Result<void> end_shift(const Endpoint& seen, const std::string& state, const std::string& why);
  Result<void> check_revision(const Revision& revision);
  Result<void> await_rollback(const std::string& name, Clock::time_point deadline);
  bool settle(const Reported& reported);  ///< false: the store is away
  bool unpublished_ = false;              ///< what `settle` changed still is; of the data plane's thread
  /// Before the first document: what the data plane here has.
  void remember_gpus();
  /// Gives the workers in a new document their GPUs; a deployment that waits for some stays as it was handed over last.
  void add_gpus(json::Object& document);
  bool waits(const Deployment& deployment) const;
  /// True: workers have ended, and others may have their GPUs.
  bool take_used(const Reported& reported);
  /// Hands the desired state over anew once deployments have got other GPUs. True: it did not work.
  bool follow_gpus();
  EndpointView view(const Endpoint& endpoint, const std::vector<Deployment>& deployments) const;
  DeploymentView view(const Deployment& deployment) const;

  db::Database& db_;
  assets::Models& models_;
  compute::Compute& compute_;
  PythonSite site_;
  std::function<void(json::Object&)> add_cluster_;
  std::function<std::vector<Counted>(const std::string&)> tell_counts_;
  std::mutex publishing_;
  std::atomic<std::shared_ptr<const json::Object>> published_;
  json::Object handed_over_;               ///< to the data plane here; this and the next with `publishing_`
  compute::Compute::GpusUsed gpus_used_;   ///< by workers that run, or were handed over
  std::map<std::string, std::optional<std::vector<compute::GpuView>>> gpus_given_;
  std::atomic<std::shared_ptr<const std::set<std::string>>> waiting_;  ///< deployments, for GPUs
  DataPlane plane_;
  Ticker watch_{std::chrono::milliseconds{500}, [this] { return watch_shifts(); }};
  Ticker gpus_{std::chrono::milliseconds{500}, [this] { return follow_gpus(); }};
};

/// Names stand in URLs, and "endpoint.deployment" is a model's name. Errors: `invalid`, naming `field`.
Result<void> check_name(const std::string& field, const std::string& name);

/// A change of an endpoint, and how the shift of its traffic is watched.
struct GuardedChange {
  json::Object changes;              ///< without its guard
  std::optional<std::string> guard;  ///< as written; it can be parsed
  std::chrono::seconds span{};

  /// Errors: `invalid`.
  static Result<GuardedChange> read(const json::Object& changes);
};
/// Sets the endpoint's shift: its traffic has changed from `before`. `statistics`: of now.
/// Errors: `invalid` — not exactly one deployment gets more, or none had any.
Result<void> begin_watch(const GuardedChange& change, const std::vector<Counted>& statistics, const Endpoint& before, Endpoint& endpoint,
                         const std::string& who);

/// The model's files, as they lie here.
Result<void> fill_files(const assets::BlobStore& blobs, const assets::ModelContent& content, Spec& spec);
/// And how the data plane reads them. Errors: `invalid` — it cannot be served.
Result<void> fill_model(const assets::BlobStore& blobs, const assets::ModelContent& content, Spec& spec);

/// /api/v1/online-endpoints
void add_routes(http::Router& router, Serving& serving);
/// Triton's load and unload, which need an administrator's right and so are not the data plane's.
void add_repository_routes(http::Router& router, Serving& serving);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::RequestSettings> {
  static constexpr std::string_view name = "RequestSettings";
  static constexpr auto list = std::tuple{field("request_timeout_ms", &serving::RequestSettings::request_timeout_ms),
                                          field("max_queue_wait_ms", &serving::RequestSettings::max_queue_wait_ms, "where the model is Python"),
                                          field("max_concurrent_requests_per_instance", &serving::RequestSettings::max_concurrent_requests_per_instance,
                                                "where the model is Python: worker processes of each instance")};
};

template <>
struct Fields<serving::ShiftView> {
  static constexpr std::string_view name = "GuardedShift";
  using T = serving::ShiftView;
  static constexpr auto list = std::tuple{field("state", &T::state, "watching; kept, rolled back; ended: by another change"),
                                          field("why", &T::why),
                                          field("deployment", &T::deployment, "that gets more"),
                                          field("guard", &T::guard),
                                          field("before", &T::before, "the traffic that it goes back to"),
                                          field("until", &T::until),
                                          field("requests", &T::requests, "of the deployment since it began")};
};

template <>
struct Fields<serving::EndpointView> {
  static constexpr std::string_view name = "OnlineEndpoint";
  static constexpr auto list = std::tuple{
      field("name", &serving::EndpointView::name),
      field("auth_mode", &serving::EndpointView::auth_mode, "key or aml_token"),
      field("description", &serving::EndpointView::description),
      field("tags", &serving::EndpointView::tags),
      field("traffic", &serving::EndpointView::traffic, "percent by deployment"),
      field("mirror_traffic", &serving::EndpointView::mirror_traffic, "percent of the requests that are copied to a deployment"),
      field("scoring_uri", &serving::EndpointView::scoring_uri, "Open Inference Protocol v2; /score where Python computes"),
      field("invocations_uri", &serving::EndpointView::invocations_uri, "MLflow's forms of a request"),
      field("grpc_uri", &serving::EndpointView::grpc_uri, "HOST:PORT of the Open Inference Protocol v2 by gRPC"),
      field("provisioning_state", &serving::EndpointView::provisioning_state),
      field("deployments", &serving::EndpointView::deployments, "their names"),
      field("cors", &serving::EndpointView::cors, "whose pages may ask"),
      field("rate_limit", &serving::EndpointView::rate_limit, "how often each key may ask"),
      field("rollback", &serving::EndpointView::rollback, "a rollback that goes on, and what it waits for"),
      field("shift", &serving::EndpointView::shift, "the last change of traffic with a guard"),
      field("creation_context", &serving::EndpointView::creation_context),
      field("report", &serving::EndpointView::report, "what was not plainly honoured")};
};

template <>
struct Fields<serving::DeploymentStatistics> {
  static constexpr std::string_view name = "DeploymentStatistics";
  using T = serving::DeploymentStatistics;
  static constexpr auto list = std::tuple{field("name", &T::name),
                                          field("version", &T::version, "of the model"),
                                          field("instances", &T::instances, "that there are now: worker processes where the model is Python"),
                                          field("requests", &T::requests, "since the data plane, or the deployment, began"),
                                          field("errors", &T::errors, "5xx, and 424 of scoring scripts"),
                                          field("mean_us", &T::mean_us, "of requests that succeeded, with their waiting"),
                                          field("p50_us", &T::p50_us, "to 1/16"),
                                          field("p90_us", &T::p90_us),
                                          field("p95_us", &T::p95_us),
                                          field("p99_us", &T::p99_us)};
};

template <>
struct Fields<serving::EndpointStatistics> {
  static constexpr std::string_view name = "EndpointStatistics";
  using T = serving::EndpointStatistics;
  static constexpr auto list = std::tuple{field("name", &T::name), field("deployments", &T::deployments)};
};

template <>
struct Fields<serving::RevisionView> {
  static constexpr std::string_view name = "EndpointRevision";
  using T = serving::RevisionView;
  static constexpr auto list = std::tuple{field("number", &T::number),
                                          field("what", &T::what, "the change that led to it"),
                                          field("current", &T::current),
                                          field("traffic", &T::traffic, "percent by deployment"),
                                          field("mirror_traffic", &T::mirror_traffic),
                                          field("deployments", &T::deployments, "the model of each"),
                                          field("refused", &T::refused, "why its guard did not let it stay"),
                                          field("creation_context", &T::creation_context)};
};

template <>
struct Fields<serving::DeploymentView> {
  static constexpr std::string_view name = "OnlineDeployment";
  static constexpr auto list = std::tuple{
      field("name", &serving::DeploymentView::name),
      field("endpoint_name", &serving::DeploymentView::endpoint_name),
      field("type", &serving::DeploymentView::type),
      field("model", &serving::DeploymentView::model, "azureml:NAME:VERSION"),
      field("format", &serving::DeploymentView::format, "xgboost, onnx, native, pyfunc, torchscript or script"),
      field("runtime", &serving::DeploymentView::runtime,
            "what answers: xgboost, onnxruntime_onnx, lathe_native (also where Python was converted), python_pyfunc, python_torchscript or python_script"),
      field("scoring_script", &serving::DeploymentView::scoring_script, "of the format script"),
      field("environment", &serving::DeploymentView::environment, "what workers run in, in words; where the model is Python"),
      field("instance_count", &serving::DeploymentView::instance_count, "to begin with, where scale_settings say more"),
      field("instances", &serving::DeploymentView::instances,
            "that there are now, or were two seconds ago, where their number follows the load; worker processes where the model is Python"),
      field("scale_settings", &serving::DeploymentView::scale_settings, "how the number of instances follows the load"),
      field("instance_type", &serving::DeploymentView::instance_type),
      field("reserved", &serving::DeploymentView::reserved, "what of this machine it keeps from jobs, or waits for"),
      field("request_settings", &serving::DeploymentView::request_settings),
      field("model_config", &serving::DeploymentView::model_config, "batching, response cache and warm-up, in Triton's names"),
      field("data_collector", &serving::DeploymentView::data_collector, "what of the predictions is kept as data"),
      field("provisioning_state", &serving::DeploymentView::provisioning_state, "Creating, Updating, Succeeded, Failed"),
      field("error", &serving::DeploymentView::error, "why it failed"),
      field("serving_state", &serving::DeploymentView::serving_state, "as the data plane says: loading, ready, failed; or unloaded, waiting (for GPUs), unknown"),
      field("description", &serving::DeploymentView::description),
      field("tags", &serving::DeploymentView::tags),
      field("creation_context", &serving::DeploymentView::creation_context),
      field("report", &serving::DeploymentView::report, "what was not plainly honoured")};
};

template <>
struct Fields<serving::Credentials> {
  static constexpr std::string_view name = "EndpointCredentials";
  static constexpr auto list = std::tuple{field("primaryKey", &serving::Credentials::primaryKey),
                                          field("secondaryKey", &serving::Credentials::secondaryKey),
                                          field("accessToken", &serving::Credentials::accessToken, "of an endpoint with auth_mode aml_token"),
                                          field("expiryTimeUtc", &serving::Credentials::expiryTimeUtc, "seconds since 1970"),
                                          field("refreshAfterTimeUtc", &serving::Credentials::refreshAfterTimeUtc, "seconds since 1970"),
                                          field("tokenType", &serving::Credentials::tokenType, "Bearer")};
};

}  // namespace lathe::json
