#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <array>
#include <fstream>
#include <vector>

namespace lathe {

namespace {

struct Digest {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Digest() { begin(); }
  ~Digest() { EVP_MD_CTX_free(context); }
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void begin() { EVP_DigestInit_ex(context, kind(), nullptr); }
  std::string finish() {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<unsigned char, 32> raw{};
    EVP_DigestFinal_ex(context, raw.data(), nullptr);
    std::string out(64, '0');
    for (std::size_t i = 0; i < raw.size(); ++i) {
      out[2 * i] = kDigits[raw[i] >> 4];
      out[2 * i + 1] = kDigits[raw[i] & 15];
    }
    return out;
  }
  /// Looked up once: EVP_sha256() would be looked up again at each begin.
  static const EVP_MD* kind() {
    static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return sha256;
  }
};

}  // namespace

struct Sha256::State : Digest {};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::string_view bytes) { EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()); }

std::string Sha256::finish() { return state_->finish(); }

std::string sha256_hex(std::string_view bytes) {
  thread_local Digest state;  // making one costs more than a short digest
  state.begin();
  EVP_DigestUpdate(state.context, bytes.data(), bytes.size());
  return state.finish();
}

Result<std::string> sha256_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return fail(Code::not_found, "cannot read " + path.string());
  Sha256 digest;
  std::vector<char> buffer(1 << 18);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    digest.update({buffer.data(), static_cast<std::size_t>(in.gcount())});
  }
  if (in.bad()) return fail(Code::internal, "reading " + path.string() + " failed");
  return digest.finish();
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string base64_encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

Result<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return fail(Code::invalid, "not base64");
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) return fail(Code::invalid, "not base64");
  out.resize(static_cast<std::size_t>(size));
  if (text.ends_with("==")) out.resize(out.size() - 2);
  else if (text.ends_with('=')) out.resize(out.size() - 1);
  return out;
}

}  // namespace lathe
