#include "infer/workers/worker_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "infer/workers/worker_document.h"
#include "process/sandbox.h"

namespace lathe::infer {
namespace {

namespace fs = std::filesystem;

/// Where Azure's containers have them.
constexpr auto kModels = "/var/azureml-app/azureml-models";
constexpr auto kCode = "/var/azureml-app/code";

std::string part_of(std::string text) {
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

/// The model's folder as Azure shows it: its files, and once more below the name of the folder that was registered.
/// One with very many files is shown without that.
void show_model(const DesiredModel& model, const fs::path& shown, WorkerDocument& out) {
  constexpr std::size_t kMostEntries = 100;
  const auto& own_name = model.python->model_folder;
  std::set<std::string> entries;
  for (const auto& file : model.files) entries.insert(fs::path(file.path).begin()->string());
  if (own_name.empty() || entries.contains(own_name) || entries.size() > kMostEntries) {
    out.binds.push_back({model.folder, shown.string()});
    return;
  }
  for (const auto& entry : entries)
    out.binds.push_back({(fs::path(model.folder) / entry).string(), (shown / entry).string()});
  out.binds.push_back({model.folder, (shown / own_name).string()});
}

/// What the image says of a variable; empty: nothing, or there is no image.
std::string of_image(const DesiredPython& python, std::string_view variable) {
  if (python.image)
    for (const auto& [name, value] : python.image->variables)
      if (name == variable) return value;
  return {};
}

std::string search_path(const DesiredPython& python) {
  std::string out = "/usr/local/bin:/usr/bin:/bin";
  if (auto own = of_image(python, "PATH"); !own.empty()) return own;
  if (const auto bin = fs::path(python.interpreter).parent_path(); bin != "/usr/bin") out = bin.string() + ":" + out;
  return out;
}

WorkerDocument document_of(const DesiredModel& model, int number, bool sandboxed, bool parked) {
  const auto& python = *model.python;
  WorkerDocument out;
  out.parent = ::getpid();
  out.account = python.account;
  out.sandboxed = sandboxed;
  out.network = python.network;
  out.memory_bytes = python.memory_bytes;
  const auto code = sandboxed ? fs::path(kCode) : fs::path(python.code);
  const auto shown =
      sandboxed ? fs::path(kModels) / part_of(model.name) / part_of(model.version) : fs::path(model.folder);
  if (sandboxed && !model.folder.empty()) show_model(model, shown, out);
  if (sandboxed && !python.code.empty()) out.binds.push_back({python.code, kCode});
  if (sandboxed)
    for (const auto& place : {python.library, python.image ? std::string{} : python.environment})
      if (!place.empty()) out.binds.push_back({place, place});
  if (const auto& image = python.image) {
    out.image = WorkerImage{image->root, {}, image->shim};
    for (const auto& [name, value] : image->variables) out.image->variables.push_back(name + "=" + value);
  }
  out.folder = !python.code.empty() ? code.string() : sandboxed ? "/tmp" : "/";

  const bool script = model.format == "script";
  const auto model_path = model.file.empty() ? shown : shown / model.file;
  out.argv = {python.interpreter, "-m", "lathe_worker", model.format,
              (script ? code / python.script : model_path).string()};
  if (parked) out.argv.emplace_back("parked");
  std::map<std::string, std::string> variables(python.variables.begin(), python.variables.end());
  variables.emplace("OMP_NUM_THREADS", std::to_string(std::max(1, python.cores)));
  variables.emplace("HOME", "/tmp");
  variables.emplace("TMPDIR", "/tmp");
  variables.emplace("LANG", "C.UTF-8");
  variables["PATH"] = search_path(python);
  const auto others = variables.contains("PYTHONPATH") ? variables["PYTHONPATH"] : of_image(python, "PYTHONPATH");
  variables["PYTHONPATH"] = python.library + (others.empty() ? "" : ":" + others);
  variables["PYTHONUNBUFFERED"] = "1";
  variables["PYTHONDONTWRITEBYTECODE"] = "1";
  variables["LATHE_WORKER"] = std::to_string(number);
  variables["AML_APP_ROOT"] = out.folder;
  if (!model.folder.empty()) variables["AZUREML_MODEL_DIR"] = shown.string();
  if (script) variables["AZUREML_ENTRY_SCRIPT"] = python.script;
  if (!python.gpus.empty()) {
    const auto instance = static_cast<std::size_t>((number - 1) / python.workers_per_instance);
    const auto& gpus = python.gpus[instance % python.gpus.size()];
    for (const auto& [name, value] : gpus.variables) variables[name] = value;
    out.gpus = !gpus.numbers.empty();
    out.hidden_gpus.assign(gpus.hidden.begin(), gpus.hidden.end());
  }
  for (auto& [name, value] : variables) out.variables.push_back(name + "=" + value);
  return out;
}

struct Pair {
  Fd ours;
  Fd theirs;
};

Result<Pair> make_sockets() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail(errno_error("cannot make a socket"));
  return Pair{Fd{ends[0]}, Fd{ends[1]}};
}

Result<Pair> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error("cannot make a pipe"));
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return Pair{Fd{ends[0]}, Fd{ends[1]}};
}

Result<pid_t> spawn(std::string document, const Fd& socket, const Fd& log) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, socket.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, log.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, log.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::string name = "lathe-infer";
  std::string flag(kLaunchFlag);
  char* arguments[] = {name.data(), flag.data(), document.data(), nullptr};
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return fail(Code::unavailable, std::string("a worker cannot be started: ") + std::strerror(error));
  return pid;
}

}  // namespace

std::string why_no_sandbox(int account) {
  static std::mutex mutex;
  static std::map<int, std::string> known;
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(account); found != known.end()) return found->second;
  std::optional<process::Account> as;
  if (account != 0) as = process::Account{static_cast<std::uint32_t>(account), static_cast<std::uint32_t>(account)};
  return known[account] = process::why_no_sandbox(as).value_or("");
}

Result<WorkerProcess> start_worker(const DesiredModel& model, int number, bool sandboxed, bool parked) {
  LATHE_TRY(auto sockets, make_sockets());
  LATHE_TRY(auto log, make_pipe());
  LATHE_TRY(const auto pid, spawn(json::print(json::to_json(document_of(model, number, sandboxed, parked))),
                                  sockets.theirs, log.theirs));
  Fd ended{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  return WorkerProcess{pid, std::move(ended), std::move(sockets.ours), std::move(log.ours)};
}

}  // namespace lathe::infer
