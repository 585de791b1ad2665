#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "serving/captured.h"
#include "serving/serving.h"

/// The inference cluster, as the server sees it: other machines' `lathe-infer --join URL`. Each has a token, with which
/// it says twice a second how it is and learns what to serve, and fetches model files. Nothing that it answers needs
/// the server.
namespace lathe::serving {

struct NodeDeployment {
  std::string endpoint;
  std::string deployment;
  std::string model;
  std::string version;
  std::string state;  ///< ready, loading, downloading, failed; elsewhere: this node does not take it
  std::string error;
};

struct NodeView {
  std::string name;
  std::string state;  ///< waiting: it has not joined yet; online; silent
  std::string url;
  std::string grpc;
  std::optional<std::string> version;
  std::optional<std::int64_t> cores;
  std::optional<std::string> last_seen;
  std::vector<NodeDeployment> deployments;
  assets::CreationContext creation_context;
  std::optional<std::string> token;  ///< in the answer to creating it only
};

/// Thread-safe; all functions block.
class Nodes {
 public:
  using Clock = std::chrono::steady_clock;

  /// From now on what `serving` publishes names the nodes. Before Serving::begin; `serving` must outlive it.
  static Result<std::unique_ptr<Nodes>> open(db::Database& db, Serving& serving);

  /// Errors: `invalid`; `conflict` — there is one of that name.
  Result<NodeView> create(const std::string& name, const std::string& actor);
  std::vector<NodeView> all() const;
  /// Errors: `not_found`, naming the nearest.
  Result<NodeView> find(const std::string& name) const;
  /// Its token is worthless from now on, and others send it nothing more.
  Result<void> remove(const std::string& name, const std::string& actor);

  /// The name of the node with this token. Errors: `unauthenticated`.
  Result<std::string> authenticate(std::string_view token) const;
  /// Takes what a node says of itself and answers {"name", "etag"}, and what it should serve ("desired") unless its own
  /// "etag" is that one's. `host`: by which it asked. Errors: `invalid`; `conflict` — another process has its token.
  Result<json::Object> sync(const std::string& name, const json::Object& said, const std::string& host);
  /// What nodes have counted of the endpoint's deployments; of one that is away, as it was last heard.
  std::vector<Counted> counts_of(const std::string& endpoint) const;
  /// What nodes have kept of predictions, for data assets.
  CapturedFiles& captured() { return captured_; }
  /// The model file with this digest, if anything that is served needs it. Errors: `not_found`.
  Result<std::filesystem::path> file(const std::string& sha256);

 private:
  struct Node {
    std::string token_hash;
    std::string url;
    std::string grpc;
    std::string certificate;
    std::string created_by;
    std::int64_t created_us = 0;
    std::int64_t seen_us = 0;
    std::int64_t kept_seen_us = 0;  ///< in the store
    std::optional<Clock::time_point> heard;
    std::string instance;  ///< of its process
    std::string version;
    std::int64_t cores = 0;
    std::vector<NodeDeployment> deployments;
    NodeCounts counts;
  };
  using Map = std::map<std::string, Node>;

  Nodes(db::Database& db, Serving& serving, std::string key)
      : db_(db),
        serving_(serving),
        captured_(db, collected_folder(serving.data_plane().folder().parent_path())),
        key_(std::move(key)) {}
  Result<void> load();
  Result<Map::iterator> locate(const std::string& name);
  NodeView view(const std::string& name, const Node& node) const;
  /// What a data plane learns of the others; `host`: of the server, as the one that asks knows it.
  json::Object cluster_for(const std::string& name, const std::string& host) const;

  db::Database& db_;
  Serving& serving_;
  CapturedFiles captured_;
  const std::string key_;  ///< by which data planes know each other
  const std::string keeper_ = random_hex(8);  ///< of what nodes count: who follows knows nothing of it
  mutable std::mutex mutex_;
  Map nodes_;
};

/// /api/v1/inference-nodes, and what nodes themselves ask.
void add_routes(http::Router& router, Nodes& nodes);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::NodeDeployment> {
  static constexpr std::string_view name = "InferenceNodeDeployment";
  using T = serving::NodeDeployment;
  static constexpr auto list =
      std::tuple{field("endpoint", &T::endpoint),
                 field("deployment", &T::deployment),
                 field("model", &T::model),
                 field("version", &T::version),
                 field("state", &T::state, "ready, loading, downloading, failed; elsewhere: the node does not take it"),
                 field("error", &T::error)};
};

template <>
struct Fields<serving::NodeView> {
  static constexpr std::string_view name = "InferenceNode";
  using T = serving::NodeView;
  static constexpr auto list =
      std::tuple{field("name", &T::name),
                 field("state", &T::state, "waiting: it has not joined yet; online; silent: nothing is heard of it"),
                 field("url", &T::url, "where it answers"),
                 field("grpc", &T::grpc, "HOST:PORT of the same by gRPC"),
                 field("version", &T::version, "of its lathe-infer"),
                 field("cores", &T::cores),
                 field("last_seen", &T::last_seen),
                 field("deployments", &T::deployments, "what it serves"),
                 field("creation_context", &T::creation_context),
                 field("token", &T::token, "for --token-file; shown once, when the node is made")};
};

}  // namespace lathe::json
