#include "serving/counts.h"

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace lathe::serving {
namespace {

constexpr std::size_t kMostCounts = 10'000;                             ///< deployments that a node says at once
constexpr std::size_t kMostBuckets = 1024;                              ///< of times
constexpr std::int64_t kMostOfANumber = std::int64_t{1'000'000} << 30;  ///< thousands of them can be added up

bool is_count(std::int64_t value) {
  return value >= 0 && value <= kMostOfANumber;
}

bool is_bound(const std::string& bucket) {
  std::int64_t us = 0;
  const auto* const end = bucket.data() + bucket.size();
  const auto [stopped, error] = std::from_chars(bucket.data(), end, us);
  return error == std::errc{} && stopped == end && is_count(us);
}

Result<void> check_sample(const Sample& sample) {
  for (const auto value : {sample.requests, sample.errors, sample.succeeded, sample.total_us})
    if (!is_count(value)) return fail(Code::invalid, "no such number can have been counted");
  if (sample.latency_us.size() > kMostBuckets) return fail(Code::invalid, "latency_us: has too many buckets");
  for (const auto& [bucket, count] : sample.latency_us)
    if (!is_bound(bucket) || !is_count(count))
      return fail(Code::invalid, "latency_us: must hold counts by microseconds, not \"" + printable(bucket) + "\"");
  return {};
}

Result<Sample> read_sample(const json::Object& one) {
  LATHE_TRY(const auto* counts, json::get_object(one, "counts"));
  if (counts == nullptr) return fail(Code::invalid, "counts: are missing");
  return json::from_json<Sample>(json::Value(*counts));
}

}  // namespace

Result<std::vector<Counted>> read_statistics(std::string_view statistics) {
  LATHE_TRY(const auto document, json::parse_object(statistics));
  LATHE_TRY(const auto* list, json::get_array(document, "deployments"));
  std::vector<Counted> out;
  for (const auto& each : list != nullptr ? *list : json::Array{}) {
    if (!each.is_object()) return fail(Code::invalid, "deployments: must be objects");
    Counted one;
    one.machine = kServer;
    LATHE_TRY(one.deployment, json::need_string(each.get_object(), "name"));
    LATHE_TRY(one.version, json::need_string(each.get_object(), "version"));
    LATHE_TRY(const auto instances, json::get_int(each.get_object(), "instances"));
    one.instances = instances.value_or(0);
    LATHE_TRY(one.sample, read_sample(each.get_object()));
    one.since_us = one.sample.began_us;
    out.push_back(std::move(one));
  }
  return out;
}

Result<NodeCounts> read_node_counts(const std::string& node, const json::Object& said, std::int64_t heard_us) {
  NodeCounts out;
  LATHE_TRY(const auto* list, json::get_array(said, "counts"));
  if (list == nullptr) return out;
  if (list->size() > kMostCounts) return fail(Code::invalid, "counts: there are too many");
  LATHE_TRY(const auto now_us, json::get_int(said, "now_us"));
  for (const auto& each : *list) {
    const auto where = "counts[" + std::to_string(out.size()) + "]";
    if (!each.is_object()) return fail(Code::invalid, where + ": must be an object");
    const auto& object = each.get_object();
    Counted one;
    one.machine = node;
    LATHE_TRY(const auto endpoint, json::need_string(object, "endpoint"));
    LATHE_TRY(one.deployment, json::need_string(object, "deployment"));
    LATHE_TRY(one.version, json::need_string(object, "version"));
    auto sample = read_sample(object);
    if (!sample) return fail_in(where, sample.error());
    if (auto right = check_sample(*sample); !right) return fail_in(where, right.error());
    one.sample = std::move(*sample);
    // How long ago it was is the same by all clocks.
    const auto age_us = std::clamp(now_us.value_or(0), std::int64_t{0}, kMostOfANumber * 4) -
                        std::clamp(one.sample.began_us, std::int64_t{0}, kMostOfANumber * 4);
    one.since_us = heard_us - std::max<std::int64_t>(0, age_us);
    const auto key = std::pair(endpoint, one.deployment);
    if (!out.emplace(key, std::move(one)).second)
      return fail(Code::invalid, where + ": that deployment was there before");
  }
  return out;
}

void keep_counts(NodeCounts& known, NodeCounts said) {
  for (auto& [key, one] : said) {
    const auto found = known.find(key);
    const bool older = found != known.end() && found->second.sample.began_us == one.sample.began_us &&
                       one.sample.requests < found->second.sample.requests;
    if (!older) known.insert_or_assign(key, std::move(one));
  }
}

Sample sum_of(const std::vector<Counted>& all, const std::string& deployment) {
  Sample out;
  for (const auto& each : all)
    if (each.deployment == deployment) out = together(out, each.sample);
  return out;
}

}  // namespace lathe::serving
