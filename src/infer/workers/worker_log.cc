#include "infer/workers/worker_log.h"

#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "process/log_append.h"

namespace lathe::infer {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;

}  // namespace

WorkerLog::WorkerLog(std::filesystem::path folder) : folder_(std::move(folder)) {
  if (const auto made = make_folder(folder_); !made)
    log::error("a deployment's log cannot be written error=\"{}\"", made.error().message);
  if (const auto end = process::append_log(folder_, 0, {}, kMostBytes)) offset_ = *end;
}

void WorkerLog::add(int worker, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  const auto begin = to_iso8601(now()) + " " + std::to_string(worker) + "| ";
  std::string text;
  for (const auto& line : lines) text += begin + line + "\n";
  auto end = process::append_log(folder_, offset_, text, kMostBytes);
  // The folder goes with the deployment, and may be wanted for a new one of its name.
  if (!end && make_folder(folder_)) end = process::append_log(folder_, offset_ = 0, text, kMostBytes);
  if (end) offset_ = *end;
}

}  // namespace lathe::infer
