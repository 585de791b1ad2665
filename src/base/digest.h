#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe {

/// SHA-256 in pieces. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  /// The digest of all bytes so far, 64 lower-case hex digits. Call once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 64 lower-case hex digits.
std::string sha256_hex(std::string_view bytes);

/// Of a file's content, read in pieces. Errors: `not_found`, `internal`.
Result<std::string> sha256_file(const std::filesystem::path& path);

/// Compares secrets in a time that does not depend on where they differ.
bool equal_secrets(std::string_view a, std::string_view b);

/// Base64 with padding. Errors of the decoder: `invalid`.
std::string base64_encode(std::string_view bytes);
Result<std::string> base64_decode(std::string_view text);

}  // namespace lathe
