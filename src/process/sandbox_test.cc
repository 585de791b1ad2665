#include "process/sandbox.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

#include "process/testing.h"

namespace lathe::process {
namespace {

namespace fs = std::filesystem;
using testing::await;
using testing::await_end;
using testing::groups;
using testing::log_of;
using testing::RunFolder;
using testing::shell;

constexpr std::uint32_t kNobody = 65534;
constexpr const char* kSavesAtAStop = "trap 'echo saved; exit 3' TERM; echo begun; while :; do sleep 0.01; done";

TEST(GpuDevices, AreThoseOfTheCardsThatAreNotHiddenAndWhatAllNeed) {
  RunFolder place;
  for (const char* name : {"nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "kfd", "null"})
    std::ofstream(place.path() / name) << "";
  std::set<std::string> names;
  for (const auto& device : gpu_devices(place.path(), {1, 7})) names.insert(device.filename());
  EXPECT_EQ(names, (std::set<std::string>{"nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm", "kfd"}));
  EXPECT_TRUE(gpu_devices(place.path() / "none", {}).empty());
}

class SandboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() == 0) account = Account{kNobody, kNobody};
    if (const auto why = why_no_sandbox(account)) GTEST_SKIP() << *why;
    outside = place.path() / "outside";
    own = place.path() / "own";
    ::chmod(place.path().c_str(), 0755);
    for (const auto& folder : {outside, own, own / "tmp", own / "given"}) {
      fs::create_directories(folder);
      ::chmod(folder.c_str(), 0777);
    }
    std::ofstream(outside / "secret") << "secret\n";
  }
  /// Starts `script` in a sandbox that has `own`.
  void start_script(const std::string& script, bool network = true) {
    auto spec = shell(script);
    spec.account = account;
    spec.cwd = own;
    spec.grace = std::chrono::seconds{10};
    Sandbox box;
    box.writable = {own};
    box.temporary = own / "tmp";
    box.read_only = {{outside, own / "given"}};
    box.network = network;
    enter_sandbox(spec, std::move(box));
    const auto started = start(run.path(), spec, groups());
    ASSERT_TRUE(started) << started.error().message;
  }
  std::string output(const std::string& script, bool network = true) {
    start_script(script, network);
    end = await_end(run.path()).end;
    return log_of(run.path());
  }

  /// Of kSavesAtAStop, which was started.
  void expect_stop_is_heard() {
    ASSERT_TRUE(await([&] { return log_of(run.path()).find("begun") != std::string::npos; }));
    ASSERT_TRUE(request_stop(run.path()));
    end = await_end(run.path()).end;
    ASSERT_TRUE(end);
    EXPECT_EQ(end->reason, Reason::stopped);
    EXPECT_TRUE(log_of(run.path()).ends_with("saved\n")) << log_of(run.path());
  }

  RunFolder place;
  RunFolder run;
  fs::path outside;
  fs::path own;
  std::optional<Account> account;
  std::optional<End> end;
};

TEST_F(SandboxTest, ItSeesAndWritesItsOwnFoldersAlone) {
  const auto said = output("pwd; cat " + (outside / "secret").string() +
                           " given/secret; echo x > made && echo x > /tmp/there; echo x > given/x; "
                           "echo x > /usr/x; echo x > /x; echo x > " +
                           place.path().string() + "/x && ls " + place.path().string());
  EXPECT_TRUE(said.starts_with(own.string() + "\n")) << said;
  EXPECT_NE(said.find("secret: No such file"), std::string::npos) << said;
  EXPECT_NE(said.find("\nsecret\n"), std::string::npos) << said;
  EXPECT_NE(said.find("given/x: Read-only file system"), std::string::npos) << said;
  EXPECT_NE(said.find("/usr/x: Read-only file system"), std::string::npos) << said;
  EXPECT_NE(said.find(" /x: Read-only file system"), std::string::npos) << said;
  EXPECT_TRUE(fs::exists(own / "made"));
  EXPECT_TRUE(fs::exists(own / "tmp/there"));
  EXPECT_FALSE(fs::exists("/tmp/there"));
  EXPECT_FALSE(fs::exists(place.path() / "x"));
}

/// An image of busybox whose folders stand in the way of what is mounted.
class ImageTest : public SandboxTest {
 protected:
  void SetUp() override {
    SandboxTest::SetUp();
    image = place.path() / "image";
    for (const char* folder : {"bin", "etc", "var/lib", "elsewhere"}) fs::create_directories(image / folder);
    fs::copy_file("/bin/busybox", image / "bin/busybox");
    for (const char* name : {"sh", "cat", "echo", "ls", "pwd", "sleep"})
      fs::create_symlink("busybox", image / "bin" / name);
    for (const char* name : {"hosts", "own"}) std::ofstream(image / "etc" / name) << "of the image\n";
    std::ofstream(image / "var/lib/file") << "in var\n";
    fs::create_directory_symlink("/elsewhere", image / "tmp");
  }
  std::string output_in_image(const std::string& script) {
    start_in_image(script);
    end = await_end(run.path()).end;
    return log_of(run.path());
  }
  void start_in_image(const std::string& script) {
    Spec spec;
    spec.argv = {"/bin/sh", "-c", script};
    spec.env = {{"PATH", "/bin"}, {"FRUIT", "pear"}};
    spec.account = account;
    spec.cwd = own;
    Sandbox box;
    box.writable = {own};
    box.temporary = own / "tmp";
    box.read_only = {{outside, own / "given"}};
    box.image =
        ImageRoot{image,
                  {{"COLOR", "green"}, {"FRUIT", "apple"}, {"LD_PRELOAD", "/nowhere.so"}, {"LD_LIBRARY_PATH", "/its"}},
                  {outside / "secret"}};
    fs::copy_file(shim_program(), place.path() / "shim");
    box.shim = place.path() / "shim";
    enter_sandbox(spec, std::move(box));
    const auto started = start(run.path(), spec, groups());
    ASSERT_TRUE(started) << started.error().message;
  }
  fs::path image;
};

TEST_F(ImageTest, ItHasTheImagesFilesAndItsOwn) {
  const auto said = output_in_image(
      "pwd; cat given/secret /etc/own /var/lib/file; echo $COLOR $FRUIT $LD_LIBRARY_PATH; cat /run/nvidia/*; echo x > "
      "/var/tmp/x && cat /tmp/x; echo x > "
      "/etc/own; "
      "echo x > /var/x; echo x > /x; ls / /usr; cat /proc/1/comm");
  EXPECT_TRUE(
      said.starts_with(own.string() + "\nsecret\nof the image\nin var\ngreen pear /its:/run/nvidia\nsecret\nx\n"))
      << said;
  for (const char* file : {"/etc/own", "/var/x", "/x"})
    EXPECT_NE(said.find("can't create " + std::string(file) + ": Read-only file system"), std::string::npos) << said;
  EXPECT_NE(said.find("/usr: No such file"), std::string::npos) << said;
  EXPECT_EQ(said.find("LD_PRELOAD"), std::string::npos) << said;
}

TEST_F(ImageTest, AStopIsHeardThere) {
  start_in_image(kSavesAtAStop);
  expect_stop_is_heard();
}

TEST_F(SandboxTest, ItSeesItsOwnProcessesAlone) {
  const auto said = output("ls /proc | grep -c '^[0-9]'; kill -0 " + std::to_string(::getpid()) +
                           " || echo none; unshare -U true || echo no namespaces; "
                           "grep -E 'CapEff|NoNewPrivs' /proc/self/status");
  EXPECT_LT(std::atoi(said.c_str()), 8) << said;
  EXPECT_NE(said.find("none\n"), std::string::npos) << said;
  EXPECT_NE(said.find("no namespaces\n"), std::string::npos) << said;
  EXPECT_NE(said.find("CapEff:\t0000000000000000"), std::string::npos) << said;
  EXPECT_NE(said.find("NoNewPrivs:\t1"), std::string::npos) << said;
}

TEST_F(SandboxTest, ItsExitStatusIsTheProgramsOwn) {
  output("exit 7");
  ASSERT_TRUE(end);
  EXPECT_EQ(end->reason, Reason::exited);
  EXPECT_EQ(end->code, 7);
}

TEST_F(SandboxTest, AStopIsHeardAndHasItsGrace) {
  start_script(kSavesAtAStop);
  expect_stop_is_heard();
}

TEST_F(SandboxTest, AProgramThatHandlesNoStopEndsAtOnce) {
  start_script("echo begun; exec sleep 600");
  ASSERT_TRUE(await([&] { return log_of(run.path()).find("begun") != std::string::npos; }));
  const auto asked = std::chrono::steady_clock::now();
  ASSERT_TRUE(request_stop(run.path()));
  EXPECT_EQ(await_end(run.path()).end->reason, Reason::stopped);
  EXPECT_LT(std::chrono::steady_clock::now() - asked, std::chrono::seconds{9});
}

TEST_F(SandboxTest, WithoutANetworkThereIsLoopbackAlone) {
  EXPECT_EQ(output("ls /sys/class/net >/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", false), "lo\n");
}

TEST_F(SandboxTest, WhatItLeftBehindEndsWithIt) {
  const auto mark = "left-" + std::to_string(::getpid());
  const auto said = output("setsid bash -c 'echo > left; exec -a " + mark +
                           " sleep 600' & until [ -e left ]; do sleep 0.01; done; echo done");
  EXPECT_EQ(said, "done\n");
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::string name;
    std::getline(std::ifstream(entry.path() / "cmdline"), name, '\0');
    EXPECT_NE(name, mark);
  }
}

}  // namespace
}  // namespace lathe::process
