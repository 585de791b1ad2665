#include "serving/traffic.h"

#include <algorithm>

#include "base/text.h"

namespace lathe::serving {

namespace {

Result<Traffic> read_percents(const std::string& field, std::int64_t most, const json::Object& value,
                              const std::vector<std::string>& existing) {
  Traffic out;
  for (const auto& member : value) {
    const std::string name(member.key().data(), member.key().size());
    if (std::find(existing.begin(), existing.end(), name) == existing.end())
      return fail(Code::invalid, field + "." + printable(name) + ": " + unknown_name("deployment", name, existing));
    auto percent = json::get_int(value, name);
    if (!percent || !*percent || **percent < 0 || **percent > most)
      return fail(Code::invalid, field + "." + name + ": must be a whole number from 0 to " + std::to_string(most) +
                                     ", not " + json::print(member.value()));
    out[name] = **percent;
  }
  return out;
}

}  // namespace

std::string print_traffic(const Traffic& traffic) {
  std::string out;
  for (const auto& [name, percent] : traffic)
    if (percent > 0) out += (out.empty() ? "" : ", ") + name + " " + std::to_string(percent) + " %";
  return out.empty() ? "none" : out;
}

Result<Traffic> read_mirror(const json::Object& value, const std::vector<std::string>& existing) {
  LATHE_TRY(auto mirror, read_percents("mirror_traffic", kMostMirrored, value, existing));
  std::erase_if(mirror, [](const auto& each) { return each.second == 0; });
  if (mirror.size() > 1)
    return fail(Code::invalid, "mirror_traffic: requests are copied to one deployment, not to " + std::to_string(mirror.size()));
  return mirror;
}

Result<void> check_mirror(const Traffic& mirror, const Traffic& traffic) {
  for (const auto& [name, percent] : mirror)
    if (const auto share = traffic.find(name); share != traffic.end() && share->second > 0)
      return fail(Code::invalid, "mirror_traffic." + name + ": the deployment gets " + std::to_string(share->second) +
                                     " % of the requests themselves: set one of the two to 0");
  return {};
}

Traffic complete_traffic(const Traffic& given, const Traffic& before) {
  std::int64_t left = 100;
  for (const auto& [name, percent] : given) left -= percent;
  std::int64_t sum = 0;
  for (const auto& [name, percent] : before)
    if (!given.contains(name)) sum += percent;
  auto out = given;
  for (const auto& [name, percent] : before) {
    if (left <= 0 || sum <= 0 || given.contains(name)) continue;
    const auto part = (left * percent + sum / 2) / sum;  // of what is left, for those that are left
    out[name] = part;
    left -= part;
    sum -= percent;
  }
  return out;
}

Result<Traffic> read_traffic(const json::Object& value, const std::vector<std::string>& existing,
                             const Traffic& completed_from) {
  LATHE_TRY(auto traffic, read_percents("traffic", 100, value, existing));
  traffic = complete_traffic(traffic, completed_from);
  std::int64_t sum = 0;
  for (const auto& [name, percent] : traffic) sum += percent;
  if (sum != 0 && sum != 100)
    return fail(Code::invalid, "traffic: the percents must add up to 100, or all be 0, not to " + std::to_string(sum));
  return traffic;
}

}  // namespace lathe::serving
