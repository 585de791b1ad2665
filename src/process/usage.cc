#include "process/usage.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "process/records.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

/// The number after `key` at the start of a line.
std::optional<std::int64_t> value_of(const std::string& text, std::string_view key) {
  for (const auto line : split(text, '\n'))
    if (line.starts_with(key)) return std::atoll(std::string(line.substr(key.size())).c_str());
  return std::nullopt;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  const auto text = read_file(file);
  return text ? std::optional<std::int64_t>(std::atoll(text->c_str())) : std::nullopt;
}

std::vector<int> processes_in(const std::string& group) {
  std::vector<int> out;
  const auto text = read_file(fs::path(group) / "cgroup.procs");
  if (!text) return out;
  for (const auto line : split(*text, '\n'))
    if (!line.empty()) out.push_back(std::atoi(std::string(line).c_str()));
  return out;
}

/// Without cgroups: those of the shim's session, but for the shim.
std::vector<int> processes_of_session(int shim) {
  std::vector<int> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const int pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 1 || pid == shim) continue;
    const auto facts = facts_of(pid);
    if (facts && facts->session == shim && !facts->dead) out.push_back(pid);
  }
  return out;
}

/// utime and stime of /proc/PID/stat, with those of its reaped children.
std::int64_t cpu_of(int pid) {
  static const long ticks = ::sysconf(_SC_CLK_TCK);
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat ? stat->rfind(')') : std::string::npos;
  if (name_end == std::string::npos || name_end + 2 > stat->size()) return 0;
  const auto fields = split(std::string_view(*stat).substr(name_end + 2), ' ');
  std::int64_t sum = 0;
  for (std::size_t field = 11; field < 15 && field < fields.size(); ++field)
    sum += std::atoll(std::string(fields[field]).c_str());
  return sum * 1'000'000 / ticks;
}

std::int64_t resident_of(int pid) {
  static const long page = ::sysconf(_SC_PAGESIZE);
  const auto text = read_file("/proc/" + std::to_string(pid) + "/statm");
  const auto space = text ? text->find(' ') : std::string::npos;
  return space == std::string::npos ? 0 : std::atoll(text->c_str() + space) * page;
}

}  // namespace

struct UsageMeter::State {
  struct Io {
    std::int64_t read = 0;
    std::int64_t write = 0;
  };

  fs::path folder;
  std::vector<std::string> groups;
  std::map<int, Io> seen;
  Io done;

  /// Adds what each process has read and written since the last look.
  void count_io(const std::vector<int>& processes) {
    std::map<int, Io> now;
    for (const int pid : processes) {
      const auto text = read_file("/proc/" + std::to_string(pid) + "/io");
      if (!text) continue;
      const Io io{value_of(*text, "read_bytes: ").value_or(0), value_of(*text, "write_bytes: ").value_or(0)};
      auto before = seen[pid];
      if (io.read < before.read || io.write < before.write) before = {};  // another process with its number
      done.read += io.read - before.read;
      done.write += io.write - before.write;
      now[pid] = io;
    }
    seen = std::move(now);
  }
};

UsageMeter::UsageMeter(const fs::path& folder) : state_(std::make_unique<State>()) {
  state_->folder = folder;
  state_->groups = groups_of(folder);
}
UsageMeter::~UsageMeter() = default;
UsageMeter::UsageMeter(UsageMeter&&) noexcept = default;

Result<Usage> UsageMeter::look() {
  std::vector<int> processes;
  if (!state_->groups.empty()) {
    processes = processes_in(state_->groups.front());  // all groups hold the same processes
  } else {
    LATHE_TRY(const auto shim, read_state(state_->folder));
    if (shim) processes = processes_of_session(shim->pid);
  }
  if (processes.empty()) return fail(Code::not_found, "nothing of it runs");

  Usage out;
  std::optional<std::int64_t> cpu;
  std::optional<std::int64_t> memory;
  for (const auto& group : state_->groups) {
    if (const auto text = read_file(fs::path(group) / "cpu.stat"); text && !cpu) cpu = value_of(*text, "usage_usec ");
    if (!memory) memory = number_in(fs::path(group) / "memory.current");
    if (!memory) memory = number_in(fs::path(group) / "memory.usage_in_bytes");
  }
  state_->count_io(processes);
  for (const int pid : processes) {
    if (!cpu) out.cpu_us += cpu_of(pid);
    if (!memory) out.memory_bytes += resident_of(pid);
  }
  if (cpu) out.cpu_us = *cpu;
  if (memory) out.memory_bytes = *memory;
  out.read_bytes = state_->done.read;
  out.write_bytes = state_->done.write;
  return out;
}

}  // namespace lathe::process
