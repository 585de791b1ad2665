#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "json/fields.h"
#include "json/report.h"
#include "process/supervised.h"

/// Jobs of several processes and nodes, as Azure's `distribution` and `resources.instance_count` describe them.
namespace lathe::jobs {

struct Distribution {
  std::string type;                     ///< pytorch, mpi or tensorflow; empty: the command once on each node
  std::int64_t nodes = 1;               ///< resources.instance_count
  std::int64_t processes_per_node = 1;  ///< of pytorch and mpi
  std::int64_t workers = 0;             ///< of tensorflow
  std::int64_t parameter_servers = 0;   ///< of tensorflow

  /// All processes of the job, those of the parameter servers too.
  std::int64_t processes() const;
  /// Whether it is the plain kind of job: one process on one node.
  bool single() const { return type.empty() && nodes == 1; }
};

/// Reads `distribution` and `resources.instance_count` of a command job. Errors: `invalid`, beginning with the field.
Result<Distribution> read_distribution(const json::Object& document);

/// Where the nodes of a starting job find each other; both engines fill it in.
struct Meeting {
  std::vector<std::string> names;      ///< of the nodes
  std::vector<std::string> addresses;  ///< of the nodes, in the same order
  std::vector<int> ports;              ///< as many as `ports_needed`
  std::string interface;               ///< over which they talk, "lo"; empty: it is left to the libraries
};

/// One port for the job, or for tensorflow one for each process in the order of their ranks: each on that process's
/// node.
std::size_t ports_needed(const Distribution& distribution);

/// The number of a process in the whole job. `local`: its number on `node`.
std::int64_t rank_of(const Distribution& distribution, std::int64_t node, std::int64_t local);
/// For each node whether nobody waits for it: those with parameter servers alone.
std::vector<bool> helper_nodes(const Distribution& distribution);
/// How many processes `node` has.
std::int64_t processes_on(const Distribution& distribution, std::int64_t node);
/// The node of a process, and its number there.
std::pair<std::int64_t, std::int64_t> place_of(const Distribution& distribution, std::int64_t rank);

using Variables = std::vector<std::pair<std::string, std::string>>;

/// The variables that all processes on `node` have: AZ_BATCH_*, AZUREML_*, MASTER_ADDR, WORLD_SIZE, ...
Variables node_variables(const Distribution& distribution, std::int64_t node, const Meeting& meeting);

/// The processes on `node` with their own variables (LATHE_RANK, RANK, LOCAL_RANK, TF_CONFIG); none for the plain kind
/// of job, and with mpi, where the node's one process is mpirun or what waits for it.
std::vector<process::Rank> ranks_on(const Distribution& distribution, std::int64_t node, const Meeting& meeting);

}  // namespace lathe::jobs

namespace lathe::json {

template <>
struct Fields<jobs::Distribution> {
  static constexpr std::string_view name = "JobDistribution";
  using T = jobs::Distribution;
  static constexpr auto list =
      std::tuple{field("type", &T::type, "pytorch, mpi, tensorflow; empty: the command once on each node"),
                 field("nodes", &T::nodes), field("processes_per_node", &T::processes_per_node),
                 field("workers", &T::workers), field("parameter_servers", &T::parameter_servers)};
};

}  // namespace lathe::json
