#pragma once

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/route.h"

namespace lathe::infer {

/// Decodes the request as `operation` (infer, invocations or score) and its protocol say, runs the model and writes the
/// answer, whatever comes: what is wrong with the request becomes a 4xx. `queued`: how long it waited. Thread-safe.
void predict_now(Operation operation, const http::Request& request, const Deployment& deployment,
                 std::chrono::nanoseconds queued, http::Reply& reply);

/// The error, and as JSON `{"error": "..."}` with its HTTP status.
void refuse(http::Reply& reply, Error error);
inline void refuse(http::Reply& reply, Code code, std::string message) {
  refuse(reply, Error{code, std::move(message), {}});
}

}  // namespace lathe::infer
