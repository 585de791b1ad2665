#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"

/// AWS's Signature Version 4 for S3: in headers for our own requests, in the query for addresses that we hand out.
namespace lathe::storage {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  ///< may be empty
};

/// What a signature covers of a request.
struct Signable {
  std::string method;
  std::string host;    ///< as the Host header says it
  std::string path;    ///< percent-encoded, from '/'
  Pairs query = {};    ///< decoded
  Pairs headers = {};  ///< beside host and x-amz-*; names in lower case
};

class Signer {
 public:
  Signer(Credentials credentials, std::string region)
      : credentials_(std::move(credentials)), region_(std::move(region)) {}

  /// The headers to add to the request. `payload_sha256`: 64 hex digits of the body's digest.
  Pairs headers(const Signable& request, const std::string& payload_sha256, Time at) const;

  /// The whole query of an address that is good from `at` on for `lives`, at most seven days.
  std::string presigned_query(const Signable& request, std::chrono::seconds lives, Time at) const;

 private:
  std::string scope(const std::string& stamp) const;
  std::string signature(const Signable& request, const Pairs& signed_headers, const std::string& payload,
                        const std::string& stamp) const;

  Credentials credentials_;
  std::string region_;
};

/// "a=1&b=%2F", in the order that signatures want.
std::string canonical_query(const Pairs& query);

}  // namespace lathe::storage
