#include "shim/group.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace lathe::shim {
namespace {

void signal_group(const char* group, int signal) {
  FILE* file = std::fopen(path_in(group, "cgroup.procs").data, "re");
  if (file == nullptr) return;
  int pid = 0;
  while (std::fscanf(file, "%d", &pid) == 1)
    if (pid > 1 && pid != ::getpid()) ::kill(pid, signal);
  std::fclose(file);
}

/// Our children: descendants whose parent has gone are among them.
void signal_children(int signal) {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return;
  while (const dirent* entry = ::readdir(proc)) {
    const int pid = std::atoi(entry->d_name);
    if (pid <= 1) continue;
    char path[64];
    char text[512];
    std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!read_text(path, text, sizeof text)) continue;
    const char* at = std::strrchr(text, ')');
    if (at != nullptr && std::strlen(at) > 4 && std::atoi(at + 4) == ::getpid()) ::kill(pid, signal);
  }
  ::closedir(proc);
}

}  // namespace

void make_groups(Spec& spec, Text& note) {
  note.add(spec.note);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < spec.groups.size; ++i) {
    if (::mkdir(spec.groups.data[i], 0755) == 0 || errno == EEXIST)
      spec.groups.data[kept++] = spec.groups.data[i];
    else
      note.add(" (cannot make ").add(spec.groups.data[i]).add(": ").add(std::strerror(errno)).add(")");
  }
  spec.groups.size = kept;
  for (std::size_t i = 0; i < spec.sets.size; ++i) {
    Text file;
    file.add(spec.sets.data[i]);
    char* value = std::strchr(file.data, '\n');
    if (value == nullptr) continue;
    *value++ = '\0';
    if (!write_value(file.data, value))
      note.add(" (cannot set ").add(file.data).add(" to ").add(value).add(": ").add(std::strerror(errno)).add(")");
  }
}

void signal_all(const Spec& spec, int job, int signal) {
  if (job > 0) ::kill(-job, signal);
  if (spec.groups.size > 0) signal_group(spec.groups.data[0], signal);  // all groups hold the same processes
}

void kill_all(const Spec& spec, int job) {
  const auto deadline = monotonic_ms() + 5000;
  do {
    if (spec.kill == nullptr || !write_value(spec.kill, "1")) signal_all(spec, job, SIGKILL);
    pid_t reaped = 0;
    do reaped = ::waitpid(-1, nullptr, WNOHANG);
    while (reaped > 0);
    if (reaped < 0 && errno == ECHILD) return;
    signal_children(SIGKILL);
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  } while (monotonic_ms() < deadline);
}

void remove_groups(const Spec& spec) {
  for (std::size_t i = 0; i < spec.groups.size; ++i) {
    // A killed process leaves its group a moment after it was reaped.
    for (int tries = 0; ::rmdir(spec.groups.data[i]) != 0 && errno == EBUSY && tries < 50; ++tries) {
      const timespec pause{0, 2'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
}

}  // namespace lathe::shim
