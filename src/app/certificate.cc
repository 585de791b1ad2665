#include "app/certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <memory>

#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"

namespace lathe::app {
namespace {

template <class T, void (*Free)(T*)>
struct Freer {
  void operator()(T* value) const { Free(value); }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, Freer<X509, X509_free>>;
struct BioFree {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, BioFree>;

std::string content(BIO* bio) {
  char* bytes = nullptr;
  const auto size = BIO_get_mem_data(bio, &bytes);
  return {bytes, static_cast<std::size_t>(size)};
}

bool is_address(const std::string& host) {
  unsigned char buffer[16];
  return ::inet_pton(AF_INET, host.c_str(), buffer) == 1 || ::inet_pton(AF_INET6, host.c_str(), buffer) == 1;
}

void add_names(X509* certificate, const std::string& host) {
  char own[256] = "localhost";
  ::gethostname(own, sizeof own - 1);
  std::string names = "DNS:localhost,IP:127.0.0.1,DNS:" + std::string(own);
  if (host != "0.0.0.0" && host != "::") names += (is_address(host) ? ",IP:" : ",DNS:") + host;
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  if (auto* extension = X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, names.c_str())) {
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
}

Result<X509Ptr> read_certificate(const std::filesystem::path& file) {
  const auto text = read_file(file);
  if (!text) return fail(Code::invalid, text.error().message);
  const Bio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  X509Ptr parsed(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!parsed) return fail(Code::invalid, file.string() + " is not a PEM certificate");
  return parsed;
}

}  // namespace

Result<Certificate> own_certificate(const std::filesystem::path& data, const std::string& host) {
  const auto folder = data / "tls";
  Certificate files{folder / "certificate.pem", folder / "key.pem"};
  if (std::filesystem::exists(files.certificate) && std::filesystem::exists(files.key)) return files;
  LATHE_CHECK(make_folder(folder));

  const Key key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate) return fail(Code::internal, "OpenSSL cannot make a key");
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), std::stoull(random_hex(7), nullptr, 16));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3650L * 86400);
  X509_set_pubkey(certificate.get(), key.get());
  auto* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("lathe"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  add_names(certificate.get(), host);
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) return fail(Code::internal, "OpenSSL cannot sign the certificate");

  const Bio key_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  const Bio certificate_text(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(certificate_text.get(), certificate.get());
  LATHE_CHECK(write_file(files.key, content(key_text.get()), 0600));
  LATHE_CHECK(write_file(files.certificate, content(certificate_text.get()), 0644));
  return files;
}

Result<void> check_pair(const Certificate& pair) {
  LATHE_TRY(const auto certificate, read_certificate(pair.certificate));
  const auto text = read_file(pair.key);
  if (!text) return fail(Code::invalid, text.error().message);
  const Bio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  const auto no_password = [](char*, int, int, void*) { return 0; };
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key) return fail(Code::invalid, pair.key.string() + " is not a PEM private key without a password");
  if (X509_check_private_key(certificate.get(), key.get()) == 1) return {};
  return fail(Code::invalid, pair.key.string() + " is not the key of the certificate " + pair.certificate.string());
}

Result<std::string> fingerprint(const std::filesystem::path& certificate) {
  LATHE_TRY(const auto parsed, read_certificate(certificate));
  unsigned char* der = nullptr;
  const int size = i2d_X509(parsed.get(), &der);
  if (size < 0) return fail(Code::internal, "OpenSSL cannot write the certificate");
  const auto digest = sha256_hex({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  return digest;
}

}  // namespace lathe::app
