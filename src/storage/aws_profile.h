#pragma once

#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/sigv4.h"

namespace lathe::storage {

/// What AWS's own tools read from the environment and from profile files. An empty text: nothing is said.
struct AwsProfile {
  Credentials credentials;
  std::string origin;  ///< for people: "the environment", "the profile \"team\" in /home/ann/.aws/credentials"
  std::string region;
  std::string endpoint;
  std::string ca_bundle;
  std::vector<std::filesystem::path> files;  ///< which files could change the credentials; empty: none
};

/// Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; else the profile AWS_PROFILE
/// ("default") of AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials) and AWS_CONFIG_FILE (~/.aws/config). Also
/// AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and AWS_CA_BUNDLE, each before the profile's
/// own. Errors: `invalid` — there are no credentials, or only half of them.
Result<AwsProfile> aws_profile(const char* (*environment)(const char*));

/// The credentials of a profile, read again when its files change, as tools that renew sessions write them.
/// Thread-safe.
class CredentialsOf {
 public:
  CredentialsOf(AwsProfile profile, const char* (*environment)(const char*));
  Credentials now();

 private:
  std::vector<std::filesystem::file_time_type> times() const;

  const char* (*environment_)(const char*);
  std::mutex mutex_;
  AwsProfile profile_;
  std::vector<std::filesystem::file_time_type> seen_;
};

}  // namespace lathe::storage
