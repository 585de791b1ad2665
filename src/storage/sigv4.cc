#include "storage/sigv4.h"

#include <fmt/format.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/digest.h"
#include "base/text.h"

namespace lathe::storage {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string hmac(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), out.data(), &size);
  return {reinterpret_cast<const char*>(out.data()), size};
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

/// "20130524T000000Z"
std::string stamp_of(Time at) {
  const auto seconds = static_cast<std::time_t>(millis(at) / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string names_of(const Pairs& headers) {
  std::string out;
  for (const auto& [name, value] : headers) out.append(out.empty() ? "" : ";").append(name);
  return out;
}

}  // namespace

std::string canonical_query(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(url_encode(name), url_encode(value));
  std::sort(encoded.begin(), encoded.end());
  std::string out;
  for (const auto& [name, value] : encoded) out.append(out.empty() ? "" : "&").append(name).append("=").append(value);
  return out;
}

std::string Signer::scope(const std::string& stamp) const {
  return fmt::format("{}/{}/s3/aws4_request", stamp.substr(0, 8), region_);
}

std::string Signer::signature(const Signable& request, const Pairs& signed_headers, const std::string& payload,
                              const std::string& stamp) const {
  std::string canonical = fmt::format("{}\n{}\n{}\n", request.method, request.path, canonical_query(request.query));
  for (const auto& [name, value] : signed_headers) canonical += fmt::format("{}:{}\n", name, trim(value));
  canonical += fmt::format("\n{}\n{}", names_of(signed_headers), payload);
  const auto to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, stamp, scope(stamp), sha256_hex(canonical));
  const auto of_day = hmac("AWS4" + credentials_.secret_key, stamp.substr(0, 8));
  return hex(hmac(hmac(hmac(hmac(of_day, region_), "s3"), "aws4_request"), to_sign));
}

Pairs Signer::headers(const Signable& request, const std::string& payload_sha256, Time at) const {
  const auto stamp = stamp_of(at);
  Pairs out{{"x-amz-content-sha256", payload_sha256}, {"x-amz-date", stamp}};
  if (!credentials_.session_token.empty()) out.emplace_back("x-amz-security-token", credentials_.session_token);
  Pairs all = request.headers;
  all.emplace_back("host", request.host);
  all.insert(all.end(), out.begin(), out.end());
  std::sort(all.begin(), all.end());
  out.emplace_back("authorization", fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                                                credentials_.access_key, scope(stamp), names_of(all),
                                                signature(request, all, payload_sha256, stamp)));
  return out;
}

std::string Signer::presigned_query(const Signable& request, std::chrono::seconds lives, Time at) const {
  const auto stamp = stamp_of(at);
  const Pairs host{{"host", request.host}};
  auto whole = request;
  whole.query.insert(whole.query.end(), {{"X-Amz-Algorithm", std::string(kAlgorithm)},
                                         {"X-Amz-Credential", credentials_.access_key + "/" + scope(stamp)},
                                         {"X-Amz-Date", stamp},
                                         {"X-Amz-Expires", std::to_string(lives.count())},
                                         {"X-Amz-SignedHeaders", names_of(host)}});
  if (!credentials_.session_token.empty()) whole.query.emplace_back("X-Amz-Security-Token", credentials_.session_token);
  return canonical_query(whole.query) + "&X-Amz-Signature=" + signature(whole, host, "UNSIGNED-PAYLOAD", stamp);
}

}  // namespace lathe::storage
