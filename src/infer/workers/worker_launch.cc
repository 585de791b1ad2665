#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "infer/workers/worker_document.h"
#include "infer/workers/worker_process.h"
#include "process/sandbox.h"

namespace lathe::infer {
namespace {

constexpr auto kPlaces = "/tmp";  ///< of the private mounts: there on every machine

/// What lies in folders that the worker's account cannot enter is mounted where it can, for this process alone.
Result<void> mount_private(WorkerDocument& document) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return fail(errno_error("private mounts cannot be made"));
  std::vector<std::string*> names;
  for (auto& bind : document.binds) names.push_back(&bind.source);
  if (document.image) names.insert(names.end(), {&document.image->root, &document.image->shim});
  std::vector<Fd> sources;  // opened before kPlaces hides some of them
  for (const auto* name : names) {
    sources.emplace_back(::open(name->c_str(), O_PATH | O_CLOEXEC));
    if (!sources.back()) return fail(errno_error("cannot open " + *name));
  }
  if (::mount("tmpfs", kPlaces, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0)
    return fail(errno_error("private mounts cannot be made"));
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const auto from = "/proc/self/fd/" + std::to_string(sources[i].get());
    const auto place = std::string(kPlaces) + "/" + std::to_string(i);
    struct stat found {};
    const bool folder = ::fstat(sources[i].get(), &found) == 0 && S_ISDIR(found.st_mode);
    const bool made = folder ? ::mkdir(place.c_str(), 0755) == 0 : ::mknod(place.c_str(), S_IFREG | 0644, 0) == 0;
    if (!made || ::mount(from.c_str(), place.c_str(), nullptr, MS_BIND, nullptr) != 0)
      return fail(errno_error("cannot mount " + *names[i]));
    *names[i] = place;
  }
  return {};
}

Result<void> take_account(std::int64_t account) {
  const auto id = static_cast<uid_t>(account);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(id, id, id) != 0 || ::setresuid(id, id, id) != 0)
    return fail(errno_error("cannot become the account " + std::to_string(account)));
  return {};
}

void set_limits(const WorkerDocument& document) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  // Programs that call select(2) count on it; lathe-infer itself has more.
  constexpr rlim_t kUsualOpenFiles = 1024;
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > kUsualOpenFiles) {
    files.rlim_cur = kUsualOpenFiles;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  if (document.memory_bytes > 0) {
    const auto bytes = static_cast<rlim_t>(document.memory_bytes);
    const rlimit own{bytes, bytes};
    ::setrlimit(RLIMIT_DATA, &own);
  }
}

/// "NAME=VALUE" in its parts.
std::vector<std::pair<std::string, std::string>> pairs_of(const std::vector<std::string>& variables) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& each : variables) {
    const auto equals = std::min(each.find('='), each.size());
    out.emplace_back(each.substr(0, equals), each.substr(std::min(equals + 1, each.size())));
  }
  return out;
}

/// The whole command: with a sandbox, the program that makes it comes first.
std::vector<std::string> command_of(const WorkerDocument& document) {
  if (!document.sandboxed) return document.argv;
  process::Spec spec;
  spec.argv = document.argv;
  spec.cwd = document.folder;
  process::Sandbox box;
  box.network = document.network;
  box.gpus = document.gpus;
  box.hidden_gpus.assign(document.hidden_gpus.begin(), document.hidden_gpus.end());
  for (const auto& [source, target] : document.binds) box.read_only.push_back({source, target});
  if (const auto& image = document.image) {
    spec.env = pairs_of(document.variables);
    box.image = process::ImageRoot{image->root, pairs_of(image->variables), {}};
    if (document.gpus) box.image->driver = process::gpu_driver();
    box.shim = image->shim;
  }
  process::enter_sandbox(spec, std::move(box));
  return spec.argv;
}

Result<void> launch(WorkerDocument document) {
  // Mounts are root's to make: they come before its account is given up.
  if (document.account != 0) {
    LATHE_CHECK(mount_private(document));
    LATHE_CHECK(take_account(document.account));
  }
  // After the account, which clears it. Should lathe-infer have ended before, nobody waits for this process.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != document.parent) return fail(Code::unavailable, "lathe-infer has ended");
  if (!document.sandboxed && ::chdir(document.folder.c_str()) != 0)
    return fail(errno_error("cannot enter " + document.folder));
  auto command = command_of(document);
  std::vector<char*> argv;
  for (auto& word : command) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<char*> variables;
  for (auto& variable : document.variables) variables.push_back(variable.data());
  variables.push_back(nullptr);
  set_limits(document);  // last, since they are the worker's and not this program's
  ::execve(argv[0], argv.data(), variables.data());
  return fail(errno_error("cannot run " + command.front()));
}

}  // namespace

int launch_worker(std::string_view text) {
  const auto value = json::parse(text);
  auto document = value ? json::from_json<WorkerDocument>(*value) : Result<WorkerDocument>(fail(value.error()));
  const auto launched = document ? launch(std::move(*document)) : Result<void>(fail(document.error()));
  std::fprintf(stderr, "lathe-infer: %s\n", launched.error().message.c_str());
  return 1;
}

}  // namespace lathe::infer
