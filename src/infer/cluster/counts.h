#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "infer/catalog.h"
#include "json/json.h"

/// What a node has counted of its deployments' requests, as its server is told twice a second.
namespace lathe::infer {

struct Count {
  std::string version;  ///< of the model
  std::string summary;  ///< JSON, see Stats::append_summary
};
using Counts = std::map<std::pair<std::string, std::string>, Count>;  ///< by endpoint and deployment

/// Of what answers now.
Counts count_all(const Catalog& catalog);

/// Says all since the counting began, so that what is said twice, or late, does no harm, and only of those of which the
/// server does not know the newest. For the one thread that talks to the server.
class TellCounts {
 public:
  /// What to say of `now`: of 64 deployments at most, and of the others the next times.
  json::Array next(Counts now);
  /// The server has what `next` gave last. `keeper`: who it says that it is; another one knows nothing from before.
  void kept(std::string_view keeper);

 private:
  using Summaries = std::map<Counts::key_type, std::string>;

  Summaries said_;         ///< by `next`, last
  Summaries known_;        ///< to the server
  Counts::key_type last_;  ///< that was said; the next time goes on after it
  std::string keeper_;
};

}  // namespace lathe::infer
