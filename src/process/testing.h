#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "process/log_follow.h"
#include "process/supervised.h"

/// What the tests of this folder share.
namespace lathe::process::testing {

/// A folder that is gone at the end, with what runs in it.
class RunFolder {
 public:
  RunFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "lathe-process-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~RunFolder() {
    (void)kill_now(path_);
    (void)cleanup(path_);
    std::filesystem::remove_all(path_);
  }
  RunFolder(const RunFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline const Cgroups& groups() {
  static const Cgroups found = probe();
  return found;
}

inline Spec shell(const std::string& script) {
  Spec spec;
  spec.argv = {"sh", "-c", script};
  spec.env = {{"PATH", "/usr/bin:/bin"}};
  spec.grace = std::chrono::milliseconds{300};
  return spec;
}

/// Whether `condition` became true within 20 s.
inline bool await(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{2});
  }
  return true;
}

inline Observation await_end(const std::filesystem::path& folder) {
  Observation seen;
  await([&] {
    auto now = observe(folder);
    if (now) seen = *now;
    return now && now->status != Status::running;
  });
  return seen;
}

inline std::string log_of(const std::filesystem::path& folder) {
  std::string out;
  for (std::uint64_t offset = 0;;) {
    const auto piece = read_log(folder, offset);
    if (!piece || piece->bytes.empty()) return out;
    out += piece->bytes;
    offset = piece->next;
  }
}

/// Whether it runs; a zombie does not.
inline bool alive(int pid) {
  FILE* file = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r");
  char state = 'X';
  if (file == nullptr) return false;
  const int got = std::fscanf(file, "%*d (%*[^)]) %c", &state);
  std::fclose(file);
  return got == 1 && state != 'Z' && state != 'X';
}

}  // namespace lathe::process::testing
