#include "serving/access.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/digest.h"
#include "base/hex.h"
#include "base/text.h"

namespace lathe::serving {
namespace {

constexpr std::size_t kMostOrigins = 100;
constexpr double kLeastPerSecond = 0.001;
constexpr double kMostPerSecond = 1e6;
constexpr std::int64_t kMostBurst = 1'000'000;

/// SCHEME://HOST[:PORT] in small letters, as browsers send it; or "*".
Result<std::string> read_origin(const std::string& text) {
  const auto wrong = [&] {
    return fail(Code::invalid, "cors.allowed_origins: must hold sites such as https://app.example.com, without a path, or \"*\", not \"" +
                                   printable(text) + "\"");
  };
  if (text == "*") return text;
  const auto origin = to_lower(text);
  const auto scheme = origin.find("://");
  if (scheme == std::string::npos || scheme == 0 || scheme + 3 == origin.size()) return wrong();
  const auto good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("-+.:[]_").find(c) != std::string_view::npos; };
  if (!std::all_of(origin.begin(), origin.begin() + static_cast<std::ptrdiff_t>(scheme), good) ||
      !std::all_of(origin.begin() + static_cast<std::ptrdiff_t>(scheme) + 3, origin.end(), good))
    return wrong();
  auto site = std::string_view(origin).substr(scheme + 3);
  const auto bracket = site.starts_with('[') ? site.find(']') : 0;  // [::1]:8080
  if (bracket == std::string_view::npos) return wrong();
  const auto colon = site.find(':', bracket);
  if (colon == std::string_view::npos) {
    if (bracket > 0 && site.size() != bracket + 1) return wrong();
    return origin;
  }
  const auto port = site.substr(colon + 1);
  int number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  const bool good_port = error == std::errc{} && end == port.data() + port.size() && number >= 1 && number <= 65535;
  if (colon == 0 || (bracket > 0 && colon != bracket + 1)) return wrong();
  if (!good_port)
    return fail(Code::invalid, "cors.allowed_origins: a port is a number from 1 to 65535, and \"" + printable(text) +
                                   "\" has another one");
  return origin;
}

Result<std::optional<Cors>> read_cors(const json::Object& document) {
  LATHE_TRY(const auto* cors, json::get_object(document, "cors"));
  if (cors == nullptr) return std::nullopt;
  for (const auto& member : *cors) {
    const std::string key(member.key().data(), member.key().size());
    if (key != "allowed_origins")
      return fail(Code::invalid, "cors." + printable(key) + ": " + unknown_name("field", key, {"allowed_origins"}));
  }
  LATHE_TRY(const auto* origins, json::get_array(*cors, "allowed_origins"));
  if (origins == nullptr) return fail(Code::invalid, "cors.allowed_origins: is missing: a list of sites, or [\"*\"]");
  if (origins->size() > kMostOrigins)
    return fail(Code::invalid, "cors.allowed_origins: holds more than " + std::to_string(kMostOrigins) + " sites");
  Cors out;
  for (const auto& each : *origins) {
    if (!each.is_string()) return fail(Code::invalid, "cors.allowed_origins: must hold texts");
    LATHE_TRY(auto origin, read_origin(std::string(json::view(each.get_string()))));
    out.allowed_origins.push_back(std::move(origin));
  }
  if (out.allowed_origins.empty()) return std::nullopt;
  return out;
}

Result<std::optional<RateLimit>> read_rate_limit(const json::Object& document) {
  LATHE_TRY(const auto* limit, json::get_object(document, "rate_limit"));
  if (limit == nullptr) return std::nullopt;
  for (const auto& member : *limit) {
    const std::string key(member.key().data(), member.key().size());
    if (key != "requests_per_second" && key != "burst")
      return fail(Code::invalid,
                  "rate_limit." + printable(key) + ": " + unknown_name("field", key, {"requests_per_second", "burst"}));
  }
  LATHE_TRY(const auto rate, json::get_double(*limit, "requests_per_second"));
  if (!rate) return fail(Code::invalid, "rate_limit.requests_per_second: is missing");
  if (!(*rate == 0 || (*rate >= kLeastPerSecond && *rate <= kMostPerSecond)))
    return fail(Code::invalid, "rate_limit.requests_per_second: must be 0 (no limit), or a number from 0.001 to 1000000");
  if (*rate == 0) return std::nullopt;
  LATHE_TRY(const auto burst, json::get_int(*limit, "burst"));
  if (burst && (*burst < 1 || *burst > kMostBurst))
    return fail(Code::invalid, "rate_limit.burst: must be a whole number from 1 to 1000000, not " + std::to_string(*burst));
  return RateLimit{*rate, burst.value_or(std::max<std::int64_t>(1, std::llround(std::ceil(*rate))))};
}

}  // namespace

Result<void> read_access(const json::Object& document, Access& access, json::Report& report) {
  LATHE_TRY(const auto auth_mode, json::get_string(document, "auth_mode"));
  if (auth_mode && *auth_mode != "key" && *auth_mode != "aml_token" && *auth_mode != "aad_token")
    return fail(Code::invalid, "auth_mode: must be key or aml_token, not \"" + printable(*auth_mode) + "\"");
  if (auth_mode == "aad_token") report.push_back({"auth_mode", "substituted", "by aml_token: tokens are this server's own"});
  if (auth_mode) access.auth_mode = *auth_mode == "key" ? std::nullopt : std::optional<std::string>("aml_token");
  if (document.contains("cors")) {
    LATHE_TRY(access.cors, read_cors(document));
  }
  if (document.contains("rate_limit")) {
    LATHE_TRY(access.rate_limit, read_rate_limit(document));
  }
  return {};
}

Result<Access> find_access(db::Connection& c, const std::string& endpoint) {
  LATHE_TRY(const auto found, db::first(c, "SELECT access FROM endpoint_access WHERE endpoint = $1",
                                        [](const db::Row& row) { return row.text(0); }, endpoint));
  if (!found) return Access{};
  LATHE_TRY(const auto value, json::parse(*found));
  return json::from_json<Access>(value);
}

Result<void> put_access(db::Connection& c, const std::string& endpoint, const Access& access) {
  static constexpr auto kSql = R"sql(
    INSERT INTO endpoint_access (endpoint, access) VALUES ($1, $2)
    ON CONFLICT (endpoint) DO UPDATE SET access = excluded.access)sql";
  LATHE_CHECK(db::run(c, kSql, endpoint, json::print(json::to_json(access))));
  return {};
}

std::string signing_key(const std::string& endpoint, const std::string& key) {
  // Not the digest of the key alone, which data planes know of endpoints with keys.
  return from_hex(sha256_hex("lathe endpoint token\n" + endpoint + '\n' + key)).value_or("");
}

void add_access(const Access& access, json::Object& desired) {
  if (access.auth_mode) desired["auth"] = "ed25519";  // what "keys" then are
  if (access.cors) desired["allowed_origins"] = json::to_json(access.cors->allowed_origins);
  if (access.rate_limit) desired["rate_limit"] = json::to_json(*access.rate_limit);
}

}  // namespace lathe::serving
