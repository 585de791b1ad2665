#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace lathe::app {

/// Makes a key and a certificate signed by itself, good for ten years, for `host`, this machine's name and localhost, in
/// DATA/tls, unless they are there. Returns the certificate's SHA-256 (64 hex digits), which clients pin.
struct Certificate {
  std::filesystem::path certificate;
  std::filesystem::path key;
};
Result<Certificate> own_certificate(const std::filesystem::path& data, const std::string& host);

/// Whether both can be read and belong together. Errors: `invalid`, naming the file.
Result<void> check_pair(const Certificate& pair);

/// The SHA-256 of a PEM certificate's DER form.
Result<std::string> fingerprint(const std::filesystem::path& certificate);

}  // namespace lathe::app
