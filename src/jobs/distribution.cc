#include "jobs/distribution.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"

namespace lathe::jobs {
namespace {

using json::Object;

constexpr std::int64_t kMostNodes = 1'000;
constexpr std::int64_t kMostProcesses = 256;  ///< on one node

Result<std::int64_t> read_count(const Object& object, const std::string& path, std::string_view key,
                                std::int64_t otherwise, std::int64_t least, std::int64_t most) {
  const auto* value = json::find(object, key);
  if (value == nullptr || value->is_null()) return otherwise;
  if (value->is_int64() && value->get_int64() >= least && value->get_int64() <= most) return value->get_int64();
  return fail(Code::invalid, fmt::format("{}.{}: must be a whole number from {} to {}, not {}", path, key, least, most,
                                         json::print(*value)));
}

Result<void> check_only(const Object& object, const std::string& type, const std::vector<std::string>& known) {
  for (const auto& member : object) {
    const std::string_view key(member.key().data(), member.key().size());
    if (key == "type" || std::find(known.begin(), known.end(), key) != known.end()) continue;
    return fail(Code::invalid, fmt::format("distribution.{}: a {} distribution has no such field; it has {}",
                                           printable(key), type, fmt::join(known, " and ")));
  }
  return {};
}

Result<std::int64_t> read_nodes(const Object& document) {
  const auto* resources = json::find(document, "resources");
  if (resources == nullptr || !resources->is_object()) return 1;
  return read_count(resources->get_object(), "resources", "instance_count", 1, 1, kMostNodes);
}

std::string tensorflow_config(const Distribution& distribution, std::int64_t rank, const Meeting& meeting) {
  json::Array workers;
  json::Array servers;
  for (std::int64_t i = 0; i < distribution.processes(); ++i) {
    const auto node = static_cast<std::size_t>(place_of(distribution, i).first);
    auto address = fmt::format("{}:{}", meeting.addresses[node], meeting.ports[static_cast<std::size_t>(i)]);
    (i < distribution.workers ? workers : servers).emplace_back(std::move(address));
  }
  json::Object cluster;
  cluster["worker"] = std::move(workers);
  if (!servers.empty()) cluster["ps"] = std::move(servers);
  const bool worker = rank < distribution.workers;
  json::Object task;
  task["type"] = worker ? "worker" : "ps";
  task["index"] = worker ? rank : rank - distribution.workers;
  json::Object config;
  config["cluster"] = std::move(cluster);
  config["task"] = std::move(task);
  config["environment"] = "cloud";
  return json::print(config);
}

}  // namespace

std::int64_t Distribution::processes() const {
  return type == "tensorflow" ? workers + parameter_servers : nodes * processes_per_node;
}

Result<Distribution> read_distribution(const Object& document) {
  Distribution out;
  LATHE_TRY(out.nodes, read_nodes(document));
  const auto* value = json::find(document, "distribution");
  if (value == nullptr || value->is_null()) return out;
  if (!value->is_object())
    return fail(Code::invalid, fmt::format("distribution: must be a map, not {}", json::kind_name(*value)));
  const auto& object = value->get_object();
  const auto* type = json::find(object, "type");
  if (type == nullptr || !type->is_string())
    return fail(Code::invalid, "distribution.type: must be pytorch, mpi or tensorflow");
  out.type = to_lower(std::string(json::view(type->get_string())));
  if (out.type == "pytorch" || out.type == "mpi") {
    LATHE_CHECK(check_only(object, out.type, {"process_count_per_instance"}));
    LATHE_TRY(out.processes_per_node,
              read_count(object, "distribution", "process_count_per_instance", 1, 1, kMostProcesses));
    return out;
  }
  if (out.type != "tensorflow")
    return fail(Code::invalid,
                "distribution.type: " + unknown_name("distribution", out.type, {"pytorch", "mpi", "tensorflow"}));
  LATHE_CHECK(check_only(object, out.type, {"worker_count", "parameter_server_count"}));
  LATHE_TRY(out.workers, read_count(object, "distribution", "worker_count", out.nodes, 1, kMostNodes));
  LATHE_TRY(out.parameter_servers, read_count(object, "distribution", "parameter_server_count", 0, 0, kMostNodes));
  if (out.processes() < out.nodes)
    return fail(Code::invalid, fmt::format("distribution.worker_count: {} nodes (resources.instance_count) are more "
                                           "than the {} workers and parameter servers: "
                                           "some would have nothing to do",
                                           out.nodes, out.processes()));
  if (out.processes() > out.nodes * kMostProcesses)
    return fail(Code::invalid,
                fmt::format("distribution.worker_count: a node runs at most {} processes", kMostProcesses));
  return out;
}

std::size_t ports_needed(const Distribution& distribution) {
  return distribution.type == "tensorflow" ? static_cast<std::size_t>(distribution.processes()) : 1;
}

std::vector<bool> helper_nodes(const Distribution& distribution) {
  std::vector<bool> out;
  for (std::int64_t node = 0; node < distribution.nodes; ++node)
    out.push_back(distribution.type == "tensorflow" && node >= distribution.workers);
  return out;
}

std::int64_t processes_on(const Distribution& distribution, std::int64_t node) {
  if (distribution.type != "tensorflow") return distribution.processes_per_node;
  return (distribution.processes() - node + distribution.nodes - 1) / distribution.nodes;
}

std::int64_t rank_of(const Distribution& distribution, std::int64_t node, std::int64_t local) {
  return distribution.type == "tensorflow" ? local * distribution.nodes + node
                                           : node * distribution.processes_per_node + local;
}

std::pair<std::int64_t, std::int64_t> place_of(const Distribution& distribution, std::int64_t rank) {
  if (distribution.type == "tensorflow") return {rank % distribution.nodes, rank / distribution.nodes};
  return {rank / distribution.processes_per_node, rank % distribution.processes_per_node};
}

Variables node_variables(const Distribution& distribution, std::int64_t node, const Meeting& meeting) {
  const auto& master = meeting.addresses.front();
  const auto hosts = fmt::format("{}", fmt::join(meeting.addresses, ","));
  Variables out = {
      {"AZUREML_NODE_COUNT", std::to_string(distribution.nodes)},
      {"AZ_BATCH_HOST_LIST", hosts},
      {"AZ_BATCH_NODE_LIST", fmt::format("{}", fmt::join(meeting.addresses, ";"))},
      {"AZ_BATCH_MASTER_NODE", fmt::format("{}:{}", master, meeting.ports.front())},
      {"AZ_BATCH_IS_CURRENT_NODE_MASTER", node == 0 ? "true" : "false"},
      {"AZ_BATCHAI_JOB_MASTER_NODE_IP", master},
      {"AZ_BATCHAI_MPI_MASTER_NODE", master},
      {"AZ_BATCHAI_WORKER_HOSTS", hosts},
      {"AZ_BATCHAI_TASK_INDEX", std::to_string(node)},
      {"NODE_RANK", std::to_string(node)},
      {"MASTER_ADDR", master},
      {"MASTER_PORT", std::to_string(meeting.ports.front())},
  };
  if (distribution.type == "pytorch") {
    out.emplace_back("WORLD_SIZE", std::to_string(distribution.processes()));
    out.emplace_back("LOCAL_WORLD_SIZE", std::to_string(distribution.processes_per_node));
  }
  if (!meeting.interface.empty()) {
    out.emplace_back("GLOO_SOCKET_IFNAME", meeting.interface);
    out.emplace_back("NCCL_SOCKET_IFNAME", meeting.interface);
  }
  return out;
}

std::vector<process::Rank> ranks_on(const Distribution& distribution, std::int64_t node, const Meeting& meeting) {
  std::vector<process::Rank> out;
  if (distribution.type == "mpi" || distribution.single()) return out;
  for (std::int64_t local = 0; local < processes_on(distribution, node); ++local) {
    const auto number = rank_of(distribution, node, local);
    process::Rank rank;
    rank.env = {{"LATHE_RANK", std::to_string(number)}};
    if (distribution.type == "pytorch") {
      rank.env.emplace_back("RANK", std::to_string(number));
      rank.env.emplace_back("LOCAL_RANK", std::to_string(local));
    } else if (distribution.type == "tensorflow") {
      rank.env.emplace_back("TF_CONFIG", tensorflow_config(distribution, number, meeting));
      rank.helper = number >= distribution.workers;
    }
    out.push_back(std::move(rank));
  }
  return out;
}

}  // namespace lathe::jobs
