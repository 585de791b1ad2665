#pragma once

#include <functional>
#include <memory>

#include "infer/catalog.h"
#include "infer/http/server.h"
#include "infer/route.h"

namespace lathe::infer {

/// Has the request answered by a worker of the deployment, whose model is Python; counts it. As Handler::handle: true
/// when `reply` is the answer.
bool ask_workers(Operation operation, const http::Request& request, const std::shared_ptr<const Deployment>& deployment,
                 http::Reply& reply, const std::function<http::Answer()>& put_off);

/// The lines of an answer's head that a worker may decide; what says how the message itself is sent is left out, and so
/// is what is no header.
std::string kept_headers(std::string_view head);

}  // namespace lathe::infer
