#pragma once

#include <optional>
#include <string>
#include <vector>

#include "db/db.h"
#include "json/fields.h"
#include "json/report.h"

/// Who may ask an endpoint besides those who hold its keys, and how often.
namespace lathe::serving {

/// Whose pages may ask: sites such as "https://app.example.com", or "*".
struct Cors {
  std::vector<std::string> allowed_origins;
};

/// Of each key: a bucket of `burst` requests that fills at this rate.
struct RateLimit {
  double requests_per_second = 0;
  std::int64_t burst = 1;
};

struct Access {
  std::optional<std::string> auth_mode;  ///< "aml_token"; absent: keys
  std::optional<Cors> cors;
  std::optional<RateLimit> rate_limit;
};

/// Takes the members auth_mode, cors and rate_limit of an endpoint's document over those that are there; null, an empty
/// list and 0 end them. Errors: `invalid`, naming the member.
Result<void> read_access(const json::Object& document, Access& access, json::Report& report);

Result<Access> find_access(db::Connection& c, const std::string& endpoint);
/// On the writer.
Result<void> put_access(db::Connection& c, const std::string& endpoint, const Access& access);
/// The private key (Ed25519) with which the server signs an endpoint's tokens: the hash of one of the endpoint's keys,
/// which leaves the server no more than that key does.
std::string signing_key(const std::string& endpoint, const std::string& key);
/// Adds what is set to the data plane's document of the endpoint.
void add_access(const Access& access, json::Object& desired);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::Cors> {
  static constexpr std::string_view name = "EndpointCors";
  static constexpr auto list = std::tuple{field("allowed_origins", &serving::Cors::allowed_origins, "sites, or *")};
};

template <>
struct Fields<serving::RateLimit> {
  static constexpr std::string_view name = "EndpointRateLimit";
  static constexpr auto list =
      std::tuple{field("requests_per_second", &serving::RateLimit::requests_per_second, "of each key"),
                 field("burst", &serving::RateLimit::burst, "requests that may come at once")};
};

template <>
struct Fields<serving::Access> {
  static constexpr std::string_view name = "EndpointAccess";
  static constexpr auto list =
      std::tuple{field("auth_mode", &serving::Access::auth_mode), field("cors", &serving::Access::cors),
                 field("rate_limit", &serving::Access::rate_limit)};
};

}  // namespace lathe::json
