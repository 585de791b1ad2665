#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/time.h"

/// Passwords, for clients that cannot do without: people choose them, so that finding one out must cost time.
namespace lathe::auth {

/// What is kept of a user's password: PBKDF2-HMAC-SHA256, salted with the user's name. Takes about 20 ms.
std::string password_hash(std::string_view user, std::string_view password);

/// Remembers which passwords were right, so that a client's every request need not pay for that again, and bounds how
/// much time wrong ones can take. What is remembered is no right to come in: whoever asks looks the hash up. Thread-safe.
class PasswordChecks {
 public:
  /// The hash of what a client sent; nullopt when too many unknown ones came within this second.
  std::optional<std::string> hash(const std::string& user, const std::string& password, Time now);
  /// Those of `hash` that were right.
  void remember(const std::string& user, const std::string& password, std::string hash);

 private:
  static std::string key(const std::string& user, const std::string& password);

  std::mutex mutex_;
  std::unordered_map<std::string, std::string> right_;
  Time second_ = {};
  int checked_ = 0;
};

}  // namespace lathe::auth
