#include "http/client.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "base/file.h"
#include "http/server.h"

namespace lathe::http {
namespace {

namespace fs = std::filesystem;

struct Discard : Sink {
  Result<void> write(std::string_view piece) override {
    size += piece.size();
    return {};
  }
  Result<Response> finish() override { return text_response(std::to_string(size)); }
  std::size_t size = 0;
};

/// Makes a self-signed certificate and its key as PEM files.
void make_certificate(const fs::path& certificate_file, const fs::path& key_file) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("lathe test"), -1, -1, 0);
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  X509_sign(certificate, key, EVP_sha256());
  FILE* out = std::fopen(certificate_file.c_str(), "w");
  PEM_write_X509(out, certificate);
  std::fclose(out);
  out = std::fopen(key_file.c_str(), "w");
  PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  std::fclose(out);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

class HttpClient : public testing::Test {
 protected:
  HttpClient() : folder_(fs::temp_directory_path() / ("lathe-client-test." + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
    router_.add({.id = "echo", .method = Method::post, .path = "/echo", .right = Right::open, .summary = {}},
                [](Call& call) -> Result<Response> {
                  return text_response(std::string(call.header("content-type").value_or("none")) + "|" +
                                       std::string(call.header("authorization").value_or("none")) + "|" + call.body);
                });
    router_.add({.id = "big", .method = Method::get, .path = "/big", .right = Right::open, .summary = {}},
                [](Call&) -> Result<Response> { return text_response(std::string(300'000, 'x')); });
    router_.add({.id = "missing", .method = Method::get, .path = "/missing", .right = Right::open, .summary = {}},
                [](Call&) -> Result<Response> { return fail(Code::not_found, "no such thing"); });
    router_.add_upload({.id = "put", .method = Method::put, .path = "/blob", .right = Right::open, .summary = {}},
                       [](Call&) -> Result<std::unique_ptr<Sink>> { return std::make_unique<Discard>(); });
  }
  ~HttpClient() override {
    if (server_) server_->stop(std::chrono::milliseconds(100));
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  void start(bool tls) {
    ServerOptions options;
    options.port = 0;
    options.workers = 1;
    options.authenticate = [](const std::optional<Credentials>&) -> Result<Principal> { return Principal{}; };
    if (tls) {
      options.certificate_file = folder_ / "certificate.pem";
      options.key_file = folder_ / "key.pem";
      make_certificate(options.certificate_file, options.key_file);
    }
    auto server = serve(std::move(options), router_);
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
  }

  Client client(std::string token = {}, std::string pin = {}) const {
    return Client({.url = server_->url(), .token = std::move(token), .certificate_sha256 = std::move(pin)});
  }

  fs::path folder_;
  Router router_;
  std::unique_ptr<Server> server_;
};

TEST_F(HttpClient, SendsBodyTokenAndTypeAndKeepsItsConnection) {
  start(false);
  auto http = client("secret");
  for (int i = 0; i < 3; ++i) {
    const auto answer = http.request("POST", "/echo", "{}");
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, "application/json|Bearer secret|{}");
  }
  EXPECT_EQ(http.request("POST", "/echo", "a", {{"Content-Type", "text/plain"}})->body, "text/plain|Bearer secret|a");
}

TEST_F(HttpClient, StreamsGiveThePiecesAwayAndErrorsTheirBody) {
  start(false);
  auto http = client();
  std::size_t size = 0;
  auto answer = http.stream("GET", "/big", [&](std::string_view piece) { return size += piece.size(), true; });
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(size, 300'000U);

  answer = http.stream("GET", "/big", [](std::string_view piece) { return piece.empty(); });
  ASSERT_TRUE(answer.has_value()) << "stopping is no error";

  answer = http.stream("GET", "/missing", [](std::string_view piece) { return piece.empty(); });
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 404);
  EXPECT_NE(answer->body.find("no such thing"), std::string::npos);
}

TEST_F(HttpClient, FilesGoBothWays) {
  start(false);
  auto http = client();
  const auto file = folder_ / "file";
  ASSERT_TRUE(http.get_file("/big", file).has_value());
  EXPECT_EQ(fs::file_size(file), 300'000U);
  const auto sent = http.put_file("/blob", file);
  ASSERT_TRUE(sent.has_value());
  EXPECT_EQ(sent->body, "300000");

  EXPECT_EQ(http.get_file("/missing", folder_ / "none")->status, 404);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1)
      << "a failed download leaves nothing";
  EXPECT_EQ(http.put_file("/blob", folder_ / "none").error().code, Code::not_found);
}

TEST_F(HttpClient, NobodyThereIsUnavailable) {
  start(false);
  auto http = client();
  server_->stop(std::chrono::milliseconds(100));
  server_.reset();
  EXPECT_EQ(http.request("GET", "/big").error().code, Code::unavailable);
  EXPECT_EQ(Client({.url = "nonsense://x"}).request("GET", "/").error().code, Code::invalid);
}

TEST_F(HttpClient, APinnedCertificateIsTrustedAndAnotherIsNot) {
  start(true);
  EXPECT_EQ(client().request("GET", "/big").error().code, Code::unauthenticated) << "self-signed";
  const auto fingerprint = certificate_fingerprint(server_->url());
  ASSERT_TRUE(fingerprint.has_value()) << fingerprint.error().message;
  EXPECT_EQ(fingerprint->size(), 64U);
  const auto answer = client({}, *fingerprint).request("GET", "/big");
  ASSERT_TRUE(answer.has_value()) << answer.error().message;
  EXPECT_EQ(answer->status, 200);

  const auto refused = client({}, sha256_hex("another")).request("GET", "/big");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::unauthenticated);
  EXPECT_NE(refused.error().message.find("another certificate"), std::string::npos) << refused.error().message;
}

}  // namespace
}  // namespace lathe::http
