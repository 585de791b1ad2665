#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "infer/http/server.h"
#include "infer/http/stream.h"

namespace lathe::infer::http {

class Peer;

/// What the connections of one thread share. Used on that thread only.
struct PeerHost {
  const ServerOptions& options;
  Handler& handler;
  std::int64_t now_s = 0;  ///< a clock that ticks about once a second
  bool draining = false;
  Peer* first = nullptr;      ///< all connections, as a list through `Peer::next`
  std::vector<char> spare{};  ///< of the last large request, for the next: new memory costs as much as reading it
};

/// One client. Lives while an operation on its socket is under way or an answer is awaited.
class Peer {
 public:
  explicit Peer(PeerHost& host);
  virtual ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  virtual void start() = 0;
  /// Closes it when its time is over. Called about once a second.
  virtual void check_time() = 0;
  /// Closes it when no request is under way; else after that one.
  virtual void drain() = 0;

  Peer* next = nullptr;
  Peer* previous = nullptr;

 protected:
  PeerHost& host_;
};

}  // namespace lathe::infer::http
