#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/desired_state.h"
#include "infer/lane.h"
#include "infer/rate_limit.h"
#include "infer/runtimes/runtime.h"
#include "infer/stats.h"
#include "infer/traffic.h"

namespace lathe::infer {

class BatchLane;
class Capture;

/// A model that answers, with its limits.
struct Deployment {
  Deployment(std::string endpoint_name, const DesiredDeployment& desired, std::shared_ptr<const Model> loaded,
             std::chrono::nanoseconds warm_run, std::shared_ptr<Stats> counters);

  std::string endpoint;
  std::string name;
  DesiredDeployment desired;
  std::shared_ptr<const Model> model;
  std::string reply_header;  ///< azureml-model-deployment
  /// The indexes of what MLflow's and Azure's protocols answer: the output "predict", or all where there is none.
  std::vector<std::size_t> predictions;
  std::shared_ptr<Stats> stats;
  mutable Lane lane;
  mutable CostEstimate cost;
  std::shared_ptr<BatchLane> batches;      ///< null: requests are run alone
  std::uint64_t serial;                    ///< no other has it
  std::shared_ptr<const Capture> capture;  ///< keeps copies of predictions; or null
  mutable std::atomic<int> under_way{0};   ///< requests that wait or are computed, where there are peers

  /// The requests that are computed at once; others wait for their turn.
  int room() const;

  const ModelConfig* config() const { return desired.model.config ? &*desired.model.config : nullptr; }
  /// Requests that wait for their turn.
  std::size_t pending() const;
  /// A prediction that was answered with this HTTP status: for statistics and traces.
  void count(int status, const Timing& timing, std::size_t rows) const;
  /// Workers that are ready, or sessions.
  int instances() const;
  /// Their number changes by itself.
  bool scales() const;
  bool caches() const { return config() != nullptr && config()->caches(); }
};

/// A deployment that answers nothing (yet).
struct Unready {
  std::string name;
  std::string version;
  std::string error;  ///< empty while its model loads
};

struct Endpoint {
  std::string name;
  std::vector<KeyDigest> keys;
  bool takes_tokens = false;                                   ///< that these have signed, and no keys
  std::vector<std::shared_ptr<const Deployment>> deployments;  ///< the ready ones
  std::shared_ptr<TrafficSplit> split;                         ///< over `deployments`
  std::shared_ptr<TrafficSplit> everywhere;  ///< the traffic as it is wanted, where there are peers; or null
  std::vector<Unready> others;
  std::shared_ptr<const Deployment> mirror;  ///< gets copies of requests; or null
  std::shared_ptr<TrafficSplit> mirrored;    ///< where there is a mirror: index 0 is a request that is copied
  std::vector<std::string> allowed_origins;  ///< whose pages may ask; empty: CORS is off
  std::shared_ptr<RateLimit> rate_limit;     ///< of `keys`; or null

  const std::shared_ptr<const Deployment>* find(std::string_view deployment) const;
};

/// All that is served at one moment. Never changes: a new one takes its place.
struct Catalog {
  std::map<std::string, Endpoint, std::less<>> endpoints;
  std::shared_ptr<const DesiredCluster> cluster;  ///< null: there are no peers
  bool settled = false;                           ///< the first desired state has been reached

  const Endpoint* find(std::string_view name) const;
};

/// Where readers find the catalog of the moment. Thread-safe.
using CatalogHolder = std::atomic<std::shared_ptr<const Catalog>>;

/// Of 64 hex digits. Errors: `invalid`.
Result<KeyDigest> parse_key_digest(std::string_view hex);
/// The SHA-256 of a key. Errors: `internal`.
Result<KeyDigest> digest_of(std::string_view key);
/// The index of `key` among `keys`, found in a time that does not depend on which it is.
std::optional<std::size_t> find_key(const std::vector<KeyDigest>& keys, const KeyDigest& key);
inline bool knows_key(const std::vector<KeyDigest>& keys, const KeyDigest& key) {
  return find_key(keys, key).has_value();
}

}  // namespace lathe::infer
