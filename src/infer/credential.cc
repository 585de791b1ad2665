#include "infer/credential.h"

#include <chrono>

#include "base/timed_token.h"

namespace lathe::infer {
namespace {

/// The server makes tokens for 30 minutes, and its clock may be ahead of ours by ten.
constexpr std::int64_t kLongestTokenS = 40 * 60;

Result<std::size_t> check_token(const Endpoint& endpoint, std::string_view token) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto now_s = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  bool ended = false;
  for (std::size_t i = 0; i < endpoint.keys.size(); ++i) {
    const auto& key = endpoint.keys[i];
    const std::string_view bytes(reinterpret_cast<const char*>(key.data()), key.size());
    const auto state = check_timed_token(token, bytes, endpoint.name, now_s, kLongestTokenS);
    if (state == TimedToken::good) return i;
    ended = ended || state == TimedToken::ended;
  }
  const auto get = "'lathe online-endpoint get-credentials -n " + endpoint.name + "' prints one";
  if (ended)
    return fail(Code::unauthenticated,
                "the token for endpoint \"" + endpoint.name + "\" has expired: take a new one; " + get);
  return fail(Code::forbidden, "endpoint \"" + endpoint.name + "\" takes tokens (auth_mode: aml_token), and this is " +
                                   (is_timed_token(token) ? "not one of its own; " : "none; ") + get);
}

}  // namespace

Result<std::size_t> check_credential(const Endpoint& endpoint, std::string_view given, const KeyDigest& digest) {
  if (endpoint.takes_tokens) return check_token(endpoint, given);
  if (const auto found = find_key(endpoint.keys, digest)) return *found;
  return fail(Code::forbidden, "this is not one of the keys of endpoint \"" + endpoint.name +
                                   "\"; 'lathe online-endpoint get-credentials' prints them");
}

}  // namespace lathe::infer
