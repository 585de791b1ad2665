#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "infer/catalog.h"

namespace lathe::infer {

/// Tokens whose signatures were looked at and are right, so that each is looked at once. Where there are `kMost`,
/// those whose time is over are forgotten, or all. Thread-safe.
class VerifiedTokens {
 public:
  /// `token`: the SHA-256 of its text. `signer`: the public key.
  bool knows(const KeyDigest& token, const KeyDigest& signer) const;
  void add(const KeyDigest& token, const KeyDigest& signer, std::int64_t ends_s, std::int64_t now_s);

 private:
  static constexpr std::size_t kMost = 8192;  ///< about 1 MiB
  struct First {
    std::size_t operator()(const KeyDigest& digest) const;
  };
  struct Known {
    KeyDigest signer;
    std::int64_t ends_s;
  };

  mutable std::mutex mutex_;
  std::unordered_map<KeyDigest, Known, First> known_;
};

/// The index of the endpoint's key that `given` is or, where the endpoint takes tokens, that has signed it. `digest`:
/// of `given`. Takes a time that does not depend on which key it is. What is no token that this endpoint's server may
/// have made, by its form, its key's name and its time, costs no look at a signature. Errors: `unauthenticated` — a
/// token whose time is over; `forbidden` — none of them.
Result<std::size_t> check_credential(const Endpoint& endpoint, std::string_view given, const KeyDigest& digest,
                                     VerifiedTokens& verified);

}  // namespace lathe::infer
