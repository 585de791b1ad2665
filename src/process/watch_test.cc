#include "process/watch.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <memory>
#include <mutex>

#include "process/testing.h"

namespace lathe::process {
namespace {

using testing::await;
using testing::await_end;
using testing::groups;
using testing::RunFolder;
using testing::shell;

/// Counts the ends it was told.
struct Told {
  std::mutex mutex;
  std::map<std::filesystem::path, int> ends;

  void add(const std::filesystem::path& folder) {
    const std::lock_guard hold(mutex);
    ++ends[folder];
  }
  int of(const std::filesystem::path& folder) {
    const std::lock_guard hold(mutex);
    return ends[folder];
  }
};

TEST(Watch, AnEndIsToldOnceWithItsRecordInPlace) {
  Told told;
  Status seen = Status::running;
  Watch watch([&](const auto& folder) {
    seen = observe(folder)->status;
    told.add(folder);
  });
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("sleep 0.1"), groups()));
  ASSERT_TRUE(watch.add(run.path()));
  ASSERT_TRUE(watch.add(run.path()));
  EXPECT_TRUE(await([&] { return told.of(run.path()) == 1; }));
  EXPECT_EQ(seen, Status::exited);
}

TEST(Watch, ARunThatEndedBeforehandIsToldToo) {
  Told told;
  Watch watch([&](const auto& folder) { told.add(folder); });
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("exit 0"), groups()));
  await_end(run.path());
  ASSERT_TRUE(watch.add(run.path()));
  EXPECT_TRUE(await([&] { return told.of(run.path()) == 1; }));
}

TEST(Watch, AKilledShimIsAnEnd) {
  Told told;
  Status seen = Status::running;
  Watch watch([&](const auto& folder) {
    seen = observe(folder)->status;
    told.add(folder);
  });
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("sleep 600"), groups()));
  ASSERT_TRUE(watch.add(run.path()));
  ::kill(observe(run.path())->shim_pid, SIGKILL);
  EXPECT_TRUE(await([&] { return told.of(run.path()) == 1; }));
  EXPECT_EQ(seen, Status::lost);
}

TEST(Watch, ManyEndsAndARemovedOne) {
  Told told;
  Watch watch([&](const auto& folder) { told.add(folder); });
  const RunFolder removed;
  ASSERT_TRUE(start(removed.path(), shell("sleep 600"), groups()));
  ASSERT_TRUE(watch.add(removed.path()));
  watch.remove(removed.path());
  ASSERT_TRUE(kill_now(removed.path()));
  std::vector<std::unique_ptr<RunFolder>> runs;
  for (int i = 0; i < 32; ++i) {
    runs.push_back(std::make_unique<RunFolder>());
    ASSERT_TRUE(start(runs.back()->path(), shell("sleep 0.05"), groups()));
    ASSERT_TRUE(watch.add(runs.back()->path()));
  }
  for (const auto& run : runs) EXPECT_TRUE(await([&] { return told.of(run->path()) == 1; }));
  EXPECT_EQ(told.of(removed.path()), 0);
}

}  // namespace
}  // namespace lathe::process
