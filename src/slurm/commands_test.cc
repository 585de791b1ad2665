#include "slurm/commands.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "slurm/script.h"
#include "slurm/words.h"

namespace lathe::slurm {
namespace {

bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// Stands in for Slurm's commands: runs `script` whatever is asked.
Commands answered_by(const std::string& script) {
  Settings settings;
  settings.command = {"/bin/sh", "-c", script, "--"};
  settings.limit = std::chrono::milliseconds{500};
  return Commands(settings);
}

TEST(Sbatch, AsksForWhatTheTargetAndTheJobSay) {
  Request request{"a1", "train", "ann", {"gpu", "team", "high", 8, std::int64_t{16} << 30, 2}, 3, 90, 1000, ""};
  const auto said = sbatch_arguments(request);
  for (const char* argument :
       {"--no-requeue", "--comment=lathe:a1:ann", "--job-name=train", "--nodes=3", "--partition=gpu", "--account=team",
        "--qos=high", "--cpus-per-task=8", "--mem=16384M", "--gres=gpu:2", "--time=90", "--nice=1000"})
    EXPECT_TRUE(has(said, argument)) << argument;
}

TEST(Sbatch, TakesWholeNodesWhenNothingSaysHowMuchOfThem) {
  const auto said = sbatch_arguments({"a1", "train", "ann", {}, 1, 0, 0, ""});
  EXPECT_TRUE(has(said, "--exclusive"));
  EXPECT_TRUE(has(said, "--mem=0"));
  EXPECT_TRUE(std::none_of(said.begin(), said.end(), [](const auto& one) { return one.starts_with("--time"); }));
}

TEST(Squeue, ShowsOnlyWhatIsOurs) {
  const auto entries = read_entries(
      "7\x1flathe:a1:ann\x1fPENDING\x1fResources\x1f\x1f"
      "2026-01-01T10:00:00\n"
      "8\x1f(null)\x1fRUNNING\x1fNone\x1fn1\x1fN/A\n");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].id, "7");
  EXPECT_EQ(entries[0].attempt, "a1");
  EXPECT_EQ(entries[0].reason, "Resources");
  EXPECT_EQ(entries[0].starts, "2026-01-01T10:00:00");
}

TEST(Commands, AControllerThatIsAwayIsNotARefusal) {
  const auto away = answered_by(
      "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)' >&2; "
      "exit 1");
  EXPECT_EQ(away.submit({}).error().code, Code::unavailable);
  const auto refused = answered_by("echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1").submit({});
  EXPECT_EQ(refused.error().code, Code::invalid);
  EXPECT_NE(refused.error().message.find("nowhere"), std::string::npos);
}

TEST(Commands, OneThatDoesNotAnswerIsGivenUp) {
  EXPECT_EQ(answered_by("sleep 60").queue().error().code, Code::unavailable);
}

TEST(Commands, TheScriptIsWhatSbatchReadsAndItsNumberIsAnswered) {
  Request request;
  request.script = "#!/bin/bash\necho hello\n";
  const auto id =
      answered_by("[ \"$(cat)\" = \"$(printf '#!/bin/bash\\necho hello')\" ] && echo '12;cluster'").submit(request);
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_EQ(*id, "12");
}

TEST(Commands, AUserWhomSudoRefusesIsSubmittedByTheService) {
  Settings settings;
  settings.as_user = true;
  settings.command = {"/bin/sh", "-c", "[ \"$1\" = sudo ] && echo 'sudo: a password is required' >&2 && exit 1; echo 5",
                      "--"};
  Request request;
  request.user = "ann";
  EXPECT_EQ(Commands(settings).submit(request).value_or(""), "5");
}

TEST(Scontrol, SaysHowLongTheControllerHasBeenRunning) {
  const auto slurm = answered_by(
      "printf 'Configuration data as of 2026-05-02T00:00:10\nAuthType                = auth/munge\n"
      "BOOT_TIME               = 2026-05-01T23:59:40\nBurstBufferType         = (null)\n'");
  EXPECT_EQ(slurm.controller_age().value_or(std::chrono::seconds{0}), std::chrono::seconds{30});
  EXPECT_FALSE(answered_by("echo nothing").controller_age());
}

TEST(Sacct, SaysHowJobsEndedThatSlurmHasForgotten) {
  const auto slurm = answered_by(
      "case $1 in sacct) printf '7\\037train\\037CANCELLED by 5\\037n1\\n8\\037other\\037FAILED\\037n1\\n"
      "9\\037eval\\037RUNNING\\037n2\\n';; *) echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1;; "
      "esac");
  const auto found = slurm.remembered({{"7", "a1", "train"}, {"8", "a2", "test"}, {"9", "a3", "eval"}});
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u) << "one has another's number, and one has not ended";
  EXPECT_EQ(found->front().attempt, "a1");
  EXPECT_EQ(found->front().state, "CANCELLED");
}

TEST(Sacct, KnowsByItsCommandWhatAnEarlierServerSubmitted) {
  const auto slurm = answered_by(
      "case \"$1 $*\" in sacct*--name=train*) printf '7\037sbatch --comment=lathe:k-1:ann "
      "--job-name=train\037CANCELLED by 5\037n1\n"
      "8\037sbatch --comment=lathe:k-2:ann --job-name=train\037FAILED\037n1\n';; *) exit 1;; esac");
  const auto found = slurm.remembered({{"", "k-2", "train"}});
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u) << "the other is an earlier attempt";
  EXPECT_EQ(found->front().id, "8");
  EXPECT_EQ(found->front().state, "FAILED");
}

TEST(Sacct, IsAskedOnlyWhereThereIsAccounting) {
  const auto slurm =
      answered_by("case $1 in sacct) echo 'Slurm accounting storage is disabled' >&2; exit 1;; *) exit 0;; esac");
  const auto found = slurm.remembered({{"7", "a1", "train"}});
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->empty());
}

TEST(Words, ReasonsAndStatesAreExplained) {
  EXPECT_EQ(reason_words("Resources"), "the nodes it needs are busy");
  EXPECT_NE(reason_words("QOSMaxJobsPerUserLimit").find("qos"), std::string::npos);
  EXPECT_NE(reason_words("SomethingNew").find("SomethingNew"), std::string::npos);
  EXPECT_EQ(node_state("idle"), "idle");
  EXPECT_EQ(node_state("idle~"), "off");
  EXPECT_EQ(node_state("idle#"), "preparing");
  EXPECT_EQ(node_state("mixed"), "running");
  EXPECT_EQ(node_state("idle%"), "leaving");
  EXPECT_EQ(node_state("down*"), "unusable");
  EXPECT_EQ(node_state("drained"), "unusable");
  EXPECT_TRUE(is_over("NODE_FAIL"));
  EXPECT_FALSE(is_over("RUNNING"));
}

TEST(Script, HoldsItsSecretsAndQuotesThem) {
  const auto script = batch_script({"http://h:1/api/v1/attempts/a", "it's", "", "http://h:1/p", "abc", "/scratch"});
  EXPECT_NE(script.find("export LATHE_ATTEMPT_TOKEN='it'\\''s'"), std::string::npos);
  EXPECT_TRUE(script.starts_with("#!/bin/bash\n"));
}

}  // namespace
}  // namespace lathe::slurm
