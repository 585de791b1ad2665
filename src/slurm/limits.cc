#include "slurm/limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/text.h"

namespace lathe::slurm {
namespace {

std::int64_t number(std::string_view text) {
  return std::atoll(std::string(text).c_str());
}

std::string in_gib(std::int64_t bytes) {
  return fmt::format("{:.4g} GiB", static_cast<double>(bytes) / static_cast<double>(std::int64_t{1} << 30));
}

std::string in_hours(std::int64_t minutes) {
  return minutes % 60 == 0 ? fmt::format("{} h", minutes / 60) : fmt::format("{} min", minutes);
}

}  // namespace

std::string never_runs(const Partition& asked, std::int64_t nodes, std::int64_t time_limit_s,
                       const std::vector<Node>& all) {
  if (all.empty()) return fmt::format("Slurm has no partition \"{}\" with nodes", asked.name);
  const auto count = [&](auto fits) { return std::count_if(all.begin(), all.end(), fits); };
  const auto most = [&](auto member) {
    return (*std::max_element(all.begin(), all.end(),
                              [&](const Node& a, const Node& b) { return a.*member < b.*member; })).*
           member;
  };
  if (nodes > static_cast<std::int64_t>(all.size()))
    return fmt::format("it asks for {} nodes, and the partition {} has {}", nodes, asked.name, all.size());
  if (const auto limit = all.front().most_nodes; limit > 0 && nodes > limit)
    return fmt::format("it asks for {} nodes, and a job in the partition {} may have {}", nodes, asked.name, limit);
  if (const auto limit = all.front().most_minutes; limit > 0 && time_limit_s > limit * 60)
    return fmt::format("its time limit is {} s, and the partition {} ends jobs after {}", time_limit_s, asked.name,
                       in_hours(limit));
  if (count([&](const Node& node) { return node.cores >= asked.cores; }) < nodes)
    return fmt::format(
        "the compute target gives it {} cores of each node, and the partition {} has nodes of at most {}", asked.cores,
        asked.name, most(&Node::cores));
  if (count([&](const Node& node) { return node.memory_bytes >= asked.memory_bytes; }) < nodes)
    return fmt::format("the compute target gives it {} of each node, and the partition {} has nodes of at most {}",
                       in_gib(asked.memory_bytes), asked.name, in_gib(most(&Node::memory_bytes)));
  if (asked.gpus > 0 && count([&](const Node& node) { return gpus_in(node.gres) >= asked.gpus; }) < nodes) {
    std::int64_t gpus = 0;
    for (const auto& node : all) gpus = std::max(gpus, gpus_in(node.gres));
    return fmt::format("the compute target gives it {} GPUs of each node, and the partition {} has nodes of at most {}",
                       asked.gpus, asked.name, gpus);
  }
  if (count([&](const Node& node) {
        return node.cores >= asked.cores && node.memory_bytes >= asked.memory_bytes && gpus_in(node.gres) >= asked.gpus;
      }) < nodes)
    return fmt::format("{} of the partition {} have all of what the compute target gives it of each node",
                       nodes == 1 ? "no nodes" : fmt::format("fewer than {} nodes", nodes), asked.name);
  return {};
}

std::int64_t gpus_in(std::string_view gres) {
  std::string plain;  // without what is in brackets
  int depth = 0;
  for (const char c : gres) {
    if (c == '(') ++depth;
    if (depth == 0) plain += c;
    if (c == ')') --depth;
  }
  std::int64_t out = 0;
  for (const auto one : split(plain, ','))
    if (one.starts_with("gpu:")) out += number(one.substr(one.rfind(':') + 1));
  return out;
}

std::int64_t minutes_in(std::string_view limit) {
  if (limit.empty() || limit.find_first_not_of("0123456789:-") != std::string_view::npos) return 0;
  std::int64_t days = 0;
  if (const auto dash = limit.find('-'); dash != std::string_view::npos) {
    days = number(limit.substr(0, dash));
    limit.remove_prefix(dash + 1);
  }
  std::int64_t seconds = 0;
  for (const auto part : split(limit, ':')) seconds = seconds * 60 + number(part);
  return days * 24 * 60 + seconds / 60;
}

}  // namespace lathe::slurm
