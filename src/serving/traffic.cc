#include "serving/traffic.h"

#include <algorithm>

#include "base/text.h"

namespace lathe::serving {

Result<Traffic> read_traffic(const json::Object& value, const std::vector<std::string>& existing) {
  Traffic traffic;
  std::int64_t sum = 0;
  for (const auto& member : value) {
    const std::string name(member.key().data(), member.key().size());
    if (std::find(existing.begin(), existing.end(), name) == existing.end())
      return fail(Code::invalid, "traffic." + printable(name) + ": " + unknown_name("deployment", name, existing));
    auto percent = json::get_int(value, name);
    if (!percent || !*percent || **percent < 0 || **percent > 100)
      return fail(Code::invalid, "traffic." + name + ": must be a whole number from 0 to 100, not " + json::print(member.value()));
    traffic[name] = **percent;
    sum += **percent;
  }
  if (sum != 0 && sum != 100)
    return fail(Code::invalid, "traffic: the percents must add up to 100, or all be 0, not to " + std::to_string(sum));
  return traffic;
}

}  // namespace lathe::serving
