#include "app/slurm.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "app/certificate.h"
#include "base/digest.h"
#include "base/text.h"
#include "base/time.h"
#include "slurm/script.h"

namespace lathe::app {
namespace {

constexpr int kBeatsInLease = 4;

std::chrono::milliseconds duration(const Config& config, std::string_view name) {
  return parse_duration(config.text(name)).value_or(std::chrono::seconds{3});  // checked at load
}

/// "low=1000,spot=scavenger": what a setting says of a job's tier or priority.
Result<std::map<std::string, std::string>> by_word(const Config& config, std::string_view setting) {
  static const std::vector<std::string> kWords = {"low", "medium", "high", "spot", "basic", "standard", "premium"};
  std::map<std::string, std::string> out;
  for (const auto& entry : config.list(setting)) {
    const auto word = entry.substr(0, entry.find('='));
    if (word.size() + 1 >= entry.size() || std::find(kWords.begin(), kWords.end(), word) == kWords.end())
      return fail(Code::invalid, fmt::format("{}: must be as in \"low=1000,spot=5000\", with the words {}; not \"{}\"",
                                             setting, fmt::join(kWords, ", "), entry));
    out[word] = entry.substr(word.size() + 1);
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<slurm::SlurmEngine>> open_slurm(const Config& config, const compute::Compute& compute) {
  const auto& reached = config.text("slurm");
  if (reached == "off") return nullptr;
  slurm::Settings settings;
  if (reached != "on")
    for (const auto word : split(reached, ' '))
      if (!word.empty()) settings.command.emplace_back(word);
  LATHE_TRY(settings.qos, by_word(config, "slurm_qos"));
  LATHE_TRY(const auto nice, by_word(config, "slurm_nice"));
  for (const auto& [word, value] : nice) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), settings.nice[word]);
    if (error != std::errc{} || end != value.data() + value.size())
      return fail(Code::invalid, fmt::format("slurm_nice: \"{}\" is no whole number", value));
  }
  settings.as_user = config.flag("slurm_as_user");
  settings.poll = duration(config, "slurm_poll");
  return std::make_unique<slurm::SlurmEngine>(
      std::move(settings), [&compute](const std::string& target) { return compute.partition_of(target); });
}

Result<jobs::RemoteOptions> remote_options(const Config& config, const std::string& certificate) {
  jobs::RemoteOptions options;
  std::error_code ignored;
  options.program = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / "lathe-remote";
  auto digest = sha256_file(options.program);
  if (!digest) return fail_in("Slurm's nodes need lathe-remote, which belongs beside this program", digest.error());
  options.program_sha256 = *digest;
  options.beat = duration(config, "slurm_beat");
  options.lease = options.beat * kBeatsInLease;
  options.environments = config.text("slurm_environments");
  if (const auto& index = config.text("environment_index"); index == "none")
    options.packages.emplace_back("PIP_NO_INDEX", "1");
  else if (!index.empty())
    options.packages.emplace_back("PIP_INDEX_URL", index);
  if (const auto links = config.list("environment_find_links"); !links.empty())
    options.packages.emplace_back("PIP_FIND_LINKS", fmt::format("{}", fmt::join(links, " ")));
  for (const auto& folder : config.list("slurm_shared")) options.shared.emplace_back(folder);
  std::string pin;
  if (!certificate.empty()) {
    LATHE_TRY(pin, fingerprint(certificate));
  }
  const auto scratch = config.text("slurm_scratch");
  options.script = [pin, scratch, sha256 = options.program_sha256](const std::string& url, const std::string& attempt,
                                                                   const std::string& token) {
    slurm::ScriptParts parts;
    parts.attempt_url = url + "/api/v1/attempts/" + attempt;
    parts.token = token;
    parts.pin = pin;
    parts.program_url = url + "/api/v1/lathe-remote/" + sha256;
    parts.program_sha256 = sha256;
    parts.scratch = scratch;
    return slurm::batch_script(parts);
  };
  return options;
}

std::string url_for_nodes(const Config& config, const std::string& own) {
  auto given = config.text("slurm_url");
  while (given.ends_with('/')) given.pop_back();
  if (!given.empty()) return given;
  const auto& host = config.text("host");
  if (host != "0.0.0.0" && host != "::") return own;
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return fmt::format("{}://{}{}", own.substr(0, own.find(':')), name, own.substr(own.rfind(':')));
}

}  // namespace lathe::app
