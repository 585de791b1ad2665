#include "process/usage.h"

#include <gtest/gtest.h>

#include "process/testing.h"

namespace lathe::process {
namespace {

using testing::await;
using testing::await_end;
using testing::groups;
using testing::log_of;
using testing::RunFolder;
using testing::shell;

TEST(Usage, SeesProcessorMemoryAndWritesOfAllProcessesWithAndWithoutCgroups) {
  for (const auto& with : {groups(), Cgroups{}}) {
    const RunFolder run;
    // A child that holds 60 MB, has computed for a while, and has written 2 MB to the disk.
    ASSERT_TRUE(start(run.path(),
                      shell("python3 -c \"x = b'x' * 60_000_000; [i * i for i in range(1_000_000)]; f = open('" +
                            (run.path() / "data").string() +
                            "', 'wb'); f.write(b'y' * 2_000_000); f.flush(); import os, time; os.fsync(f.fileno()); "
                            "print('up', flush=True); time.sleep(600)\" & wait"),
                      with));
    UsageMeter meter(run.path());
    ASSERT_TRUE(await([&] { return log_of(run.path()) == "up\n"; }));
    const auto used = meter.look();
    ASSERT_TRUE(used) << used.error().message;
    EXPECT_GT(used->cpu_us, 10'000);
    EXPECT_GT(used->memory_bytes, 60'000'000);
    EXPECT_LT(used->memory_bytes, 500'000'000);
    EXPECT_GE(used->write_bytes, 0);
    EXPECT_EQ(meter.look()->write_bytes, used->write_bytes) << "nothing is counted twice";
    ASSERT_TRUE(request_stop(run.path()));
    await_end(run.path());
    EXPECT_FALSE(meter.look());
  }
}

}  // namespace
}  // namespace lathe::process
