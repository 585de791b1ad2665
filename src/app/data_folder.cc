#include "app/data_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "json/json.h"

namespace lathe::app {
namespace {

/// A write lock on the whole file, held by the open file: it goes when the process goes, and asking does not take it.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

/// Takes the lock. One whose server was killed may be with a program that this was just starting, for an instant.
bool take(const Fd& lock) {
  constexpr int kTries = 100;
  for (int tries = 0;; ++tries) {
    auto whole = whole_file();
    if (::fcntl(lock.get(), F_OFD_SETLK, &whole) == 0) return true;
    char holder[32] = {};
    const bool named = ::pread(lock.get(), holder, sizeof holder - 1, 0) > 0 && std::atoi(holder) > 0;
    const bool gone = named && ::kill(std::atoi(holder), 0) != 0 && errno == ESRCH;
    if (!gone || tries == kTries) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
}

}  // namespace

Result<DataFolder> DataFolder::lock(const std::filesystem::path& path) {
  // Jobs run as other accounts when the server is root: they may pass through to their own folder, not look around.
  const int mode = ::geteuid() == 0 ? 0711 : 0700;
  LATHE_CHECK(make_folder(path, mode));
  const auto file = path / "lock";
  Fd lock{::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  if (!lock) return fail(errno_error("cannot use the data folder " + path.string()));
  if (!take(lock)) {
    const auto holder = read_file(file).value_or("");
    return fail(Code::conflict, fmt::format("the data folder {} is used by another server (process {}): stop it with `lathe stop --data {}`, "
                                            "or choose another folder with --data",
                                            path.string(), holder, path.string()));
  }
  const auto pid = std::to_string(::getpid());
  if (::ftruncate(lock.get(), 0) != 0) return fail(errno_error("cannot write " + file.string()));
  LATHE_CHECK(write_all(lock.get(), pid, file.string()));
  return DataFolder(path, std::move(lock));
}

Result<void> announce(const std::filesystem::path& data, const Announcement& what) {
  json::Object document{{"pid", what.pid}, {"url", what.url}, {"started", to_iso8601(now())}};
  if (what.infer) document["infer"] = *what.infer;
  if (what.certificate_sha256) document["certificate_sha256"] = *what.certificate_sha256;
  return write_file(data / "server.json", json::print(document) + "\n");
}

void note_last_data(const std::filesystem::path& data, const char* (*environment)(const char*)) {
  const char* xdg = environment("XDG_CONFIG_HOME");
  const char* home = environment("HOME");
  std::filesystem::path folder;
  if (xdg != nullptr && *xdg == '/') folder = xdg;
  else if (home != nullptr && *home == '/') folder = std::filesystem::path(home) / ".config";
  else return;
  // A comfort, not a need: without it --data or LATHE_DATA says the same.
  if (!make_folder(folder / "lathe")) return;
  if (auto noted = write_file(folder / "lathe" / "last-data", data.string() + "\n"); !noted) log::warn("{}", noted.error().message);
}

Result<std::optional<Announcement>> running_server(const std::filesystem::path& data) {
  const Fd lock{::open((data / "lock").c_str(), O_RDWR | O_CLOEXEC)};
  if (!lock) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return fail(errno_error("cannot look into the data folder " + data.string()));
  }
  auto holder = whole_file();
  if (::fcntl(lock.get(), F_OFD_GETLK, &holder) != 0 || holder.l_type == F_UNLCK) return std::nullopt;
  Announcement found;
  found.pid = std::atoi(read_file(data / "lock").value_or("0").c_str());
  if (const auto text = read_file(data / "server.json")) {
    LATHE_TRY(const auto document, json::parse_object(*text));
    LATHE_TRY(const auto url, json::get_string(document, "url"));
    found.url = url.value_or("");
    LATHE_TRY(found.infer, json::get_string(document, "infer"));
  }
  return found;
}

}  // namespace lathe::app
