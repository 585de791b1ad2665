#include "infer/cluster/peers.h"

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <random>

#include "base/log.h"
#include "infer/cluster/relay.h"
#include "json/json.h"

namespace lathe::infer {

namespace asio = boost::asio;
using Outcome = Exchanged::Outcome;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr milliseconds kEvery{1000};
constexpr seconds kEverySilent{5};     ///< once it has been silent for long
constexpr seconds kStateLimit{3};      ///< for the answer how busy it is
constexpr seconds kLate{6};            ///< of silence, after which it gets no more requests
constexpr seconds kGivenUp{10};        ///< of silence, after which what it computes counts as lost
constexpr seconds kIdle{30};           ///< after which a connection is closed; peers close theirs later
constexpr std::size_t kMostIdle = 64;  ///< connections to each
constexpr seconds kLeaveLimit{10};     ///< for peers to hear that this one leaves
constexpr milliseconds kLastSent{500};

int cores() {
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// HOST, PORT of a URL.
std::pair<std::string, std::string> place_of(const std::string& url) {
  const auto begin = url.find("://") + 3;
  const auto colon = url.rfind(':');
  if (colon < begin) return {url.substr(begin), url.starts_with("https") ? "443" : "80"};
  auto host = url.substr(begin, colon - begin);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return {host, url.substr(colon + 1)};
}

}  // namespace

std::size_t lesser_of_two(const std::vector<double>& loads, std::uint64_t random) {
  if (loads.size() < 2) return 0;
  const auto first = random % loads.size();
  auto second = random / loads.size() % (loads.size() - 1);
  if (second >= first) ++second;
  return loads[second] < loads[first] ? second : first;
}

struct Peers::Peer {
  struct Idle {
    std::shared_ptr<PeerConnection> connection;
    Clock::time_point since;
  };

  Peer(asio::io_context& io, DesiredPeer wanted)
      : peer(std::move(wanted)), resolver(io), tls(peer.certificate.empty() ? nullptr : peer_tls(peer.certificate)) {}

  /// What it has to do, by core: as it said, and what was sent there since.
  double load() const { return static_cast<double>(std::max(0, said + ours - ours_then)) / cores; }

  const DesiredPeer peer;
  asio::ip::tcp::resolver resolver;
  const http::Tls::Context tls;
  std::optional<http::tcp::endpoint> endpoint;
  bool alive = false;
  bool looking = false;
  bool gone = false;  ///< it is no peer any longer
  Clock::time_point heard = Clock::now();
  Clock::time_point looked;
  int said = 0;
  int cores = 1;
  int ours = 0;
  int ours_then = 0;  ///< when it said
  std::set<std::string> ready;
  std::vector<Idle> idle;
  std::set<std::shared_ptr<PeerConnection>> asking;
};

void Peers::start() {
  const std::lock_guard lock(mutex_);
  if (thread_.joinable() || finished_) return;
  random_ = std::random_device{}();
  started_ = true;
  busy_.emplace(io_.get_executor());
  thread_ = std::thread([this] { io_.run(); });
  asio::post(io_, [this] { tick(); });
}

void Peers::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  if (!thread_.joinable()) return;
  asio::post(io_, [this] {
    ending_ = true;
    timer_.cancel();
    for (auto& [name, peer] : peers_) {
      peer->resolver.cancel();
      peer->idle.clear();
      for (const auto& each : peer->asking) each->close();
    }
    busy_.reset();
  });
  thread_.join();
}

void Peers::follow(std::shared_ptr<const DesiredCluster> cluster) {
  const bool any = cluster && !cluster->peers.empty();
  if (!any && !started_) return;
  start();
  asio::post(io_, [this, next = std::move(cluster)] { replace(next); });
}

void Peers::replace(const std::shared_ptr<const DesiredCluster>& cluster) {
  static const auto kNone = std::make_shared<const DesiredCluster>();
  cluster_ = cluster ? cluster : kNone;
  std::map<std::string, PeerPtr> next;
  for (const auto& wanted : cluster_->peers) {
    const auto found = peers_.find(wanted.name);
    next[wanted.name] =
        found != peers_.end() && found->second->peer == wanted ? found->second : std::make_shared<Peer>(io_, wanted);
  }
  for (auto& [name, peer] : peers_)
    if (const auto found = next.find(name); found == next.end() || found->second != peer) {
      peer->gone = true;  // what it computes may still come
      peer->idle.clear();
    }
  peers_ = std::move(next);
  for (const auto& [name, peer] : peers_)
    if (!peer->alive) look(peer);
  tell_ready();
}

bool Peers::have(const std::string& place) const {
  const auto ready = ready_.load(std::memory_order_acquire);
  return ready && ready->contains(place);
}

void Peers::tell_ready() {
  auto ready = std::make_shared<std::set<std::string>>();
  for (const auto& [name, peer] : peers_)
    if (peer->alive) ready->insert(peer->ready.begin(), peer->ready.end());
  ready_.store(std::move(ready), std::memory_order_release);
}

void Peers::tick() {
  const auto now = Clock::now();
  for (const auto& [name, peer] : peers_) {
    std::erase_if(peer->idle, [&](const Peer::Idle& each) { return now - each.since > kIdle; });
    const auto silence = now - peer->heard;
    if (silence > kGivenUp)
      for (const auto& each : peer->asking) each->close();
    if (silence < kGivenUp || now - peer->looked > kEverySilent) look(peer);
  }
  if (ending_) return;
  timer_.expires_after(kEvery);
  timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) tick();
  });
}

/// Asks how it is.
void Peers::look(const PeerPtr& peer) {
  if (peer->looking || ending_) return;
  peer->looking = true;
  peer->looked = Clock::now();
  if (peer->alive) return ask_state(peer);
  const auto [host, port] = place_of(peer->peer.url);
  peer->resolver.async_resolve(host, port, [this, peer](const boost::system::error_code& error, const auto& found) {
    if (error || found.empty() || ending_) return lost(peer);
    peer->endpoint = found.begin()->endpoint();
    ask_state(peer);
  });
}

void Peers::ask_state(const PeerPtr& peer) {
  auto head = "GET " + std::string(kStatePath) + " HTTP/1.1\r\nHost: lathe\r\n" + std::string(kMark) + ": " +
              cluster_->key + "\r\n" + std::string(kNode) + ": " + cluster_->name + "\r\n\r\n";
  ask(peer, std::move(head), {}, Clock::now() + kStateLimit, [this, peer](const Exchanged& answer) {
    if (answer.outcome == Outcome::answered && answer.status == 200) return seen(peer, answer);
    // A machine that is very busy answers late; one that is gone refuses, or stays silent.
    peer->looking = false;
    if (answer.outcome != Outcome::lost || Clock::now() - peer->heard > kLate) lost(peer);
  });
}

void Peers::seen(const PeerPtr& peer, const Exchanged& answer) {
  const auto said = json::parse_object(answer.body);
  const auto name = said ? json::get_string(*said, "name") : Result<std::optional<std::string>>(std::nullopt);
  // An address such as 127.0.0.1 may lead to another one, or to this one.
  if (!name || *name != peer->peer.name) return lost(peer);
  const auto number = [&](const char* key, int absent) {
    const auto value = json::get_int(*said, key);
    return value ? static_cast<int>(value->value_or(absent)) : absent;
  };
  peer->looking = false;
  peer->heard = Clock::now();
  peer->said = number("in_flight", 0);
  peer->cores = std::max(1, number("cores", 1));
  peer->ours_then = peer->ours;
  const auto leaving = json::get_bool(*said, "leaving");
  const bool alive = !(leaving && leaving->value_or(false));
  if (alive != peer->alive)
    log::info("a peer {} name={} url={}", alive ? "is here" : "leaves", peer->peer.name, peer->peer.url);
  peer->alive = alive;
  peer->ready.clear();
  if (const auto list = json::get_array(*said, "ready"); list && *list != nullptr)
    for (const auto& each : **list)
      if (each.is_string()) peer->ready.emplace(json::view(each.get_string()));
  tell_ready();
}

void Peers::lost(const PeerPtr& peer) {
  peer->looking = false;
  if (!peer->alive) return;
  log::warn("a peer does not answer name={} url={}", peer->peer.name, peer->peer.url);
  peer->alive = false;
  peer->idle.clear();
  tell_ready();
}

void Peers::ask(const PeerPtr& peer, std::string head, std::string_view body, Clock::time_point deadline,
                std::function<void(Exchanged)> done) {
  std::shared_ptr<PeerConnection> connection;
  while (!connection && !peer->idle.empty()) {
    connection = std::move(peer->idle.back().connection);
    peer->idle.pop_back();
    if (!connection->is_usable()) connection.reset();
  }
  if (!connection) connection = std::make_shared<PeerConnection>(io_, *peer->endpoint, peer->tls);
  peer->asking.insert(connection);
  connection->ask(std::move(head), body, deadline, [this, peer, connection, told = std::move(done)](Exchanged answer) {
    peer->asking.erase(connection);
    if (answer.keep && !peer->gone && !ending_ && peer->idle.size() < kMostIdle)
      peer->idle.push_back({connection, Clock::now()});
    told(std::move(answer));
  });
  if (ending_) connection->close();
}

void Peers::send(std::shared_ptr<Relayed> relayed) {
  asio::post(io_, [this, next = std::move(relayed)] { go(next); });
}

void Peers::go(const std::shared_ptr<Relayed>& relayed) {
  std::vector<PeerPtr> able;
  std::vector<double> loads;
  for (const auto& [name, peer] : peers_) {
    if (!peer->alive || !peer->ready.contains(relayed->place) || relayed->tried.contains(name)) continue;
    able.push_back(peer);
    loads.push_back(peer->load());
  }
  if (relayed->here_too) {
    able.push_back(nullptr);
    loads.push_back(static_cast<double>(under_way_) / cores());
  }
  random_ = random_ * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX
  const auto chosen = able.empty() ? nullptr : able[lesser_of_two(loads, random_ >> 33)];
  if (!chosen || ending_) return relayed->here();
  ++chosen->ours;
  ask(chosen, relayed->head, relayed->body, relayed->deadline, [this, chosen, relayed](Exchanged answer) {
    --chosen->ours;
    chosen->ours_then = std::min(chosen->ours_then, chosen->ours);
    const bool refused = answer.outcome == Outcome::answered && !answer.header(kNotHere).empty();
    if (answer.outcome != Outcome::not_sent && !refused) return relayed->answered(std::move(answer), chosen->peer.name);
    relayed->tried.insert(chosen->peer.name);
    if (!refused) lost(chosen);
    go(relayed);
  });
}

std::string Peers::state(const Catalog& catalog, std::string_view asker) {
  bool leaving = false;
  {
    const std::lock_guard lock(mutex_);
    asked_.insert_or_assign(std::string(asker), Clock::now());
    leaving = leaving_;
  }
  if (leaving) changed_.notify_all();
  json::Array ready;
  for (const auto& [name, endpoint] : catalog.endpoints)
    for (const auto& each : endpoint.deployments) ready.emplace_back(place_of_deployment(name, each->name));
  const auto& name = catalog.cluster->name;
  return json::print(json::Object{{"name", boost::json::string_view(name)},
                                  {"in_flight", under_way_.load()},
                                  {"cores", cores()},
                                  {"leaving", leaving},
                                  {"ready", std::move(ready)}});
}

void Peers::leave() {
  std::unique_lock lock(mutex_);
  leaving_ = true;
  const auto now = Clock::now();
  std::erase_if(asked_, [&](const auto& each) { return now - each.second > kStateLimit; });
  if (asked_.empty()) return;
  changed_.wait_until(lock, now + kLeaveLimit, [&] {
    return std::all_of(asked_.begin(), asked_.end(), [&](const auto& each) { return each.second > now; });
  });
  // What they sent just before they heard is on its way.
  changed_.wait_for(lock, kLastSent, [] { return false; });
}

}  // namespace lathe::infer
