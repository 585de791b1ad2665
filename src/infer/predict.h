#pragma once

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/route.h"

namespace lathe::infer {

/// Decodes the request as `operation` (infer, invocations or score) says, runs the model and writes the answer,
/// whatever comes: what is wrong with the request becomes a 4xx. Thread-safe.
void predict_now(Operation operation, const http::Request& request, const Deployment& deployment, http::Reply& reply);

/// `{"error": "..."}` with this status.
void refuse(http::Reply& reply, int status, std::string_view message);

}  // namespace lathe::infer
