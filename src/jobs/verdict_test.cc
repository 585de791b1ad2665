#include "jobs/verdict.h"

#include "base/utf8.h"

#include <gtest/gtest.h>

namespace lathe::jobs {
namespace {

std::string say(process::End end, const std::string& lines = "", std::int64_t timeout_s = 0) {
  process::Observation seen;
  seen.status = process::Status::exited;
  seen.end = std::move(end);
  return verdict({seen, lines, timeout_s, "c-0"});
}
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(Verdict, SaysTheStatusAndShowsTheLastLines) {
  process::End end;
  end.code = 3;
  EXPECT_EQ(say(end, "one\ntwo\n"), "The command exited with status 3.\nIts last lines:\none\ntwo");
}

TEST(Verdict, NamesWhatTheJobHadTooMuchOf) {
  process::End end;
  end.code = 1;
  end.pids_refused = 7;
  EXPECT_TRUE(has(say(end), "too many processes and threads at a time: the kernel refused it new ones 7 times")) << say(end);
  end = {};
  end.code = 137;
  end.oom_killed = true;
  end.memory_limit_bytes = std::int64_t{512} << 20;
  EXPECT_TRUE(has(say(end), "it may have 512 MiB")) << say(end);
  process::Observation seen;
  seen.status = process::Status::exited;
  seen.end = process::End{};
  seen.end->code = 1;
  const auto full = verdict({seen, "write error: No space left on device", 0, "c-0", {}, "the disk of /x has 0.0 MiB of 24.0 MiB free"});
  EXPECT_TRUE(has(full, "The disk is full (the disk of /x has 0.0 MiB of 24.0 MiB free)")) << full;
}

TEST(Verdict, NamesASignalThatAShellReports) {
  process::End end;
  end.code = 139;
  EXPECT_TRUE(has(say(end), "status 139 (signal 11, Segmentation fault)")) << say(end);
}

TEST(Verdict, NamesAMissingModule) {
  process::End end;
  end.code = 1;
  const auto text = say(end, "Traceback\nModuleNotFoundError: No module named 'torch.nn'\n");
  EXPECT_TRUE(has(text, "lacks the Python module 'torch.nn'")) << text;
  // A job may print what looks like it and is not.
  for (const char* said : {"ModuleNotFoundError: No module named ", "ModuleNotFoundError: No module named \nfoo\n", "ModuleNotFoundError: No module named '",
                           "ModuleNotFoundError: No module named ''\n"})
    EXPECT_TRUE(has(say(end, said), "exited with status 1.")) << said;
}

TEST(Verdict, IsUtf8WhateverTheJobPrinted) {
  process::End end;
  end.code = 1;
  EXPECT_TRUE(is_utf8(say(end, "\xff\xfe bad \xc3\n")));
}

TEST(Verdict, SaysHowToNameAnExperiment) {
  process::End end;
  end.code = 1;
  const auto text = say(end,
                        "mlflow.exceptions.MlflowException: Cannot start run with ID blue_cat because active run ID does not match environment run ID. "
                        "Make sure --experiment-name or --experiment-id matches experiment set with set_experiment(), or just use command-line arguments\n");
  EXPECT_TRUE(has(text, "leave the call out, and name the experiment in the job's file (experiment_name)")) << text;
  EXPECT_FALSE(has(say(end, "Cannot start run with ID x because it is in the deleted state."), "experiment_name"));
}

TEST(Verdict, TheEndOfMemoryIsTheCauseWhateverTheCommandMadeOfIt) {
  process::End end;
  end.oom_killed = true;
  end.reason = process::Reason::signaled;
  end.signal = 9;
  end.max_rss_bytes = 64 << 20;
  EXPECT_TRUE(has(say(end), "ran out of memory")) << say(end);
  EXPECT_TRUE(has(say(end), "64 MiB"));
  end.reason = process::Reason::exited;
  end.code = 1;
  EXPECT_TRUE(has(say(end), "ran out of memory")) << say(end);
}

TEST(Verdict, SignalsLimitsAndFailedStartsAreNamed) {
  process::End end;
  end.reason = process::Reason::signaled;
  end.signal = 11;
  EXPECT_TRUE(has(say(end), "signal 11 (Segmentation fault)")) << say(end);
  end.reason = process::Reason::timeout;
  EXPECT_TRUE(has(say(end, "", 5), "limit of 5 s (limits.timeout)")) << say(end, "", 5);
  end.reason = process::Reason::start_failed;
  end.error = "cannot run bash";
  EXPECT_TRUE(has(say(end), "cannot run bash"));
}

TEST(Verdict, WithoutAnEndTheJobWasLost) {
  process::Observation seen;
  seen.status = process::Status::lost;
  EXPECT_TRUE(has(verdict({seen, "", 0, "c-0"}), "lost: its supervisor on c-0"));
}

TEST(Verdict, OfSeveralProcessesItNamesTheFirstThatFailed) {
  process::End end;
  end.code = 3;
  VerdictInput input{{process::Status::exited, 0, 0, end}, "no such batch", 0, "c-1", 5};
  const auto said = verdict(input);
  EXPECT_TRUE(said.starts_with("Rank 5 on the node c-1 failed and ended the job. The command exited with status 3."))
      << said;
  EXPECT_TRUE(has(said, "\nThe last lines of rank 5:\nno such batch")) << said;
  input.rank = 0;
  EXPECT_TRUE(has(verdict(input), "\nIts last lines:\nno such batch"));
}

TEST(Verdict, ControlCharactersOfTheOutputAreNotPassedOn) {
  process::End end;
  end.code = 1;
  EXPECT_FALSE(has(say(end, "\x1b[31mred"), "\x1b"));
}

}  // namespace
}  // namespace lathe::jobs
