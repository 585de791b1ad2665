#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "infer/catalog.h"
#include "infer/cluster/exchange.h"

/// The other data planes of an inference cluster. Each asks each once a second how busy it is and what is ready there,
/// so that no server is needed to know who lives; and sends requests on to them.
namespace lathe::infer {

/// Of `loads`, the lesser of two that are drawn at random: nearly as even as the least of all, and none is overrun by
/// all who heard at once that it is idle (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE
/// TPDS 12(10), 2001). `random`: any number.
std::size_t lesser_of_two(const std::vector<double>& loads, std::uint64_t random);

/// A prediction that somebody else may compute.
struct Relayed {
  std::string place;      ///< "endpoint/deployment"
  std::string head;       ///< the whole head of the request
  std::string_view body;  ///< valid until one of the two below is called
  std::chrono::steady_clock::time_point deadline;
  bool here_too = false;  ///< it can be computed here
  /// What a peer answered, or that the peer was lost while it computed. On the peers' thread.
  std::function<void(Exchanged, const std::string& peer)> answered;
  /// It is to be computed here, or nobody has it now: nobody has begun it. On the peers' thread.
  std::function<void()> here;
  std::set<std::string> tried = {};
};

class Peers {
 public:
  using Clock = std::chrono::steady_clock;

  Peers() = default;
  ~Peers() { finish(); }
  Peers(const Peers&) = delete;
  /// Everything that was sent on is answered when it returns.
  void finish();

  /// From now on these are the others; null or without peers: there are none. Thread-safe.
  void follow(std::shared_ptr<const DesiredCluster> cluster);
  /// Whether a peer that lives has the deployment ready. Thread-safe.
  bool have(const std::string& place) const;
  /// Sends it to the less busy of two of those who have it ready. Where nothing of it was sent, another is tried; where
  /// something was, none is. Thread-safe.
  void send(std::shared_ptr<Relayed> relayed);

  /// Predictions that are computed here, and not at once. Thread-safe.
  void began() { ++under_way_; }
  void ended() { --under_way_; }
  /// What this data plane tells to the peer that asks. Thread-safe.
  std::string state(const Catalog& catalog, std::string_view asker);
  /// Tells those who ask that it leaves; returns when they had the time to ask, at once where nobody does.
  void leave();

 private:
  struct Peer;
  using PeerPtr = std::shared_ptr<Peer>;

  void start();
  void replace(const std::shared_ptr<const DesiredCluster>& cluster);
  void tick();
  void look(const PeerPtr& peer);
  void ask_state(const PeerPtr& peer);
  void seen(const PeerPtr& peer, const Exchanged& answer);
  void lost(const PeerPtr& peer);
  void go(const std::shared_ptr<Relayed>& relayed);
  void ask(const PeerPtr& peer, std::string head, std::string_view body, Clock::time_point deadline,
           std::function<void(Exchanged)> done);
  void tell_ready();

  boost::asio::io_context io_{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> busy_;
  boost::asio::steady_timer timer_{io_};
  std::thread thread_;
  std::mutex mutex_;  ///< of the start, and of leaving
  std::condition_variable changed_;
  std::atomic<bool> started_{false};
  bool finished_ = false;
  bool leaving_ = false;
  std::map<std::string, Clock::time_point, std::less<>> asked_;  ///< when each peer last did
  std::atomic<int> under_way_{0};
  std::atomic<std::shared_ptr<const std::set<std::string>>> ready_;  ///< places that some peer has

  // Of the thread alone.
  std::shared_ptr<const DesiredCluster> cluster_;
  std::map<std::string, PeerPtr> peers_;
  std::uint64_t random_ = 0;
  bool ending_ = false;
};

}  // namespace lathe::infer
