#include "remote/tls.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/sha256.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

namespace lathe::remote {
namespace {

/// Where the systems that nodes run keep the certificates that they trust.
constexpr const char* kTrusted[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                    "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

std::string hex(const unsigned char* bytes, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    out.push_back("0123456789abcdef"[bytes[i] >> 4]);
    out.push_back("0123456789abcdef"[bytes[i] & 15]);
  }
  return out;
}

}  // namespace

struct Digest::State {
  mbedtls_sha256_context context;
};

Digest::Digest() : state_(new State) {
  mbedtls_sha256_init(&state_->context);
  mbedtls_sha256_starts_ret(&state_->context, 0);
}
Digest::~Digest() {
  mbedtls_sha256_free(&state_->context);
}

void Digest::update(std::string_view bytes) {
  mbedtls_sha256_update_ret(&state_->context, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

std::string Digest::finish() {
  unsigned char out[32];
  mbedtls_sha256_finish_ret(&state_->context, out);
  return hex(out, sizeof out);
}

struct Tls::State {
  mbedtls_net_context socket;
  mbedtls_ssl_context ssl;
  mbedtls_ssl_config config;
  mbedtls_entropy_context entropy;
  mbedtls_ctr_drbg_context random;
  mbedtls_x509_crt trusted;
};

Tls::Tls() : state_(new State) {
  mbedtls_net_init(&state_->socket);
  mbedtls_ssl_init(&state_->ssl);
  mbedtls_ssl_config_init(&state_->config);
  mbedtls_entropy_init(&state_->entropy);
  mbedtls_ctr_drbg_init(&state_->random);
  mbedtls_x509_crt_init(&state_->trusted);
}

Tls::~Tls() {
  mbedtls_ssl_free(&state_->ssl);
  mbedtls_ssl_config_free(&state_->config);
  mbedtls_ctr_drbg_free(&state_->random);
  mbedtls_entropy_free(&state_->entropy);
  mbedtls_x509_crt_free(&state_->trusted);
}

bool Tls::begin(int socket, const std::string& host, const std::string& pin, std::string& error) {
  auto& s = *state_;
  s.socket.fd = socket;
  if (mbedtls_ctr_drbg_seed(&s.random, mbedtls_entropy_func, &s.entropy, nullptr, 0) != 0 ||
      mbedtls_ssl_config_defaults(&s.config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                  MBEDTLS_SSL_PRESET_DEFAULT) != 0) {
    error = "TLS cannot be set up";
    return false;
  }
  mbedtls_ssl_conf_rng(&s.config, mbedtls_ctr_drbg_random, &s.random);
  mbedtls_ssl_conf_min_version(&s.config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
  if (pin.empty()) {
    for (const char* file : kTrusted) mbedtls_x509_crt_parse_file(&s.trusted, file);
    mbedtls_ssl_conf_ca_chain(&s.config, &s.trusted, nullptr);
    mbedtls_ssl_conf_authmode(&s.config, MBEDTLS_SSL_VERIFY_REQUIRED);
  } else {
    mbedtls_ssl_conf_authmode(&s.config, MBEDTLS_SSL_VERIFY_NONE);  // the pin says more, below
  }
  if (mbedtls_ssl_setup(&s.ssl, &s.config) != 0 || mbedtls_ssl_set_hostname(&s.ssl, host.c_str()) != 0) {
    error = "TLS cannot be set up";
    return false;
  }
  mbedtls_ssl_set_bio(&s.ssl, &s.socket, mbedtls_net_send, mbedtls_net_recv, nullptr);
  const int failed = mbedtls_ssl_handshake(&s.ssl);
  if (failed == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
    error = "the server's certificate is not one that this node trusts";
  else if (failed != 0)
    error = "the TLS handshake failed";
  if (failed != 0) return false;
  if (pin.empty()) return true;
  const auto* shown = mbedtls_ssl_get_peer_cert(&s.ssl);
  Digest digest;
  if (shown != nullptr) digest.update({reinterpret_cast<const char*>(shown->raw.p), shown->raw.len});
  if (shown != nullptr && digest.finish() == pin) return true;
  error = "the server shows another certificate than the one that it had when the job was submitted";
  return false;
}

long Tls::read(char* into, std::size_t size) {
  const int got = mbedtls_ssl_read(&state_->ssl, reinterpret_cast<unsigned char*>(into), size);
  return got == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ? 0 : got;
}

long Tls::write(const char* bytes, std::size_t size) {
  return mbedtls_ssl_write(&state_->ssl, reinterpret_cast<const unsigned char*>(bytes), size);
}

}  // namespace lathe::remote
