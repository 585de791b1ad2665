#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::infer {

/// What goes between lathe-infer and a worker (docs/decisions/python-in-worker-processes.md).
struct Frame {
  std::uint32_t kind = 0;  ///< of what was asked; of an answer: its HTTP status, or kReady, kFailed
  std::uint64_t nanoseconds = 0;
  std::string head;
  std::string body;
};

constexpr std::uint32_t kReady = 1;     ///< the worker has loaded; `head` describes the model as JSON
constexpr std::uint32_t kFailed = 2;    ///< it has not; `head` says why
constexpr std::uint32_t kParked = 3;    ///< it has imported what it was told, and waits
constexpr std::uint32_t kImported = 4;  ///< it ends; `head` is what the next `kPark` may tell
constexpr std::uint32_t kPark = 8;      ///< to one that was started so: import this, if `head` tells anything
constexpr std::uint32_t kWake = 9;      ///< to the same: load the model

/// Frames over a stream socket, without ever waiting. One caller at a time.
class Channel {
 public:
  Channel() = default;
  /// The socket stays the caller's.
  explicit Channel(int socket) : socket_(socket) {}

  /// Tells the worker that nothing more comes.
  void finish();

  /// Sends as much as the socket takes. True: all of it; false: `send_on` when it takes more. `body` must stay valid
  /// until then. Errors: `unavailable` — the worker is gone.
  Result<bool> send(std::uint32_t kind, std::string head, std::string_view body);
  Result<bool> send_on();

  /// What has come: a frame, or nothing yet. Errors: `unavailable` — the end; `invalid` — not a frame.
  Result<std::optional<Frame>> receive();

 private:
  int socket_ = -1;
  std::string out_;  ///< header and head
  std::string_view out_body_;
  std::size_t sent_ = 0;
  std::string in_;
  std::size_t have_ = 0;  ///< bytes of `in_` that have come
};

}  // namespace lathe::infer
