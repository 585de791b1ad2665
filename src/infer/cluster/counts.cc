#include "infer/cluster/counts.h"

#include <algorithm>

#include "infer/stats.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostAtOnce = 64;  ///< about 400 KiB at worst

json::Value text(const std::string& value) {
  return json::Value(boost::json::string_view(value));
}

}  // namespace

Counts count_all(const Catalog& catalog) {
  Counts out;
  for (const auto& [name, endpoint] : catalog.endpoints)
    for (const auto& each : endpoint.deployments) {
      auto& count = out[{name, each->name}];
      count.version = each->desired.model.version;
      count.summary = "{";
      each->stats->append_summary(count.summary);
      count.summary += '}';
    }
  return out;
}

json::Array TellCounts::next(Counts now) {
  std::erase_if(known_, [&](const auto& each) { return !now.contains(each.first); });
  std::erase_if(now, [&](const auto& each) {
    const auto known = known_.find(each.first);
    return known != known_.end() && known->second == each.second.summary;
  });
  said_.clear();
  json::Array out;
  auto at = now.upper_bound(last_);
  for (std::size_t left = std::min(now.size(), kMostAtOnce); left > 0; --left) {
    if (at == now.end()) at = now.begin();
    auto& [name, count] = *at++;
    last_ = name;
    auto counts = json::parse(count.summary);
    if (!counts) continue;
    out.push_back(json::Object{{"endpoint", text(name.first)},
                               {"deployment", text(name.second)},
                               {"version", text(count.version)},
                               {"counts", std::move(*counts)}});
    said_[name] = std::move(count.summary);
  }
  return out;
}

void TellCounts::kept(std::string_view keeper) {
  if (keeper != keeper_) known_.clear();
  keeper_ = keeper;
  for (auto& [name, summary] : said_) known_.insert_or_assign(name, std::move(summary));
  said_.clear();
}

}  // namespace lathe::infer
