#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <memory>

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/route.h"

namespace lathe::infer {

/// Computes copies of requests for the deployments that endpoints mirror to. Nobody gets the answers. It gives way to
/// the requests themselves: its thread has a lower priority, and copies are dropped where too many wait. Thread-safe.
class Mirror {
 public:
  Mirror();
  Mirror(const Mirror&) = delete;
  /// Waits for the copies that its thread computes; those that workers have may still come back.
  void finish() { threads_.join(); }

  /// Takes a copy of `request`, which may go when this returns, or drops it. Never throws.
  void send(Operation operation, const http::Request& request,
            const std::shared_ptr<const Deployment>& target) noexcept;

 private:
  /// What all copies hold now.
  struct Held {
    std::atomic<std::size_t> requests{0};
    std::atomic<std::size_t> bytes{0};
  };
  struct Copy;

  static void compute(const std::shared_ptr<Copy>& copy);

  std::shared_ptr<Held> held_ = std::make_shared<Held>();
  boost::asio::thread_pool threads_{1};
};

}  // namespace lathe::infer
