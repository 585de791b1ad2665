#include "slurm/commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "base/iso8601.h"
#include "base/log.h"
#include "base/text.h"
#include "process/command.h"
#include "slurm/limits.h"
#include "slurm/words.h"

namespace lathe::slurm {
namespace {

// A separator that no field holds.
constexpr char kBetween = '\x1f';
constexpr std::string_view kComment = "lathe:";
const std::string kEntryFormat = "%i\x1f%k\x1f%T\x1f%r\x1f%N\x1f%S";
const std::string kNodeFormat = "%R\x1f%N\x1f%T\x1f%c\x1f%m\x1f%G\x1f%E\x1f%l\x1f%s";
constexpr std::size_t kIdsAtOnce = 200;

/// What the commands say when it is not the request that is wrong.
bool is_away(std::string_view said) {
  for (const std::string_view words :
       {"Unable to contact slurm controller", "Socket timed out", "Connection refused", "Unable to connect",
        "Connection timed out", "No route to host", "slurm_persist_conn", "Zero Bytes were transmitted",
        "Communication connection failure", "Resource temporarily unavailable", "Protocol authentication error",
        "Munge", "munge", "DNS SRV lookup failed", "try again later", "in standby mode", "Insane message length",
        "Slurm backup controller"})
    if (said.find(words) != std::string_view::npos) return true;
  return false;
}

std::int64_t number(std::string_view text) {
  return std::atoll(std::string(text).c_str());
}

/// With commas between; what is empty is left out.
std::string joined(const std::vector<Commands::Asked>& jobs, std::string Commands::Asked::*member) {
  std::string out;
  for (const auto& job : jobs)
    if (!(job.*member).empty()) out += (out.empty() ? "" : ",") + job.*member;
  return out;
}

}  // namespace

Result<std::string> Commands::run(const std::vector<std::string>& command, std::string_view input) const {
  auto argv = settings_.command;
  // ssh makes one text of its arguments, for a shell.
  const bool by_ssh = !argv.empty() && (argv[0] == "ssh" || argv[0].ends_with("/ssh"));
  for (const auto& argument : command) argv.push_back(by_ssh ? shell_word(argument) : argument);
  auto done = process::run_command(argv, input, settings_.limit);
  if (!done) return fail(Code::unavailable, done.error().message);
  if (done->status == 0) return std::move(done->out);
  auto said = std::string(trim(done->err.empty() ? done->out : done->err));
  if (said.empty()) said = fmt::format("{} ended with status {}", command[0], done->status);
  if (is_away(said) || (by_ssh && done->status == 255)) return fail(Code::unavailable, said);
  if (said.find("Access/permission denied") != std::string::npos || said.find("Invalid user id") != std::string::npos)
    return fail(Code::forbidden, said);
  return fail(Code::invalid, said);
}

std::vector<std::string> sbatch_arguments(const Request& request) {
  const auto& partition = request.partition;
  std::vector<std::string> out = {"sbatch",
                                  "--parsable",
                                  "--no-requeue",
                                  "--output=/dev/null",
                                  "--chdir=/",
                                  fmt::format("--comment={}{}:{}", kComment, request.attempt, request.user),
                                  "--job-name=" + request.name,
                                  fmt::format("--nodes={}", request.nodes),
                                  "--ntasks-per-node=1"};
  const auto add = [&](std::string_view flag, const std::string& value) {
    if (!value.empty()) out.push_back(fmt::format("--{}={}", flag, value));
  };
  add("partition", partition.name);
  add("account", partition.account);
  add("qos", partition.qos);
  if (partition.cores > 0)
    out.push_back(fmt::format("--cpus-per-task={}", partition.cores));
  else
    out.emplace_back("--exclusive");
  if (partition.memory_bytes > 0)
    out.push_back(fmt::format("--mem={}M", partition.memory_bytes >> 20));
  else if (partition.cores == 0)
    out.emplace_back("--mem=0");
  if (partition.gpus > 0) out.push_back(fmt::format("--gres=gpu:{}", partition.gpus));
  if (request.minutes > 0) out.push_back(fmt::format("--time={}", request.minutes));
  if (request.nice != 0) out.push_back(fmt::format("--nice={}", request.nice));
  return out;
}

Result<std::string> Commands::submit(const Request& request) const {
  auto arguments = sbatch_arguments(request);
  const auto number_of = [](const std::string& said) { return std::string(trim(said.substr(0, said.find(';')))); };
  if (settings_.as_user) {
    std::vector<std::string> as = {"sudo", "-n", "-u", request.user, "--"};
    as.insert(as.end(), arguments.begin(), arguments.end());
    auto done = run(as, request.script);
    // sudo's refusals begin with its name; sbatch's do not.
    if (done) return number_of(*done);
    if (done.error().code == Code::unavailable || !done.error().message.starts_with("sudo:")) return fail(done.error());
  }
  LATHE_TRY(const auto said, run(arguments, request.script));
  return number_of(said);
}

std::vector<Entry> read_entries(std::string_view text) {
  std::vector<Entry> out;
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, kBetween);
    if (fields.size() != 6 || !fields[1].starts_with(kComment)) continue;
    auto attempt = fields[1].substr(kComment.size());
    attempt = attempt.substr(0, attempt.find(':'));
    out.push_back({std::string(fields[0]), std::string(attempt), std::string(fields[2]), std::string(fields[3]),
                   std::string(fields[4]), std::string(fields[5])});
  }
  return out;
}

std::vector<Entry> read_accounted(std::string_view text, const std::vector<Commands::Asked>& asked) {
  std::vector<Entry> out;
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, kBetween);
    if (fields.size() != 4) continue;
    const auto one = std::find_if(asked.begin(), asked.end(), [&](const Commands::Asked& job) {
      if (!job.id.empty()) return job.id == fields[0] && job.job == fields[1];
      return fields[1].find(fmt::format("--comment={}{}:", kComment, job.attempt)) != std::string_view::npos;
    });
    const auto state = fields[2].substr(0, fields[2].find(' '));  // "CANCELLED by 1000"
    if (one != asked.end() && is_over(state))
      out.push_back({std::string(fields[0]), one->attempt, std::string(state), "", std::string(fields[3]), ""});
  }
  return out;
}

std::vector<Node> read_nodes(std::string_view text) {
  std::vector<Node> out;
  for (const auto line : split(text, '\n')) {
    const auto fields = split(line, kBetween);
    if (fields.size() != 9) continue;
    const auto size = fields[8].substr(fields[8].find('-') + 1);  // "1-infinite", "1-4", "4"
    out.push_back({std::string(fields[0]), std::string(fields[1]), std::string(fields[2]), number(fields[3]),
                   number(fields[4]) << 20, fields[5] == "(null)" ? "" : std::string(fields[5]),
                   fields[6] == "none" ? "" : std::string(fields[6]), minutes_in(fields[7]),
                   size.find_first_not_of("0123456789") == std::string_view::npos ? number(size) : 0});
  }
  return out;
}

Result<std::vector<Entry>> Commands::queue() const {
  LATHE_TRY(const auto said, run({"squeue", "--noheader", "--all", "-o", kEntryFormat}));
  return read_entries(said);
}

Result<std::vector<Entry>> Commands::remembered(const std::vector<Asked>& jobs) const {
  std::vector<Entry> out;
  for (std::size_t at = 0; at < jobs.size(); at += kIdsAtOnce) {
    std::vector<Asked> some(jobs.begin() + static_cast<std::ptrdiff_t>(at),
                            jobs.begin() + static_cast<std::ptrdiff_t>(std::min(jobs.size(), at + kIdsAtOnce)));
    const auto ids = joined(some, &Asked::id);
    auto said = ids.empty()
                    ? Result<std::string>("")
                    : run({"squeue", "--noheader", "--all", "--states=all", "--jobs=" + ids, "-o", kEntryFormat});
    // A single number that is unknown is an error; of several the unknown ones are left out.
    if (!said && said.error().code == Code::unavailable) return fail(said.error());
    auto entries = read_entries(said.value_or(""));
    std::erase_if(some, [&](const Asked& one) {
      return std::any_of(entries.begin(), entries.end(),
                         [&](const Entry& entry) { return entry.attempt == one.attempt; });
    });
    out.insert(out.end(), entries.begin(), entries.end());
    const auto more = accounted(some);
    out.insert(out.end(), more.begin(), more.end());
  }
  return out;
}

std::vector<Entry> Commands::accounted(std::vector<Asked> jobs) const {
  const auto nameless = std::partition(jobs.begin(), jobs.end(), [](const Asked& one) { return !one.id.empty(); });
  const std::vector<Asked> by_number(jobs.begin(), nameless);
  const std::vector<Asked> by_command(nameless, jobs.end());
  auto out = sacct(by_number, {"--format=JobIDRaw,JobName,State,NodeList", "--jobs=" + joined(by_number, &Asked::id)},
                   no_accounting_);
  const auto more = sacct(by_command,
                          {"--format=JobIDRaw,SubmitLine,State,NodeList", "--name=" + joined(by_command, &Asked::job),
                           "--starttime=now-30days"},
                          no_submit_lines_);
  out.insert(out.end(), more.begin(), more.end());
  return out;
}

std::vector<Entry> Commands::sacct(const std::vector<Asked>& jobs, const std::vector<std::string>& which,
                                   std::atomic<bool>& refused) const {
  if (jobs.empty() || refused) return {};
  std::vector<std::string> command = {"sacct",      "--noheader",  "--allocations",
                                      "--allusers", "--parsable2", "--delimiter=\x1f"};
  command.insert(command.end(), which.begin(), which.end());
  const auto said = run(command);
  if (said) return read_accounted(*said, jobs);
  if (said.error().code != Code::unavailable) {
    refused = true;
    log::info("how jobs ended that Slurm has forgotten is not known: it keeps no accounting of it why=\"{}\"",
              said.error().message);
  }
  return {};
}

Result<void> Commands::cancel(const std::vector<std::string>& ids) const {
  return scancel({"scancel"}, ids);
}

Result<void> Commands::wake(const std::vector<std::string>& ids, bool several_nodes) const {
  std::vector<std::string> command = {"scancel", "--signal=TERM"};
  if (!several_nodes) command.emplace_back("--batch");
  return scancel(command, ids);
}

/// All of them, also after a failure: that of one id, or of all, is answered in the end.
Result<void> Commands::scancel(const std::vector<std::string>& command, const std::vector<std::string>& ids) const {
  Result<void> out;
  for (std::size_t at = 0; at < ids.size(); at += kIdsAtOnce) {
    auto some = command;
    for (auto i = at; i < std::min(ids.size(), at + kIdsAtOnce); ++i) some.push_back(ids[i]);
    if (const auto done = run(some); !done) out = fail(done.error());
  }
  return out;
}

Result<std::chrono::seconds> Commands::controller_age() const {
  LATHE_TRY(const auto said, run({"scontrol", "show", "config"}));
  // "Configuration data as of 2026-05-01T12:30:00", "BOOT_TIME               = 2026-05-01T12:29:30": both of one clock,
  // in a time zone of its own.
  const auto time_after = [&](std::string_view word) {
    auto rest = std::string_view(said);
    rest.remove_prefix(std::min(rest.size(), rest.find(word)));
    rest.remove_prefix(std::min(rest.size(), word.size()));
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(" =")));
    return parse_iso8601(std::string(trim(rest.substr(0, rest.find('\n')))) + "Z");
  };
  LATHE_TRY(const auto now, time_after("Configuration data as of"));
  LATHE_TRY(const auto begun, time_after("BOOT_TIME"));
  return std::chrono::duration_cast<std::chrono::seconds>(now - begun);
}

Result<std::vector<Node>> Commands::nodes() const {
  LATHE_TRY(const auto said, run({"sinfo", "--noheader", "--all", "--Node", "-o", kNodeFormat}));
  return read_nodes(said);
}

Result<void> Commands::power_up(const std::vector<std::string>& nodes) const {
  LATHE_CHECK(run({"scontrol", "update", fmt::format("nodename={}", fmt::join(nodes, ",")), "state=power_up"}));
  return {};
}

}  // namespace lathe::slurm
