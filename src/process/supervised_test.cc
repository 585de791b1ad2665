#include "process/supervised.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <fstream>

#include "base/file.h"
#include "process/owner.h"
#include "process/testing.h"

namespace lathe::process {
namespace {

using std::chrono::milliseconds;
using testing::alive;
using testing::await;
using testing::await_end;
using testing::groups;
using testing::log_of;
using testing::RunFolder;
using testing::shell;

int pid_in_log(const RunFolder& run) {
  await([&] { return log_of(run.path()).find('\n') != std::string::npos; });
  return std::atoi(log_of(run.path()).c_str());
}

/// Starts `spec` and waits for its end.
Observation run_to_end(const RunFolder& run, const Spec& spec) {
  const auto started = start(run.path(), spec, groups());
  EXPECT_TRUE(started) << started.error().message;
  return await_end(run.path());
}

TEST(Supervised, ExitCodesAndTimesAreRecorded) {
  const RunFolder run;
  const auto seen = run_to_end(run, shell("exit 3"));
  ASSERT_EQ(seen.status, Status::exited);
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->code, 3);
  EXPECT_FALSE(seen.end->signal);
  EXPECT_FALSE(seen.end->oom_killed);
  EXPECT_LE(seen.end->started, *seen.end->user_code);
  EXPECT_LE(*seen.end->user_code, seen.end->ended);
  EXPECT_GT(seen.end->max_rss_bytes, 0);
  EXPECT_NE(seen.end->cgroup, "");
}

TEST(Supervised, ASignalIsToldApartFromAnExitCode) {
  const RunFolder run;
  const auto seen = run_to_end(run, shell("kill -SEGV $$"));
  ASSERT_EQ(seen.status, Status::exited);
  EXPECT_EQ(seen.end->reason, Reason::signaled);
  EXPECT_EQ(seen.end->signal, SIGSEGV);
  EXPECT_FALSE(seen.end->code);
}

TEST(Supervised, TheEnvironmentAndTheWorkingFolderAreExactlyAsGiven) {
  const RunFolder run;
  auto spec = shell("pwd; /usr/bin/env; umask; ls -l /proc/self/fd | wc -l");
  spec.argv = {"/bin/sh", "-c", spec.argv[2]};
  spec.env = {{"A", "x=y\nz"}};
  spec.cwd = "/usr";
  run_to_end(run, spec);
  EXPECT_EQ(log_of(run.path()), "/usr\nA=x=y\nz\nPWD=/usr\n0027\n5\n");
}

TEST(Supervised, StdoutAndStderrKeepTheirOrder) {
  const RunFolder run;
  std::string expected;
  for (int i = 0; i < 200; ++i) expected += "out " + std::to_string(i) + "\nerr " + std::to_string(i) + "\n";
  run_to_end(run, shell("i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"));
  EXPECT_EQ(log_of(run.path()), expected);
}

TEST(Supervised, AnUnknownProgramIsASentence) {
  const RunFolder run;
  auto spec = shell("");
  spec.argv = {"no-such-program"};
  const auto started = start(run.path(), spec, groups());
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::not_found);
  EXPECT_EQ(started.error().message,
            "cannot run no-such-program: No such file or directory; is it installed, and is its folder in PATH?");
  const auto seen = await_end(run.path());
  ASSERT_EQ(seen.status, Status::exited);
  EXPECT_EQ(seen.end->reason, Reason::start_failed);
  EXPECT_EQ(seen.end->error, "cannot run no-such-program: No such file or directory");
  EXPECT_FALSE(seen.end->code);
}

TEST(Supervised, AMissingWorkingFolderIsASentence) {
  const RunFolder run;
  auto spec = shell("true");
  spec.cwd = "/no/such/folder";
  const auto started = start(run.path(), spec, groups());
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::invalid);
  EXPECT_EQ(started.error().message, "cannot enter the working folder /no/such/folder: No such file or directory");
}

TEST(Supervised, AFolderTakesOneRun) {
  const RunFolder run;
  EXPECT_EQ(observe(run.path())->status, Status::never_started);
  ASSERT_TRUE(start(run.path(), shell("sleep 60"), groups()));
  EXPECT_EQ(start(run.path(), shell("true"), groups()).error().code, Code::conflict);
  EXPECT_EQ(cleanup(run.path()).error().code, Code::conflict);
  ASSERT_TRUE(kill_now(run.path()));
  EXPECT_EQ(start(run.path(), shell("true"), groups()).error().code, Code::conflict);
}

TEST(Supervised, ATimeLimitFirstAsksThenKills) {
  const RunFolder polite;
  auto spec = shell("trap 'echo asked; exit 7' TERM; while :; do sleep 0.01; done");
  spec.time_limit = milliseconds{150};
  auto seen = run_to_end(polite, spec);
  EXPECT_EQ(seen.end->reason, Reason::timeout);
  EXPECT_EQ(seen.end->code, 7);
  EXPECT_NE(log_of(polite.path()).find("asked\n"), std::string::npos);

  const RunFolder stubborn;
  spec.argv[2] = "trap '' TERM; while :; do sleep 0.01; done";
  seen = run_to_end(stubborn, spec);
  EXPECT_EQ(seen.end->reason, Reason::timeout);
  EXPECT_EQ(seen.end->signal, SIGKILL);
}

TEST(Supervised, AStopIsToldApartFromAFailure) {
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("exec sleep 60"), groups()));
  EXPECT_EQ(observe(run.path())->status, Status::running);
  ASSERT_TRUE(request_stop(run.path()));
  const auto seen = await_end(run.path());
  EXPECT_EQ(seen.end->reason, Reason::stopped);
  EXPECT_EQ(seen.end->signal, SIGTERM);
  EXPECT_TRUE(request_stop(run.path())) << "stopping what has ended is no error";
}

TEST(Supervised, ASecondStopCanShortenTheGrace) {
  const RunFolder run;
  auto spec = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
  spec.grace = std::chrono::hours{1};
  ASSERT_TRUE(start(run.path(), spec, groups()));
  await([&] { return !log_of(run.path()).empty(); });
  ASSERT_TRUE(request_stop(run.path()));
  EXPECT_EQ(observe(run.path())->status, Status::running);
  ASSERT_TRUE(request_stop(run.path(), milliseconds{0}));
  EXPECT_EQ(await_end(run.path()).end->signal, SIGKILL);
}

TEST(Supervised, DaemonisedGrandchildrenDieWithTheJob) {
  const RunFolder run;
  const auto seen = run_to_end(run, shell("setsid sh -c 'echo $$; exec sleep 600' & while [ ! -s " +
                                          (run.path() / "log").string() + " ]; do sleep 0.01; done; exit 0"));
  EXPECT_EQ(seen.end->code, 0);
  const int grandchild = pid_in_log(run);
  ASSERT_GT(grandchild, 1);
  EXPECT_TRUE(await([&] { return !alive(grandchild); }));
}

TEST(Supervised, DaemonisedGrandchildrenDieWithoutCgroupsToo) {
  const RunFolder run;
  const auto spec = shell("setsid sh -c 'echo $$; exec sleep 600' & while [ ! -s " + (run.path() / "log").string() +
                          " ]; do sleep 0.01; done; exit 0");
  ASSERT_TRUE(start(run.path(), spec, Cgroups{}));
  EXPECT_EQ(await_end(run.path()).end->code, 0);
  EXPECT_TRUE(await([&] { return !alive(pid_in_log(run)); }));
}

TEST(Supervised, MemoryLimitsLeaveEvidence) {
  if (!groups().can_limit("memory")) GTEST_SKIP() << "no memory cgroup here: " << groups().sentence;
  const RunFolder run;
  auto spec = shell("exec tail /dev/zero");
  spec.limits.memory_bytes = std::uint64_t{32} << 20;
  const auto seen = run_to_end(run, spec);
  EXPECT_EQ(seen.end->signal, SIGKILL);
  EXPECT_TRUE(seen.end->oom_killed) << seen.end->cgroup;
  EXPECT_EQ(seen.end->memory_limit_bytes, std::int64_t{32} << 20);
}

TEST(Supervised, ProcessLimitsHold) {
  if (!groups().can_limit("pids")) GTEST_SKIP() << "no pids cgroup here: " << groups().sentence;
  const RunFolder run;
  auto spec = shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo all");
  spec.limits.pids = 4;
  const auto seen = run_to_end(run, spec);
  EXPECT_NE(seen.end->code, 0);
  EXPECT_GT(seen.end->pids_refused, 0);
  EXPECT_EQ(log_of(run.path()).find("all"), std::string::npos);
}

TEST(Supervised, TheRunOfAProcessIsFoundAlsoWhenItHasDaemonised) {
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("setsid sh -c 'echo $$; exec sleep 60' & wait"), groups()));
  EXPECT_EQ(run_of(pid_in_log(run)), run.path());
  EXPECT_EQ(run_of(observe(run.path())->shim_pid), run.path());
  EXPECT_EQ(run_of(::getpid()), std::nullopt);
  EXPECT_EQ(run_of(1), std::nullopt);
  EXPECT_EQ(run_of(1 << 30), std::nullopt);
}

/// A device file without a driver: what may open it is told that there is no device, what may not that it is not permitted.
std::string opening_of(const std::filesystem::path& device, const Cgroups& with) {
  const RunFolder run;
  auto spec = shell("cat " + device.string());
  spec.denied_devices = {{kNvidiaMajor, 7}, {kNvidiaMajor, 9}};
  EXPECT_TRUE(start(run.path(), spec, with));
  await_end(run.path());
  return log_of(run.path());
}

TEST(Supervised, DeniedDevicesCannotBeOpenedAndOthersCan) {
  const RunFolder folder;
  const auto make = [&](unsigned minor) {
    const auto path = folder.path() / ("nvidia" + std::to_string(minor));
    return ::mknod(path.c_str(), S_IFCHR | 0666, makedev(kNvidiaMajor, minor)) == 0 && ::open(path.c_str(), O_RDONLY) < 0 && errno == ENXIO;
  };
  if (!groups().can_deny_devices() || !make(8) || !make(9)) GTEST_SKIP() << "devices cannot be made or denied here";
  auto by_program = groups();
  by_program.devices.clear();
  by_program.denies_devices = !by_program.v2.empty() && groups().can_deny_devices();
  for (const auto& with : {groups(), by_program}) {
    if (!with.can_deny_devices()) continue;
    EXPECT_NE(opening_of(folder.path() / "nvidia9", with).find("Operation not permitted"), std::string::npos) << with.sentence;
    EXPECT_NE(opening_of(folder.path() / "nvidia8", with).find("No such device"), std::string::npos) << with.sentence;
  }
}

TEST(Supervised, CgroupsAreGoneAfterwards) {
  const RunFolder run;
  auto spec = shell("exit 0");
  spec.limits = {1, std::uint64_t{64} << 20, 100};
  run_to_end(run, spec);
  EXPECT_TRUE(await([&] { return cleanup(run.path()).has_value(); }));
}

TEST(Supervised, AKilledStarterLosesNothing) {
  const RunFolder run;
  const pid_t starter = ::fork();
  if (starter == 0) {
    ::setpgid(0, 0);
    const bool started =
        start(run.path(), shell("for i in 1 2 3 4 5 6; do echo $i; sleep 0.05; done; exit 5"), groups()).has_value();
    ::kill(started ? 0 : ::getpid(), SIGKILL);  // the whole process group of the "server"
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(starter, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  const auto seen = await_end(run.path());
  ASSERT_EQ(seen.status, Status::exited);
  EXPECT_EQ(seen.end->code, 5);
  EXPECT_EQ(log_of(run.path()), "1\n2\n3\n4\n5\n6\n");
}

TEST(Supervised, AKilledShimIsLostAndItsOrphansAreKilled) {
  for (const auto& with : {groups(), Cgroups{}}) {
    const RunFolder run;
    ASSERT_TRUE(start(run.path(), shell("sleep 600 & echo $!; wait"), with));
    const int orphan = pid_in_log(run);
    const auto running = observe(run.path());
    ASSERT_GT(running->shim_pid, 1);
    ::kill(running->shim_pid, SIGKILL);
    const auto seen = await_end(run.path());
    EXPECT_EQ(seen.status, Status::lost);
    EXPECT_TRUE(alive(orphan));
    const auto killed = kill_now(run.path());
    EXPECT_TRUE(killed) << killed.error().message;
    EXPECT_TRUE(await([&] { return !alive(orphan); }));
    EXPECT_FALSE(alive(running->job_pid)) << "a job dies with its shim";
    EXPECT_TRUE(await([&] { return cleanup(run.path()).has_value(); }));
    EXPECT_EQ(observe(run.path())->status, Status::lost);
  }
}

TEST(Supervised, AReusedProcessNumberIsNeverSignalled) {
  const RunFolder run;
  ASSERT_TRUE(start(run.path(), shell("sleep 600"), groups()));
  ::kill(observe(run.path())->shim_pid, SIGKILL);
  ASSERT_EQ(await_end(run.path()).status, Status::lost);
  // As if the shim's number now belonged to a stranger, who began at least a clock tick later.
  const auto later = now() + milliseconds{50};
  await([&] { return now() > later; });
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    ::pause();
    ::_exit(0);
  }
  auto text = *read_file(run.path() / "state.json");
  const auto at = text.find("\"pid\":") + 6;
  text.replace(at, text.find(',', at) - at, std::to_string(stranger));
  ASSERT_TRUE(write_file(run.path() / "state.json", text));
  // Even when something holds the lock, so that the run looks alive.
  const Fd lock{::open((run.path() / "lock").c_str(), O_RDWR | O_CLOEXEC)};
  struct flock hold {};
  hold.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(lock.get(), F_OFD_SETLK, &hold), 0);
  EXPECT_TRUE(request_stop(run.path()));
  int status = 0;
  EXPECT_EQ(::waitpid(stranger, &status, WNOHANG), 0) << "the stranger was signalled";
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, &status, 0);
  EXPECT_TRUE(WTERMSIG(status) == SIGKILL);
}

TEST(Supervised, SixtyFourAtOnce) {
  std::vector<std::unique_ptr<RunFolder>> runs;
  std::vector<std::thread> starters;
  for (int i = 0; i < 64; ++i) runs.push_back(std::make_unique<RunFolder>());
  for (int t = 0; t < 8; ++t)
    starters.emplace_back([&, t] {
      for (int i = t; i < 64; i += 8) {
        const auto started =
            start(runs[static_cast<std::size_t>(i)]->path(), shell("echo $$; exit " + std::to_string(i)), groups());
        EXPECT_TRUE(started) << started.error().message;
      }
    });
  for (auto& starter : starters) starter.join();
  for (int i = 0; i < 64; ++i) {
    const auto seen = await_end(runs[static_cast<std::size_t>(i)]->path());
    ASSERT_EQ(seen.status, Status::exited);
    EXPECT_EQ(seen.end->code, i);
  }
}

TEST(Supervised, AServiceIsStartedAgainUntilItFailsTooOften) {
  const RunFolder run;
  auto spec = shell("echo up; exit 1");
  spec.restarts_per_minute = 2;
  const auto seen = run_to_end(run, spec);
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->restarts, 2);
  const auto log = log_of(run.path());
  EXPECT_EQ(
      log,
      "up\n[lathe] it ended unexpectedly: starting it again\nup\n[lathe] it ended unexpectedly: starting it again\n"
      "up\n[lathe] it ended too often within a minute: not started again\n");
}

TEST(Supervised, AServiceWhoseProgramVanishesIsTriedAgain) {
  const RunFolder run;
  const auto program = run.path() / "program";
  const auto aside = run.path() / "aside";
  ASSERT_TRUE(write_file(program, "#!/bin/sh\nmv " + program.string() + " " + aside.string() + "; exit 1\n", 0700));
  auto spec = shell("");
  spec.argv = {program.string()};
  spec.restarts_per_minute = 100;
  ASSERT_TRUE(start(run.path(), spec, groups()));
  ASSERT_TRUE(await([&] { return log_of(run.path()).find("cannot run") != std::string::npos; }));
  ASSERT_TRUE(write_file(program, "#!/bin/sh\nexit 0\n", 0700));
  const auto seen = await_end(run.path());
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->code, 0);
}

TEST(Supervised, AKilledServiceComesBackAndAStoppedOneDoesNot) {
  const RunFolder run;
  auto spec = shell("exec sleep 600");
  spec.restarts_per_minute = 10;
  ASSERT_TRUE(start(run.path(), spec, groups()));
  const int first = observe(run.path())->job_pid;
  ::kill(first, SIGKILL);
  ASSERT_TRUE(await([&] { return observe(run.path())->job_pid != first; }));
  EXPECT_TRUE(alive(observe(run.path())->job_pid));
  ASSERT_TRUE(request_stop(run.path()));
  const auto seen = await_end(run.path());
  EXPECT_EQ(seen.end->reason, Reason::stopped);
  EXPECT_EQ(seen.end->restarts, 1);
}

Spec three_ranks(const std::string& script) {
  auto spec = shell(script);
  for (const char* number : {"0", "1", "2"}) spec.ranks.push_back({{{"RANK", number}}, false});
  return spec;
}

TEST(Supervised, EachOfSeveralProcessesHasItsVariablesAndItsLog) {
  const RunFolder run;
  const auto seen = run_to_end(run, three_ranks("echo rank $RANK"));
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->code, 0);
  EXPECT_EQ(seen.end->rank, std::nullopt);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(log_of(rank_folder(run.path(), i)), "rank " + std::to_string(i) + "\n");
}

TEST(Supervised, TheFirstOfSeveralProcessesThatFailsEndsTheOthers) {
  const RunFolder run;
  auto spec = three_ranks(
      "[ $RANK = 1 ] && until [ -e ready-0 ] && [ -e ready-2 ]; do sleep 0.01; done && exit 9\n"
      "trap 'echo asked; exit 0' TERM; touch ready-$RANK; while :; do sleep 0.01; done");
  spec.cwd = run.path();
  const auto seen = run_to_end(run, spec);
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->code, 9);
  EXPECT_EQ(seen.end->rank, 1U);
  EXPECT_TRUE(log_of(rank_folder(run.path(), 2)).ends_with("asked\n"));
}

TEST(Supervised, AnotherProcessThatIgnoresTermIsKilledAfterTheGrace) {
  const RunFolder run;
  const auto seen =
      run_to_end(run, three_ranks("trap '' TERM; [ $RANK = 2 ] && kill -ABRT $$; while :; do sleep 0.01; done"));
  EXPECT_EQ(seen.end->reason, Reason::signaled);
  EXPECT_EQ(seen.end->signal, SIGABRT);
  EXPECT_EQ(seen.end->rank, 2U);
}

TEST(Supervised, HelpersAreEndedWhenTheOthersHave) {
  const RunFolder run;
  auto spec = three_ranks("[ $RANK = 1 ] || exit 0; exec sleep 600");
  spec.ranks[1].helper = true;
  const auto seen = run_to_end(run, spec);
  EXPECT_EQ(seen.end->reason, Reason::exited);
  EXPECT_EQ(seen.end->code, 0);
}

TEST(Supervised, AStopAndATimeLimitReachAllOfSeveralProcesses) {
  for (const bool limited : {false, true}) {
    const RunFolder run;
    auto spec = three_ranks("exec sleep 600");
    if (limited) spec.time_limit = milliseconds{50};
    ASSERT_TRUE(start(run.path(), spec, groups()));
    if (!limited) {
      ASSERT_TRUE(request_stop(run.path()));
    }
    EXPECT_EQ(await_end(run.path()).end->reason, limited ? Reason::timeout : Reason::stopped);
  }
}

TEST(Supervised, AtTheGateNothingRunsUntilTheFileIsThereAndTheGateOpens) {
  const RunFolder run;
  const RunFolder other;
  auto waiting = start_at_gate(run.path(), shell("echo ran; exit 4"), groups(), run.path() / "go");
  auto refused = start_at_gate(other.path(), shell("echo ran"), groups(), other.path() / "go");
  ASSERT_TRUE(waiting && refused);
  EXPECT_EQ(observe(run.path())->status, Status::running);
  EXPECT_EQ(log_of(run.path()), "");
  ASSERT_TRUE(write_file(run.path() / "go", ""));
  EXPECT_TRUE(waiting->open());
  EXPECT_EQ(await_end(run.path()).end->code, 4);
  EXPECT_EQ(log_of(run.path()), "ran\n");

  { const auto gone = std::move(*refused); }  // as if the server had been killed
  const auto seen = await_end(other.path());
  EXPECT_EQ(seen.end->reason, Reason::start_failed);
  EXPECT_EQ(seen.end->user_code, std::nullopt);
  EXPECT_EQ(log_of(other.path()), "");
}

TEST(Supervised, WhatIsKeptOpenIsFreeAtTheEndAndNotTheJobs) {
  const RunFolder run;
  auto spec = shell("ls /proc/self/fd | wc -l; until [ -e " + (run.path() / "go").string() + " ]; do sleep 0.01; done");
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd reader{ends[0]};
  {
    const Fd kept{ends[1]};
    spec.kept_open = {kept.get()};
    ASSERT_TRUE(start(run.path(), spec, groups()));
  }
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), -1) << "nobody keeps it open";
  ASSERT_TRUE(write_file(run.path() / "go", ""));
  await_end(run.path());
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0);
  EXPECT_EQ(log_of(run.path()), "4\n") << "stdin, stdout, stderr, and the folder that is listed";
}

TEST(Supervised, AnUnprivilegedAccountCannotReadAPrivateFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root: jobs run as this account";
  const RunFolder run;
  const RunFolder secret;
  ASSERT_TRUE(write_file(secret.path() / "token", "x"));
  auto spec = shell("id -u; id -G; grep NoNewPrivs /proc/self/status; cat " + (secret.path() / "token").string());
  spec.account = Account{65534, 65534};
  EXPECT_EQ(run_to_end(run, spec).end->code, 1);
  const auto log = log_of(run.path());
  EXPECT_EQ(log.rfind("65534\n65534\nNoNewPrivs:\t1\n", 0), 0U) << log;
  EXPECT_NE(log.find("Permission denied"), std::string::npos) << log;
}

TEST(Supervised, ResourceLimitsApply) {
  const RunFolder run;
  auto spec = shell("ulimit -n");
  spec.resource_limits = {{RLIMIT_NOFILE, 123, 123}};
  run_to_end(run, spec);
  EXPECT_EQ(log_of(run.path()), "123\n");
}

TEST(Supervised, BindsAreReadOnlyAndPrivate) {
  if (!can_bind()) GTEST_SKIP() << "private mounts are not permitted here";
  const RunFolder run;
  const RunFolder data;
  ASSERT_TRUE(write_file(data.path() / "file", "content\n"));
  const auto target = run.path() / "input";
  ASSERT_TRUE(make_folder(target));
  auto spec = shell("cat " + (target / "file").string() + "; touch " + (target / "new").string());
  spec.binds = {{data.path(), target}};
  EXPECT_NE(run_to_end(run, spec).end->code, 0);
  EXPECT_NE(log_of(run.path()).find("content\n"), std::string::npos);
  EXPECT_NE(log_of(run.path()).find("Read-only file system"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(target)) << "the mount is seen outside";
}

TEST(Supervised, AFullDiskLosesOutputOnly) {
  if (::geteuid() != 0 || !can_bind()) GTEST_SKIP() << "needs a file system of its own";
  const RunFolder disk;
  const auto mount = "mount -t tmpfs -o size=256k none " + disk.path().string();
  if (std::system(mount.c_str()) != 0) GTEST_SKIP() << "mounting is not permitted here";
  const auto folder = disk.path() / "run";
  ASSERT_TRUE(make_folder(folder));
  ASSERT_TRUE(start(folder, shell("head -c 1000000 /dev/zero; exit 4"), groups()));
  const auto seen = await_end(folder);
  EXPECT_EQ(seen.status, Status::exited);
  if (seen.end) {
    EXPECT_EQ(seen.end->code, 4);
    EXPECT_GT(seen.end->log_lost_bytes, 500'000);
  }
  EXPECT_EQ(std::system(("umount -l " + disk.path().string()).c_str()), 0);
}

TEST(Supervised, TheTimeToUserCodeIsMilliseconds) {
  std::vector<double> ms;
  for (int i = 0; i < 20; ++i) {
    const RunFolder run;
    Spec spec = shell("");
    spec.argv = {"/bin/true"};
    const auto before = now();
    ASSERT_TRUE(start(run.path(), spec, groups()));
    const auto seen = await_end(run.path());
    ms.push_back(static_cast<double>((*seen.end->user_code - before).count()) / 1000);
  }
  std::sort(ms.begin(), ms.end());
  RecordProperty("p50_ms", std::to_string(ms[10]));
  std::printf("start() to user code: p50 %.2f ms, least %.2f, most %.2f\n", ms[10], ms.front(), ms.back());
  EXPECT_LT(ms.front(), 20);
}

}  // namespace
}  // namespace lathe::process
