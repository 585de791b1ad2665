#pragma once

#include <memory>

#include "infer/http/peer.h"

namespace lathe::infer::grpc {

/// A client that speaks gRPC: HTTP/2 by nghttp2, in plain text. Each message becomes an `http::Request` for the handler
/// (`grpc` is set, `path` is /SERVICE/METHOD, `body` the message), each reply a message, or the call's status. Messages
/// of one call are answered in their order; calls do not wait for each other.
///
/// Refuses: a message larger than the limit of a body, alone or with all else that this connection has sent and that is
/// not answered yet; more than 64 KiB for a method that needs no key; encodings other than gzip and deflate.
std::shared_ptr<http::Peer> make_connection(http::Stream stream, http::PeerHost& host);

}  // namespace lathe::infer::grpc
