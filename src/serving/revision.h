#pragma once

#include "base/time.h"
#include "serving/endpoint.h"

/// What endpoints served before. Functions over a connection; those that change something belong on the writer.
namespace lathe::serving {

/// What an endpoint serves at one time.
struct Served {
  Traffic traffic;
  Traffic mirror_traffic;
  std::map<std::string, Spec> deployments;  ///< those that answer
  std::optional<std::string> refused = {};  ///< why its guard did not let it stay
};

struct Revision {
  std::int64_t number = 0;  ///< from 1, of the endpoint
  std::string what;         ///< the change that led to it
  std::string created_by;
  std::int64_t created_us = 0;
  Served served;
};

constexpr std::int64_t kKeptRevisions = 20;

/// Newest first.
Result<std::vector<Revision>> revisions(db::Connection& c, const std::string& endpoint);
/// Keeps what the endpoint serves now as its newest revision, where it differs from the one before, and forgets old
/// ones.
Result<void> keep_revision(db::Connection& c, const std::string& endpoint, const std::string& what,
                           const std::string& who, Time time);

/// The newest revision, if it is what the endpoint serves now, is one that its guard has refused.
Result<void> mark_refused(db::Connection& c, const Endpoint& endpoint, const std::string& why);

/// Gives the endpoint the traffic that its rollback is to bring, once all deployments that it waits for are ready;
/// drops the rollback once one has failed.
Result<void> finish_rollback(db::Connection& c, Endpoint endpoint, Time time);

}  // namespace lathe::serving

namespace lathe::json {

template <>
struct Fields<serving::Served> {
  static constexpr std::string_view name = "Served";
  static constexpr auto list =
      std::tuple{field("traffic", &serving::Served::traffic), field("mirror_traffic", &serving::Served::mirror_traffic),
                 field("deployments", &serving::Served::deployments), field("refused", &serving::Served::refused)};
};

}  // namespace lathe::json
