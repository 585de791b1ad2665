#include <condition_variable>
#include <mutex>

#include "db/db.h"

namespace lathe::db {

Result<std::int64_t> Connection::run(std::string_view sql, const std::vector<Param>& params,
                                     const std::function<void(const Row&)>& each) {
  std::vector<Argument> arguments;
  arguments.reserve(params.size());
  for (const auto& param : params)
    arguments.push_back(std::visit([](const auto& value) { return argument(value); }, param));
  return execute(sql, arguments, each);
}

Result<void> Connection::put(std::string_view into, std::size_t rows, std::span<const Column> columns,
                             std::string_view otherwise) {
  LATHE_CHECK(insert(into, rows, columns, otherwise));
  return {};
}

Result<void> Database::write_with(Work work) {
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<Result<void>> outcome;
  submit(std::move(work), [&](Result<void> result) {
    const std::lock_guard lock(mutex);
    outcome = std::move(result);
    ended.notify_one();
  });
  std::unique_lock lock(mutex);
  ended.wait(lock, [&] { return outcome.has_value(); });
  return std::move(*outcome);
}

}  // namespace lathe::db
