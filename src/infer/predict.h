#pragma once

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/protocols/infer_request.h"
#include "infer/response_cache.h"
#include "infer/route.h"

namespace lathe::infer {

/// Decodes the request as `operation` (infer, invocations or score) and its protocol say, runs the model and writes the
/// answer, whatever comes: what is wrong with the request becomes a 4xx. `queued`: how long it waited. `cache` is for
/// deployments that use it. Thread-safe.
void predict_now(Operation operation, const http::Request& request, const Deployment& deployment,
                 std::chrono::nanoseconds queued, ResponseCache* cache, http::Reply& reply);

/// The first and the last step of it; the last one uses up `outputs`. Errors: `invalid`, `unsupported_media` — what is wrong with the request.
Result<void> decode(Operation operation, const http::Request& request, const Deployment& deployment,
                    InferRequest& asked);
Result<void> encode(Operation operation, const http::Request& request, const Deployment& deployment,
                    const InferRequest& asked, std::vector<Tensor>& outputs, http::Reply& reply);

/// How long a request may wait for its turn.
std::chrono::nanoseconds limit_of(const Deployment& deployment, const http::Request& request);
/// Of a request that waited until its deadline, or the deployment's.
Error waited_too_long(const Deployment& deployment, const http::Request& request);

/// The error, and as JSON `{"error": "..."}` with its HTTP status.
void refuse(http::Reply& reply, Error error);
inline void refuse(http::Reply& reply, Code code, std::string message) {
  refuse(reply, Error{code, std::move(message), {}});
}

/// After a `catch`: what was caught becomes the reply.
void refuse_caught(const Deployment& deployment, http::Reply& reply);

/// Runs `work`, which gives a Result<void>; what goes wrong becomes the reply. True: nothing did.
template <class Work>
bool guarded(const Deployment& deployment, http::Reply& reply, Work work) {
  try {
    auto done = work();
    if (!done) refuse(reply, std::move(done.error()));
    return done.has_value();
  } catch (...) {
    refuse_caught(deployment, reply);
    return false;
  }
}

}  // namespace lathe::infer
