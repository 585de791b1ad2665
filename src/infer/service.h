#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <string>

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/route.h"

namespace lathe::infer {

/// Answers the data plane's requests from the catalog of the moment. Quick models are run on the I/O thread; a request
/// that is expected to take longer goes through its deployment's lane to a pool of threads.
class Service : public http::Handler {
 public:
  Service(const CatalogHolder& catalog, int pool_threads);
  /// Waits for the requests in the pool. Their connections must still exist: call it before the server goes.
  void finish() { pool_.join(); }

  bool handle(const http::Request& request, http::Reply& reply, const std::function<http::Answer()>& put_off) override;
  bool admit(const http::Request& head, http::Reply& refusal) override;

 private:
  /// A request that has passed the door.
  struct Call {
    std::string decoded_path;  ///< what the route points into, when the path was percent-encoded
    Route route;
    std::shared_ptr<const Catalog> catalog;
    const Endpoint* endpoint = nullptr;
    std::string_view deployment;  ///< empty: the traffic split decides
  };

  /// Finds route and endpoint and checks the key. False: `reply` says why not.
  bool enter(const http::Request& request, Call& call, http::Reply& reply) const;
  bool find_endpoint(const http::Request& request, Call& call, http::Reply& reply) const;
  void answer_open(const Call& call, http::Reply& reply) const;
  /// Null when there is none to pick; `reply` says why. `counts`: the split's turn moves on.
  const std::shared_ptr<const Deployment>* pick(const Call& call, bool counts, http::Reply& reply) const;
  bool predict(const http::Request& request, const Call& call, const std::shared_ptr<const Deployment>& deployment,
               http::Reply& reply, const std::function<http::Answer()>& put_off);

  const CatalogHolder& catalog_;
  boost::asio::thread_pool pool_;
  Post post_;
};

}  // namespace lathe::infer
