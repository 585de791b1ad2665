#include "process/sandbox.h"

#include <unistd.h>

#include <algorithm>
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
constexpr auto kMemoryFolderBytes = "1073741824";  ///< the most that a folder in memory holds

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

/// Whether `path` is there in the image, with no link on the way: then something can be mounted on it.
bool can_mount_on(const fs::path& root, const fs::path& path) {
  auto at = root;
  for (const auto& part : path.relative_path()) {
    at /= part;
    std::error_code error;
    if (const auto status = fs::symlink_status(at, error); error || fs::is_symlink(status) || !fs::exists(status))
      return false;
  }
  return true;
}

bool lies_below(const fs::path& path, const fs::path& folder) {
  const auto [at, end] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return at == folder.end() && end != path.end();
}

/// An image's folders, read-only. One that has no place for a target of `targets` is made anew around what it holds.
void add_image(Arguments& out, const fs::path& root, const fs::path& folder, const std::vector<fs::path>& targets) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / folder.relative_path(), error)) {
    const auto at = folder / entry.path().filename();
    const auto below = [&](const auto& target) { return lies_below(target, at); };
    if (at == "/proc" || at == "/dev" || at == "/sys" || at == "/run") continue;
    if (entry.is_symlink()) {
      const bool in_the_way = std::any_of(targets.begin(), targets.end(),
                                          [&](const auto& target) { return target == at || below(target); });
      if (!in_the_way) out.add("--symlink", fs::read_symlink(entry.path(), error).string(), at.string());
    } else if (entry.is_directory() && std::any_of(targets.begin(), targets.end(), [&](const auto& target) {
                 return below(target) && !can_mount_on(root, target);
               })) {
      out.add("--dir", at.string());
      add_image(out, root, at, targets);
    } else {
      out.read_only(entry.path(), at);
    }
  }
}

const fs::path kDriver = "/run/nvidia";

/// What the program gets of the image's environment. Not into bwrap's own, which is of this machine.
void add_image_variables(Arguments& out, const Spec& spec, const ImageRoot& image) {
  std::string libraries;
  for (const auto* variables : {&image.env, &spec.env})
    for (const auto& [name, value] : *variables)
      if (name == "LD_LIBRARY_PATH") libraries = value.empty() ? "" : value + ":";
  for (const auto& [name, value] : image.env)
    if (std::none_of(spec.env.begin(), spec.env.end(), [&](const auto& own) { return own.first == name; }))
      out.add("--setenv", name, value);
  if (!image.driver.empty()) out.add("--setenv", "LD_LIBRARY_PATH", libraries + kDriver.string());
}

void add_root_of(Arguments& out, const Sandbox& box) {
  std::vector<fs::path> targets = {"/tmp", "/var/tmp"};
  targets.insert(targets.end(), box.writable.begin(), box.writable.end());
  for (const auto& bind : box.read_only) targets.push_back(bind.target);
  add_image(out, box.image->folder, "/", targets);
  out.add("--ro-bind-try", "/sys", "/sys", "--proc", "/proc", "--dev", "/dev", "--dir", "/run");
  // The machine's network is the image's, with its names.
  for (const char* file : {"/etc/resolv.conf", "/etc/hosts"})
    if (can_mount_on(box.image->folder, file)) out.add("--ro-bind-try", file, file);
}

void add_network(Arguments& out, bool network) {
  if (!network) {
    out.add("--unshare-net");
    return;
  }
  // Where /etc/resolv.conf leads to.
  for (const char* folder : {"/run/systemd/resolve", "/run/resolvconf"}) out.add("--ro-bind-try", folder, folder);
}

void add_gpus(Arguments& out, const std::vector<int>& hidden) {
  for (const auto& device : gpu_devices("/dev", hidden)) out.add("--dev-bind-try", device.string(), device.string());
}

}  // namespace

std::vector<fs::path> gpu_devices(const fs::path& folder, const std::vector<int>& hidden) {
  std::vector<fs::path> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    const bool left_out =
        std::any_of(hidden.begin(), hidden.end(), [&](int minor) { return name == "nvidia" + std::to_string(minor); });
    if (!left_out && (name.starts_with("nvidia") || name == "dri" || name == "kfd")) out.push_back(entry.path());
  }
  return out;
}

std::vector<fs::path> gpu_driver() {
  std::vector<fs::path> out;
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const auto name = entry.path().filename().string();
      const bool named = name.starts_with("libcuda.so.") || name.starts_with("libcudadebugger.so.") ||
                         name.starts_with("libnvcuvid.so.") ||
                         (name.starts_with("libnvidia-") && name.find(".so.") != std::string::npos);
      if (named && entry.is_regular_file(error)) out.push_back(entry.path());
    }
    if (!out.empty()) break;
  }
  return out;
}

void enter_sandbox(Spec& spec, Sandbox box) {
  Arguments out;
  if (!spec.binds.empty() && !can_bind()) {
    box.read_only.insert(box.read_only.end(), spec.binds.begin(), spec.binds.end());
    spec.binds.clear();
  }
  // The shim's TERM reaches bwrap too, which would take the program along at once: it lets TERM pass, and the program
  // gets the usual handling back. It ends when the program does.
  out.add("/usr/bin/env", "--ignore-signal=TERM", kBwrap, "--die-with-parent", "--unshare-user", "--disable-userns",
          "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try");
  if (box.image)
    add_root_of(out, box);
  else
    add_system(out);
  add_network(out, box.network);
  if (box.gpus) add_gpus(out, box.hidden_gpus);
  // First, since its own folders may lie below one of them.
  for (const char* place : {"/tmp", "/var/tmp"})
    if (box.temporary.empty())
      out.add("--perms", "1777", "--size", kMemoryFolderBytes, "--tmpfs", place);
    else
      out.add("--bind", box.temporary.string(), place);
  out.add("--perms", "1777", "--tmpfs", "/dev/shm");
  for (const auto& folder : box.writable) out.add("--bind", folder.string(), folder.string());
  for (const auto& bind : box.read_only) out.read_only(bind.source, bind.target);
  if (box.image) {
    out.read_only(box.shim, "/run/lathe-shim");
    for (const auto& library : box.image->driver) out.read_only(library, kDriver / library.filename());
  }
  out.add("--remount-ro", "/dev", "--remount-ro", "/");
  out.add("--chdir", spec.cwd.string());
  if (box.image) {
    add_image_variables(out, spec, *box.image);
    out.add("--", "/run/lathe-shim", "exec");
  } else {
    out.add("--", "/usr/bin/env", "--default-signal=TERM");
  }
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
