#include "auth/passwords.h"

#include <openssl/evp.h>

#include <array>

#include "base/digest.h"

namespace lathe::auth {
namespace {

constexpr int kRounds = 60'000;
constexpr int kMostChecks = 5;  // a second: they take the I/O thread's time
constexpr std::size_t kMostRemembered = 1000;

}  // namespace

std::string password_hash(std::string_view user, std::string_view password) {
  const std::string salt = "lathe:" + std::string(user);
  std::array<unsigned char, 32> out{};
  ::PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()),
                      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()), kRounds,
                      ::EVP_sha256(), static_cast<int>(out.size()), out.data());
  return "pbkdf2:" + sha256_hex(std::string_view(reinterpret_cast<const char*>(out.data()), out.size()));
}

std::string PasswordChecks::key(const std::string& user, const std::string& password) {
  return sha256_hex(user + '\0' + password);
}

std::optional<std::string> PasswordChecks::hash(const std::string& user, const std::string& password, Time now) {
  {
    const std::scoped_lock lock(mutex_);
    if (const auto known = right_.find(key(user, password)); known != right_.end()) return known->second;
    if (now - second_ >= std::chrono::seconds(1)) {
      second_ = now;
      checked_ = 0;
    }
    if (++checked_ > kMostChecks) return std::nullopt;
  }
  return password_hash(user, password);
}

void PasswordChecks::remember(const std::string& user, const std::string& password, std::string hash) {
  const std::scoped_lock lock(mutex_);
  if (right_.size() >= kMostRemembered) right_.clear();
  right_.insert_or_assign(key(user, password), std::move(hash));
}

}  // namespace lathe::auth
