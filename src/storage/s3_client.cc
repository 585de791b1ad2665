#include "storage/s3_client.h"

#include <fmt/format.h>

#include <thread>

#include "base/digest.h"
#include "base/text.h"
#include "storage/s3_xml.h"

namespace lathe::storage {
namespace {

constexpr int kAttempts = 3;
constexpr std::chrono::milliseconds kFirstPause{200};
constexpr std::size_t kMostAnswer = std::size_t{64} << 20;

void pause_after(int attempt) {
  std::this_thread::sleep_for(kFirstPause * (1 << (2 * (attempt - 1))));
}

bool may_pass(int status) {
  return status >= 500 || status == 429;
}

/// The endpoint as scheme and host. Errors: `invalid`.
Result<std::pair<std::string, std::string>> split_endpoint(std::string endpoint) {
  while (endpoint.ends_with('/')) endpoint.pop_back();
  const auto start = endpoint.find("://");
  const auto scheme = start == std::string::npos ? "" : to_lower(endpoint.substr(0, start + 3));
  auto host = start == std::string::npos ? "" : endpoint.substr(start + 3);
  if ((scheme != "http://" && scheme != "https://") || host.empty() || host.find_first_of("/?#@ ") != std::string::npos)
    return fail(Code::invalid, fmt::format("\"{}\" is not an S3 endpoint: expected http://HOST:PORT or https://HOST",
                                           printable(endpoint)));
  // The scheme's own port is not in the Host header, and so not in what is signed.
  for (const auto* port : {":80", ":443"})
    if (host.ends_with(port) && (scheme == "http://") == (std::string_view(port) == ":80"))
      host.resize(host.size() - std::string_view(port).size());
  return std::pair{scheme, host};
}

std::string encoded_path(std::string_view key) {
  std::string out;
  for (const auto part : split(key, '/')) out.append("/").append(url_encode(part));
  return out;
}

}  // namespace

Result<std::unique_ptr<S3Client>> S3Client::make(const S3Place& asked, const char* (*environment)(const char*)) {
  LATHE_TRY(auto profile, aws_profile(environment));
  auto place = asked;
  if (place.region.empty()) place.region = profile.region.empty() ? "us-east-1" : profile.region;
  if (place.endpoint.empty()) place.endpoint = profile.endpoint;
  if (!place.path_style) place.path_style = !place.endpoint.empty() || place.bucket.find('.') != std::string::npos;
  if (place.endpoint.empty()) place.endpoint = fmt::format("https://s3.{}.amazonaws.com", place.region);
  LATHE_CHECK(split_endpoint(place.endpoint));
  return std::unique_ptr<S3Client>(new S3Client(place, std::move(profile), environment));
}

S3Client::S3Client(const S3Place& place, AwsProfile profile, const char* (*environment)(const char*))
    : bucket_(place.bucket),
      region_(place.region),
      path_style_(*place.path_style),
      origin_(profile.origin),
      name_(fmt::format("s3://{}{}{} at {}", place.bucket, place.prefix.empty() ? "" : "/", place.prefix,
                        place.endpoint)),
      credentials_(profile, environment),
      connections_(profile.ca_bundle) {
  const auto endpoint = split_endpoint(place.endpoint).value();
  scheme_ = endpoint.first;
  host_ = path_style_ ? endpoint.second : bucket_ + "." + endpoint.second;
}

Signable S3Client::signable(const S3Request& request) const {
  std::string path = path_style_ ? "/" + url_encode(bucket_) : "";
  if (request.key) path += encoded_path(*request.key);
  return {request.method, host_, path.empty() ? "/" : path, request.query, request.headers};
}

ExchangeRequest S3Client::signed_request(const S3Request& request) {
  const auto signed_part = signable(request);
  const Signer signer(credentials_.now(), region_);
  auto headers = request.headers;
  const auto added = signer.headers(signed_part, sha256_hex(request.body), now());
  headers.insert(headers.end(), added.begin(), added.end());
  if (!request.body.empty() || request.method == "PUT")
    headers.emplace_back("content-type", "application/octet-stream");
  ExchangeRequest out{request.method, scheme_ + host_ + signed_part.path, {}, request.body};
  if (!request.query.empty()) out.url += "?" + canonical_query(request.query);
  for (const auto& [name, value] : headers) out.headers.push_back(name + ": " + value);
  return out;
}

Result<std::unique_ptr<Exchange>> S3Client::open(const S3Request& request) {
  for (int attempt = 1;; ++attempt) {
    auto exchange = std::make_unique<Exchange>(connections_, signed_request(request));
    const auto head = exchange->head();
    if (head && !may_pass(exchange->status())) return exchange;
    const bool again = request.repeatable || (head ? exchange->status() == 503 : !exchange->may_have_arrived());
    if (!again || attempt == kAttempts || connections_.interrupted()) {
      if (head) return exchange;
      return fail(Code::unavailable, fmt::format("{} cannot be reached: {}", name_, head.error().message));
    }
    exchange.reset();
    pause_after(attempt);
  }
}

Result<S3Answer> S3Client::ask(const S3Request& request) {
  for (int attempt = 1;; ++attempt) {
    LATHE_TRY(const auto exchange, open(request));
    S3Answer answer{exchange->status(), {}, exchange->header("etag")};
    for (;;) {
      const auto more = exchange->read(answer.body);
      if (more && *more && answer.body.size() <= kMostAnswer) continue;
      if (more) return answer;
      if (!request.repeatable || attempt == kAttempts || connections_.interrupted())
        return fail(Code::unavailable, fmt::format("{} broke off its answer: {}", name_, more.error().message));
      break;
    }
    pause_after(attempt);
  }
}

std::string S3Client::presigned(const S3Request& request, std::chrono::seconds lives) {
  const auto what = signable(request);
  return scheme_ + host_ + what.path + "?" + Signer(credentials_.now(), region_).presigned_query(what, lives, now());
}

Error S3Client::trouble(const std::string& doing, const S3Answer& answer) const {
  const auto refusal = parse_refusal(answer.body);
  const auto& code = refusal.code;
  const auto because = [&](const std::string& why) {
    return Error{Code::unavailable, "cannot " + doing + ": " + why, {}};
  };
  if (code == "NoSuchBucket") return because(fmt::format("{}: there is no such bucket; make it first", name_));
  if (code == "NoSuchKey") return {Code::not_found, "cannot " + doing + ": it is not there", {}};
  if (code == "SignatureDoesNotMatch" || code == "InvalidAccessKeyId" || code == "ExpiredToken" ||
      code == "InvalidToken")
    return because(fmt::format(
        "{} does not accept the credentials from {} ({}): check the access key, its secret and the region \"{}\"",
        name_, origin_, code, region_));
  if (code == "AccessDenied")
    return because(fmt::format("{} does not allow this to the credentials from {} ({}: {})", name_, origin_, code,
                               refusal.message));
  if (code == "RequestTimeTooSkewed")
    return because(fmt::format("{} finds that this machine's clock is wrong ({}): set it", name_, code));
  if (code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || answer.status == 301 ||
      answer.status == 307)
    return because(fmt::format("{} is not in the region \"{}\"{}: set artifacts_region", name_, region_,
                               refusal.region.empty() ? "" : ", but in \"" + refusal.region + "\""));
  if (code == "QuotaExceeded" || answer.status == 507)
    return {Code::exhausted, fmt::format("cannot {}: {} is full", doing, name_), {}};
  if (code.empty()) return because(fmt::format("{} answered {}", name_, answer.status));
  return because(fmt::format("{} answered {} {}: {}", name_, answer.status, code, printable(refusal.message)));
}

}  // namespace lathe::storage
