#include "process/sandbox.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/file.h"
#include "base/ids.h"
#include "base/text.h"
#include "process/log_follow.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;

constexpr auto kBwrap = "/usr/bin/bwrap";

class Arguments {
 public:
  template <class... Texts>
  void add(const Texts&... texts) {
    (all_.emplace_back(texts), ...);
  }
  void read_only(const fs::path& source, const fs::path& target) { add("--ro-bind", source.string(), target.string()); }
  std::vector<std::string> take() { return std::move(all_); }

 private:
  std::vector<std::string> all_;
};

/// /bin, /lib and their kind are links into /usr, or folders of their own.
void add_system(Arguments& out) {
  out.read_only("/usr", "/usr");
  out.read_only("/etc", "/etc");
  out.add("--ro-bind-try", "/opt", "/opt", "--ro-bind-try", "/sys", "/sys");
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code error;
    const auto status = fs::symlink_status(name, error);
    if (fs::is_symlink(status))
      out.add("--symlink", fs::read_symlink(name, error).string(), name);
    else if (fs::is_directory(status))
      out.read_only(name, name);
  }
  out.add("--proc", "/proc", "--dev", "/dev", "--dir", "/run");
}

void add_network(Arguments& out, bool network) {
  if (!network) {
    out.add("--unshare-net");
    return;
  }
  // Where /etc/resolv.conf leads to.
  for (const char* folder : {"/run/systemd/resolve", "/run/resolvconf"}) out.add("--ro-bind-try", folder, folder);
}

void add_gpus(Arguments& out) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev", error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("nvidia") || name == "dri" || name == "kfd")
      out.add("--dev-bind-try", entry.path().string(), entry.path().string());
  }
}

}  // namespace

void enter_sandbox(Spec& spec, Sandbox box) {
  Arguments out;
  // The shim's TERM reaches bwrap too, which would take the program along at once: it lets TERM pass, and the program
  // gets the usual handling back. It ends when the program does.
  out.add("/usr/bin/env", "--ignore-signal=TERM", kBwrap, "--die-with-parent", "--unshare-user", "--disable-userns",
          "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try");
  add_system(out);
  add_network(out, box.network);
  if (box.gpus) add_gpus(out);
  // First, since its own folders may lie below one of them.
  for (const char* place : {"/tmp", "/var/tmp"}) out.add("--bind", box.temporary.string(), place);
  out.add("--perms", "1777", "--tmpfs", "/dev/shm");
  for (const auto& folder : box.writable) out.add("--bind", folder.string(), folder.string());
  if (!can_bind()) {
    box.read_only.insert(box.read_only.end(), spec.binds.begin(), spec.binds.end());
    spec.binds.clear();
  }
  for (const auto& bind : box.read_only) out.read_only(bind.source, bind.target);
  out.add("--remount-ro", "/dev", "--remount-ro", "/");
  out.add("--chdir", spec.cwd.string(), "--", "/usr/bin/env", "--default-signal=TERM");
  auto argv = out.take();
  argv.insert(argv.end(), spec.argv.begin(), spec.argv.end());
  spec.argv = std::move(argv);
  spec.cwd = "/";
}

std::optional<std::string> why_no_sandbox(const std::optional<Account>& account) {
  if (::access(kBwrap, X_OK) != 0) return "bubblewrap is not installed (Debian: apt install bubblewrap)";
  const auto folder = fs::temp_directory_path() / ("lathe-sandbox-" + random_hex(8));
  if (auto made = make_folder(folder, 0700); !made) return made.error().message;
  Spec spec;
  spec.argv = {"/usr/bin/true"};
  spec.account = account;
  spec.time_limit = std::chrono::seconds{10};
  Sandbox box;
  box.temporary = "/usr";  // any folder does: nothing is written
  enter_sandbox(spec, std::move(box));
  std::optional<std::string> why;
  if (const auto started = start(folder, spec, Cgroups{}); !started) why = started.error().message;
  for (;;) {
    const auto seen = observe(folder);
    if (seen && seen->status == Status::running) {
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
      continue;
    }
    if (!why && (!seen || !seen->end || seen->end->code != 0))
      why = "bubblewrap fails: " + printable(trim(last_lines(folder, 1).value_or("")));
    break;
  }
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return why;
}

}  // namespace lathe::process
