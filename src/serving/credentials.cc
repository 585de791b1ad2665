#include "base/ids.h"
#include "base/text.h"
#include "base/timed_token.h"
#include "serving/serving.h"

namespace lathe::serving {
namespace {

constexpr std::size_t kKeyBytes = 24;
constexpr std::int64_t kTokenS = 30 * 60;
constexpr std::int64_t kRefreshS = 20 * 60;

std::int64_t seconds_now() {
  return micros(now()) / 1'000'000;
}

/// Data planes have the public keys, and know tokens by them.
Result<std::string> token_until(const Endpoint& endpoint, std::int64_t ends_s) {
  return make_timed_token(signing_key(endpoint.name, endpoint.primary_key), endpoint.name, ends_s);
}

Result<Credentials> token_of(const Endpoint& endpoint) {
  const auto time = seconds_now();
  Credentials out;
  LATHE_TRY(out.accessToken, token_until(endpoint, time + kTokenS));
  out.expiryTimeUtc = time + kTokenS;
  out.refreshAfterTimeUtc = time + kRefreshS;
  out.tokenType = "Bearer";
  return out;
}

}  // namespace

std::string new_key() {
  return random_hex(kKeyBytes);
}

Result<std::string> bearer_of(const Endpoint& endpoint) {
  if (!endpoint.access.auth_mode) return endpoint.primary_key;
  // The same for a minute, so that the data plane knows it already.
  constexpr std::int64_t kMinute = 60;
  return token_until(endpoint, (seconds_now() / kMinute + 2) * kMinute);
}

Result<Credentials> Serving::credentials(const std::string& name) {
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return find_endpoint(c, name); }));
  if (found.access.auth_mode) return token_of(found);
  Credentials out;
  out.primaryKey = found.primary_key;
  out.secondaryKey = found.secondary_key;
  return out;
}

Result<Credentials> Serving::token(const std::string& name) {
  LATHE_TRY(const auto found, db_.read([&](db::Connection& c) { return find_endpoint(c, name); }));
  if (found.access.auth_mode) return token_of(found);
  return fail(Code::conflict, "endpoint \"" + name +
                                  "\" has keys, not tokens: set its auth_mode to aml_token, or take a key "
                                  "(lathe online-endpoint get-credentials)");
}

Result<Credentials> Serving::regenerate(const std::string& name, const std::string& key_type) {
  if (key_type != "primary" && key_type != "secondary")
    return fail(Code::invalid, "key_type: must be primary or secondary, not \"" + printable(key_type) + "\"");
  LATHE_TRY(const auto generation, commit([&](db::Connection& c, std::int64_t) -> Result<void> {
              LATHE_TRY(auto endpoint, find_endpoint(c, name));
              // Tokens that are out there go on until they expire.
              if (endpoint.access.auth_mode && key_type == "primary") endpoint.secondary_key = endpoint.primary_key;
              (key_type == "primary" ? endpoint.primary_key : endpoint.secondary_key) = new_key();
              endpoint.updated_us = micros(now());
              return update_endpoint(c, endpoint);
            }));
  await_generation(generation);
  return credentials(name);
}

}  // namespace lathe::serving
