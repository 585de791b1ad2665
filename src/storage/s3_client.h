#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "storage/aws_profile.h"
#include "storage/exchange.h"
#include "storage/sigv4.h"
#include "storage/storage.h"

namespace lathe::storage {

struct S3Request {
  std::string method;
  std::optional<std::string> key;  ///< nullopt: the bucket itself
  Pairs query = {};
  Pairs headers = {};  ///< names in lower case; signed
  std::string_view body = {};
  bool repeatable = true;  ///< asking twice does no harm
};

struct S3Answer {
  int status = 0;
  std::string body;
  std::string etag;
  bool good() const { return status >= 200 && status < 300; }
};

/// Signed requests to one bucket. What fails for a reason that may pass (no connection, 5xx, 429) is asked again a few
/// times. Thread-safe; blocks.
class S3Client {
 public:
  /// Errors: `invalid` — no credentials, or an endpoint that is none.
  static Result<std::unique_ptr<S3Client>> make(const S3Place& place, const char* (*environment)(const char*));

  /// Any status is an answer. Errors: `unavailable` — S3 cannot be reached.
  Result<S3Answer> ask(const S3Request& request);
  /// As `ask`, for a body that is taken piece by piece: the answer's head is there.
  Result<std::unique_ptr<Exchange>> open(const S3Request& request);
  /// An address that lets anyone make the request for a while.
  std::string presigned(const S3Request& request, std::chrono::seconds lives);

  /// The error for an answer that is not good: what was being done, and what to do about it.
  /// `not_found` — no such object; else `unavailable`.
  Error trouble(const std::string& doing, const S3Answer& answer) const;

  /// "s3://bucket/prefix at https://host", for people.
  const std::string& name() const { return name_; }
  void interrupt() { connections_.interrupt(); }

 private:
  S3Client(const S3Place& place, AwsProfile profile, const char* (*environment)(const char*));
  Signable signable(const S3Request& request) const;
  ExchangeRequest signed_request(const S3Request& request);

  std::string bucket_;
  std::string scheme_;  ///< "https://"
  std::string host_;    ///< with the port and, not path_style, the bucket
  std::string region_;
  bool path_style_;
  std::string origin_;  ///< of the credentials
  std::string name_;
  CredentialsOf credentials_;
  Connections connections_;
};

}  // namespace lathe::storage
