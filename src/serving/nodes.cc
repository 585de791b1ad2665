#include "serving/nodes.h"

#include <algorithm>

#include "auth/auth.h"
#include "auth/node_token.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"

namespace lathe::serving {
namespace {

constexpr std::size_t kTokenBytes = 24;
constexpr std::chrono::seconds kSilent{5};        ///< after which a node counts as gone
constexpr std::int64_t kKeepSeenUs = 30'000'000;  ///< how often the store learns that it was heard of
constexpr std::size_t kMostDeployments = 10'000;  ///< that are kept of what a node says

Result<std::string> cluster_key(const std::filesystem::path& folder) {
  const auto file = folder / "cluster.key";
  LATHE_CHECK(make_folder(folder));
  auto key = read_file(file, 4096);
  if (!key || key->empty()) {
    key = random_hex(kTokenBytes);
    LATHE_CHECK(write_file(file, *key));
  }
  return *key;
}

Result<void> check_url(const std::string& url) {
  const auto host = url.starts_with("http://") ? 7U : url.starts_with("https://") ? 8U : 0U;
  if (host != 0 && url.size() > host && url.size() < 512 &&
      url.find_first_of("/?# \"\\\r\n", host) == std::string::npos)
    return {};
  return fail(Code::invalid, "url: must be http://HOST:PORT or https://HOST:PORT, not \"" + printable(url) + "\"");
}

/// What a host of a data plane that listens on all addresses is called by who calls the server `host`.
std::string reached_as(const std::string& url, const std::string& host) {
  auto name = host.substr(0, host.starts_with('[') ? host.find(']') + 1 : host.find(':'));
  for (const std::string_view every : {"//0.0.0.0:", "//[::]:"})
    if (const auto at = url.find(every); at != std::string::npos && !name.empty())
      return url.substr(0, at + 2) + name + url.substr(at + every.size() - 1);
  return url;
}

Result<std::vector<NodeDeployment>> read_deployments(const json::Object& said) {
  std::vector<NodeDeployment> out;
  LATHE_TRY(const auto* const list, json::get_array(said, "deployments"));
  if (list == nullptr) return out;
  if (list->size() > kMostDeployments) return fail(Code::invalid, "deployments: there are too many");
  for (const auto& item : *list) {
    if (!item.is_object()) return fail(Code::invalid, "deployments: must be objects");
    const auto text_of = [&](std::string_view key) {
      const auto found = json::get_string(item.get_object(), key);
      return found && *found ? printable(**found) : std::string{};
    };
    out.push_back({text_of("endpoint"), text_of("deployment"), text_of("model"), text_of("version"), text_of("state"),
                   text_of("error")});
  }
  return out;
}

const json::Value* find_named(const json::Array& list, const std::string& name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& each) {
    return json::view(each.at("name").as_string()) == name;
  });
  return found == list.end() ? nullptr : &*found;
}

/// Whether the document has the deployment.
bool serves(const json::Object& desired, const std::string& endpoint, const std::string& deployment) {
  const auto* const found = find_named(desired.at("endpoints").as_array(), endpoint);
  return found != nullptr && find_named(found->at("deployments").as_array(), deployment) != nullptr;
}

/// The document as other machines get it: Python is computed on this one, and its settings may hold secrets.
json::Object for_nodes(json::Object desired) {
  for (auto& endpoint : desired["endpoints"].as_array())
    for (auto& deployment : endpoint.at("deployments").as_array()) {
      auto& model = deployment.at("model").as_object();
      if (!model.contains("python")) continue;
      json::Object told{{"python", json::Object{}}};
      for (const auto* const key : {"name", "version", "format"}) told[key] = model.at(key);
      model = std::move(told);
    }
  return desired;
}

}  // namespace

Result<std::unique_ptr<Nodes>> Nodes::open(db::Database& db, Serving& serving) {
  LATHE_TRY(auto key, cluster_key(serving.data_plane().folder()));
  std::unique_ptr<Nodes> nodes(new Nodes(db, serving, std::move(key)));
  LATHE_CHECK(nodes->load());
  serving.set_cluster([self = nodes.get()](json::Object& desired) {
    const std::lock_guard lock(self->mutex_);
    if (auto cluster = self->cluster_for(kServer, ""); !cluster.empty()) desired["cluster"] = std::move(cluster);
  });
  serving.set_counts([self = nodes.get()](const std::string& endpoint) { return self->counts_of(endpoint); });
  return nodes;
}

Result<void> Nodes::load() {
  static constexpr auto kSql =
      "SELECT name, token_hash, url, grpc, certificate, seen_us, created_by, created_us FROM inference_node";
  return db_.read([&](db::Connection& c) {
    return db::each(c, kSql, [&](const db::Row& row) {
      auto& node = nodes_[row.text(0)];
      node.token_hash = row.text(1);
      node.url = row.text(2);
      node.grpc = row.text(3);
      node.certificate = row.text(4);
      node.seen_us = node.kept_seen_us = row.integer(5);
      node.created_by = row.text(6);
      node.created_us = row.integer(7);
    });
  });
}

Result<Nodes::Map::iterator> Nodes::locate(const std::string& name) {
  if (const auto found = nodes_.find(name); found != nodes_.end()) return found;
  std::vector<std::string> names;
  for (const auto& [each, node] : nodes_) names.push_back(each);
  return fail(Code::not_found, unknown_name("inference node", name, names));
}

NodeView Nodes::view(const std::string& name, const Node& node) const {
  NodeView out;
  out.name = name;
  out.url = node.url;
  out.grpc = node.grpc;
  out.state = node.seen_us == 0 ? "waiting" : node.heard && Clock::now() - *node.heard < kSilent ? "online" : "silent";
  if (!node.version.empty()) out.version = node.version;
  if (node.cores > 0) out.cores = node.cores;
  if (node.seen_us > 0) out.last_seen = to_iso8601(from_micros(node.seen_us));
  out.deployments = node.deployments;
  out.creation_context = {node.created_by, to_iso8601(from_micros(node.created_us))};
  return out;
}

Result<NodeView> Nodes::create(const std::string& name, const std::string& actor) {
  LATHE_CHECK(check_name("name", name));
  if (name == kServer) return fail(Code::invalid, "name: \"server\" is what the server's own data plane is called");
  const auto token = std::string(auth::kNodeTokenBegin) + random_hex(kTokenBytes);
  Node node;
  node.token_hash = sha256_hex(token);
  node.created_by = actor;
  node.created_us = micros(now());
  static constexpr auto kSql = R"sql(
    INSERT INTO inference_node (name, token_hash, url, grpc, certificate, seen_us, created_by, created_us)
    VALUES ($1, $2, '', '', '', 0, $3, $4))sql";
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    const auto made = db::run(c, kSql, name, node.token_hash, node.created_by, node.created_us);
    if (!made && made.error().code == Code::conflict)
      return fail(Code::conflict, "there is already an inference node named \"" + name +
                                      "\": delete it first, which makes its token worthless");
    if (!made) return fail(made.error());
    return auth::note(c, actor, "inference_node_create", name);
  }));
  const std::lock_guard lock(mutex_);
  auto out = view(name, node);
  out.token = token;
  nodes_[name] = std::move(node);
  return out;
}

std::vector<NodeView> Nodes::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<NodeView> out;
  for (const auto& [name, node] : nodes_) out.push_back(view(name, node));
  return out;
}

Result<NodeView> Nodes::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  LATHE_TRY(const auto found, const_cast<Nodes*>(this)->locate(name));
  return view(name, found->second);
}

Result<void> Nodes::remove(const std::string& name, const std::string& actor) {
  {
    const std::lock_guard lock(mutex_);
    LATHE_CHECK(locate(name));
  }
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_CHECK(db::run(c, "DELETE FROM inference_node WHERE name = $1", name));
    return auth::note(c, actor, "inference_node_delete", name);
  }));
  {
    const std::lock_guard lock(mutex_);
    nodes_.erase(name);
  }
  captured_.forget(name);
  return serving_.publish();
}

Result<std::string> Nodes::authenticate(std::string_view token) const {
  const auto hash = sha256_hex(token);
  const std::lock_guard lock(mutex_);
  for (const auto& [name, node] : nodes_)
    if (equal_secrets(node.token_hash, hash)) return name;
  return fail(Code::unauthenticated,
              "this is not the token of an inference node, or it was deleted: 'lathe inference-node create' makes one");
}

json::Object Nodes::cluster_for(const std::string& name, const std::string& host) const {
  json::Array peers;
  const auto add = [&](const std::string& peer, const std::string& url, const std::string& certificate) {
    if (peer == name || url.empty()) return;
    peers.push_back(json::Object{{"name", peer}, {"url", url}, {"certificate_sha256", certificate}});
  };
  if (name != kServer) {
    const auto own = serving_.data_plane().reported();
    add(kServer, reached_as(own.rest, host), own.certificate);
  }
  for (const auto& [each, node] : nodes_) add(each, node.url, node.certificate);
  if (name == kServer && peers.empty()) return {};
  return {{"name", name}, {"key", key_}, {"peers", std::move(peers)}};
}

Result<json::Object> Nodes::sync(const std::string& name, const json::Object& said, const std::string& host) {
  LATHE_TRY(const auto url, json::need_string(said, "url"));
  LATHE_CHECK(check_url(url));
  const auto text_of = [&](std::string_view key) -> Result<std::string> {
    LATHE_TRY(const auto text, json::get_string(said, key));
    return printable(text.value_or(""));
  };
  LATHE_TRY(const auto grpc, text_of("grpc"));
  LATHE_TRY(const auto certificate, text_of("certificate_sha256"));
  if (url.starts_with("https://") == certificate.empty())
    return fail(Code::invalid, "certificate_sha256: is needed with https, and with https alone");
  LATHE_TRY(const auto instance, text_of("instance"));
  LATHE_TRY(const auto version, text_of("version"));
  LATHE_TRY(const auto etag, text_of("etag"));
  LATHE_TRY(const auto cores, json::get_int(said, "cores"));
  LATHE_TRY(auto deployments, read_deployments(said));
  const auto time = micros(now());
  LATHE_TRY(auto counts, read_node_counts(name, said, time));
  const auto desired = serving_.published();
  if (!desired) return fail(Code::unavailable, "the server is starting: ask again");
  const auto is_gone = [&](const auto& each) { return !serves(*desired, each.first.first, each.first.second); };

  bool moved = false;
  bool keep = false;
  {
    const std::lock_guard lock(mutex_);
    LATHE_TRY(const auto found, locate(name));
    auto& node = found->second;
    const auto clock = Clock::now();
    if (node.heard && clock - *node.heard < kSilent && node.instance != instance && node.url != url)
      return fail(Code::conflict, "the token of inference node \"" + name + "\" is used at " + node.url +
                                      " too: make a node, and a token, for each");
    moved = node.url != url || node.grpc != grpc || node.certificate != certificate;
    keep = moved || time - node.kept_seen_us >= kKeepSeenUs;
    if (!node.heard || node.instance != instance)
      log::info("an inference node is here name={} url={} version={}", name, url, version);
    node.url = url;
    node.grpc = grpc;
    node.certificate = certificate;
    node.instance = instance;
    node.version = version;
    node.cores = cores.value_or(0);
    node.deployments = std::move(deployments);
    keep_counts(node.counts, std::move(counts));
    std::erase_if(node.counts, is_gone);
    node.heard = clock;
    node.seen_us = time;
    if (keep) node.kept_seen_us = time;
  }
  if (keep) {
    static constexpr auto kSql =
        "UPDATE inference_node SET url = $2, grpc = $3, certificate = $4, seen_us = $5 WHERE name = $1";
    const auto kept =
        db_.write([&](db::Connection& c) { return db::run(c, kSql, name, url, grpc, certificate, time); });
    // The nodes can do without it: it is said again, and only a restart of the server would miss it.
    if (!kept) log::warn("where an inference node is was not kept name={} error=\"{}\"", name, kept.error().message);
  }
  if (moved) LATHE_CHECK(serving_.publish());

  auto document = for_nodes(*desired);
  {
    const std::lock_guard lock(mutex_);
    document["cluster"] = cluster_for(name, host);
  }
  const auto now_etag = sha256_hex(json::print(document));
  json::Object out{{"name", name}, {"etag", now_etag}, {"keeper", keeper_}};
  if (etag != now_etag) out["desired"] = std::move(document);
  return out;
}

std::vector<Counted> Nodes::counts_of(const std::string& endpoint) const {
  const auto desired = serving_.published();
  std::vector<Counted> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, node] : nodes_)
    for (const auto& [key, counted] : node.counts)
      if (key.first == endpoint && desired && serves(*desired, endpoint, key.second)) out.push_back(counted);
  return out;
}

Result<std::filesystem::path> Nodes::file(const std::string& sha256) {
  LATHE_TRY(const auto all, db_.read([](db::Connection& c) { return every_deployment(c); }));
  for (const auto& deployment : all)
    for (const auto& file : deployment.served && !deployment.spec.python ? deployment.spec.files : std::vector<ServedFile>{})
      if (file.sha256 == sha256) return std::filesystem::path(deployment.spec.folder) / file.path;
  return fail(Code::not_found, "no deployment that nodes compute needs a file with the digest " + printable(sha256));
}

}  // namespace lathe::serving
