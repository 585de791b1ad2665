#pragma once

#include <filesystem>
#include <string_view>

#include "infer/catalog.h"
#include "infer/http/server.h"

/// What needs an administrator's right. `lathe serve` checks it, and asks with the operator's key, which lies in the
/// data plane's folder for the server's account alone.
namespace lathe::infer {

/// The digest of the key in FOLDER/operator.key, which is made when it is not there. Errors: as write_file's.
Result<KeyDigest> operator_key(const std::filesystem::path& folder);

/// Answers what Triton's extensions for shared memory, traces and the log ask. `path`: of REST, percent-decoded, or of
/// gRPC. `catalog`: whose models may be named. Errors: `invalid`, `not_found`. Thread-safe.
Result<void> operate(const http::Request& request, std::string_view path, const Catalog& catalog, http::Reply& reply);

}  // namespace lathe::infer
