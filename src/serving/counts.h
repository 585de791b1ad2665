#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serving/guard.h"

/// What the machines that answer for an endpoint have counted, each for itself: a request counts where it was computed.
namespace lathe::serving {

constexpr const char* kServer = "server";  ///< the name of the server's own data plane

/// Of one deployment, by one machine.
struct Counted {
  std::string machine;  ///< kServer, or a node's name
  std::string deployment;
  std::string version;
  std::int64_t instances = 0;  ///< that the server's machine has
  std::int64_t since_us = 0;   ///< of nodes: when the counting began, by the server's clock
  Sample sample;
};

/// By endpoint and deployment.
using NodeCounts = std::map<std::pair<std::string, std::string>, Counted>;

/// The data plane's statistics of an endpoint. Errors: `invalid`.
Result<std::vector<Counted>> read_statistics(std::string_view statistics);

/// What a node said ("counts", with its "now_us"), heard at `heard_us`. Errors: `invalid`, naming the member.
Result<NodeCounts> read_node_counts(const std::string& node, const json::Object& said, std::int64_t heard_us);

/// Takes over what a node said, unless it is older than what is known.
void keep_counts(NodeCounts& known, NodeCounts said);

/// All that was counted of a deployment. `began_us` is any of theirs.
Sample sum_of(const std::vector<Counted>& all, const std::string& deployment);

}  // namespace lathe::serving
