#include "infer/credential.h"

#include <chrono>
#include <cstring>

#include "base/timed_token.h"

namespace lathe::infer {
namespace {

/// The server makes tokens for 30 minutes, and its clock may be ahead of ours by ten.
constexpr std::int64_t kLongestTokenS = 40 * 60;

std::string_view bytes_of(const KeyDigest& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

Result<std::size_t> check_token(const Endpoint& endpoint, std::string_view given, const KeyDigest& digest,
                                VerifiedTokens& verified) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto now_s = std::chrono::duration_cast<std::chrono::seconds>(now).count();
  const auto get = [&] { return "'lathe online-endpoint get-credentials -n " + endpoint.name + "' prints one"; };
  const auto token = read_timed_token(given);
  for (std::size_t i = 0; token && i < endpoint.keys.size(); ++i) {
    const auto& key = endpoint.keys[i];
    if (!token->names(bytes_of(key))) continue;
    if (token->ends_s <= now_s)
      return fail(Code::unauthenticated,
                  "the token for endpoint \"" + endpoint.name + "\" has expired: take a new one; " + get());
    if (token->ends_s - now_s > kLongestTokenS) break;
    if (verified.knows(digest, key)) return i;
    if (!is_signed_by(*token, bytes_of(key), endpoint.name)) break;
    verified.add(digest, key, token->ends_s, now_s);
    return i;
  }
  return fail(Code::forbidden, "endpoint \"" + endpoint.name + "\" takes tokens (auth_mode: aml_token), and this is " +
                                   (token ? "not one of its own; " : "none; ") + get());
}

}  // namespace

std::size_t VerifiedTokens::First::operator()(const KeyDigest& digest) const {
  std::size_t out = 0;
  std::memcpy(&out, digest.data(), sizeof out);
  return out;
}

bool VerifiedTokens::knows(const KeyDigest& token, const KeyDigest& signer) const {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(token);
  return found != known_.end() && found->second.signer == signer;
}

void VerifiedTokens::add(const KeyDigest& token, const KeyDigest& signer, std::int64_t ends_s, std::int64_t now_s) {
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kMost) std::erase_if(known_, [&](const auto& each) { return each.second.ends_s <= now_s; });
  if (known_.size() >= kMost) known_.clear();  // each is looked at once more
  known_[token] = {signer, ends_s};
}

Result<std::size_t> check_credential(const Endpoint& endpoint, std::string_view given, const KeyDigest& digest,
                                     VerifiedTokens& verified) {
  if (endpoint.takes_tokens) return check_token(endpoint, given, digest, verified);
  if (const auto found = find_key(endpoint.keys, digest)) return *found;
  return fail(Code::forbidden, "this is not one of the keys of endpoint \"" + endpoint.name +
                                   "\"; 'lathe online-endpoint get-credentials' prints them");
}

}  // namespace lathe::infer
