#include "infer/http/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

#include <array>
#include <string_view>

#include "base/log.h"

namespace lathe::infer::http {
namespace {

constexpr std::string_view kHttp = "\x08http/1.1";
constexpr std::string_view kGrpc = "\x02h2";

std::string last_error() {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

/// `wanted`: the one protocol that is spoken here, with its length before it.
int choose_protocol(const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned int in_size,
                    const std::string_view& wanted) {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(wanted.data());
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, bytes, static_cast<unsigned int>(wanted.size()), in, in_size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

template <const std::string_view& kWanted>
int choose(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned int in_size,
           void*) {
  return choose_protocol(out, out_size, in, in_size, kWanted);
}

using Choose = int (*)(SSL*, const unsigned char**, unsigned char*, const unsigned char*, unsigned int, void*);

Result<Tls::Context> make_context(const std::filesystem::path& certificate, const std::filesystem::path& key,
                                  Choose choose) {
  Tls::Context made(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!made) return fail(Code::internal, "TLS cannot begin: " + last_error());
  auto* const context = made.get();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, choose, nullptr);
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return fail(Code::invalid, "cannot use the certificate " + certificate.string() + ": " + last_error());
  // A key of another algorithm is taken without its certificate: the check finds that.
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return fail(Code::invalid, "cannot use the key " + key.string() + " with the certificate " + certificate.string() +
                                   ": " + last_error());
  return made;
}

std::string hex_of(SSL_CTX* context) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  X509_digest(SSL_CTX_get0_certificate(context), EVP_sha256(), digest.data(), &size);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

}  // namespace

Tls::Tls(std::filesystem::path certificate, std::filesystem::path key)
    : certificate_(std::move(certificate)), key_(std::move(key)) {}

Result<std::unique_ptr<Tls>> Tls::load(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  std::unique_ptr<Tls> made(new Tls(certificate, key));
  made->read_stamp_ = made->stamp();
  LATHE_CHECK(made->read());
  return made;
}

Result<void> Tls::read() {
  LATHE_TRY(auto http, make_context(certificate_, key_, choose<kHttp>));
  LATHE_TRY(auto grpc, make_context(certificate_, key_, choose<kGrpc>));
  fingerprint_.store(std::make_shared<const std::string>(hex_of(http.get())), std::memory_order_release);
  http_.store(std::move(http), std::memory_order_release);
  grpc_.store(std::move(grpc), std::memory_order_release);
  return {};
}

std::string Tls::stamp() const {
  std::string out;
  for (const auto& file : {certificate_, key_}) {
    struct stat seen {};
    if (::stat(file.c_str(), &seen) != 0) return {};
    out += std::to_string(seen.st_ino) + ' ' + std::to_string(seen.st_size) + ' ' +
           std::to_string(seen.st_mtim.tv_sec) + ' ' + std::to_string(seen.st_mtim.tv_nsec) + ' ';
  }
  return out;
}

bool Tls::refresh() {
  const auto now = stamp();
  if (now.empty() || now == read_stamp_) return false;
  read_stamp_ = now;
  const auto before = fingerprint();
  if (const auto done = read(); !done) {
    log::warn("the new certificate cannot be used, the old one goes on error=\"{}\"", done.error().message);
    return false;
  }
  log::info("there is a new certificate sha256={}", fingerprint());
  return fingerprint() != before;
}

}  // namespace lathe::infer::http
