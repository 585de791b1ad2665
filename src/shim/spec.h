#pragma once

#include <cstddef>
#include <cstdint>

namespace lathe::shim {

constexpr int kProtocol = 1;

/// A growing list of texts that live in the spec's buffer; `data` ends with a null pointer, as exec wants it.
struct List {
  const char** data = nullptr;
  std::size_t size = 0;
  void push(const char* text);
};

/// What to run, as README.md describes it. Lives as long as the process.
struct Spec {
  List args, env, binds, groups, sets, rlimits;
  List ranks;  ///< one for each process, as README.md says; none: one process without variables of its own
  const char* cwd = "/";
  const char* kill = nullptr;
  const char* oom = nullptr;
  const char* pids = nullptr;
  const char* usage = nullptr;
  const char* note = "";
  const char* gate = nullptr;
  std::int64_t uid = -1;
  std::int64_t gid = -1;
  std::int64_t log_bytes = std::int64_t{64} << 20;
  std::int64_t limit_ms = 0;  ///< 0: none
  std::int64_t grace_ms = 10'000;
  std::int64_t restarts = 0;  ///< per minute
};

/// Reads FOLDER/spec; false with a sentence in `error`.
bool read_spec(const char* folder, Spec& spec, const char*& error);

}  // namespace lathe::shim
