#include "jobs/mpi.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "base/file.h"
#include "base/held_folder.h"
#include "base/text.h"

namespace lathe::jobs::mpi {
namespace {

constexpr std::string_view kFolder = ".mpi";  ///< below the work folder

/// A name that no name service knows, so that mpirun takes the node for another machine.
std::string name_of_node(std::int64_t node) {
  return fmt::format("lathe-node-{}", node);
}

// What each rank runs: the command, and a note if it fails. Shared memory between the ranks of one node only.
constexpr std::string_view kRank =
    "export OMPI_MCA_btl_vader_backing_directory=\"$TMPDIR\"\n"
    "/bin/bash -c \"$1\"\n"
    "code=$?\n"
    "[ $code = 0 ] || echo \"$EPOCHREALTIME $code\" > \"$HOME/.mpi/rank-$OMPI_COMM_WORLD_RANK\"\n"
    "exit $code\n";

constexpr std::string_view kAgent =
    "mkdir -p \"$HOME/.mpi\"\n"
    "cat > \"$TMPDIR/agent\" <<'END'\n"
    "#!/bin/bash\n"
    "node=$1\n"
    "shift\n"
    "until [ -p \"$HOME/.mpi/$node\" ]; do sleep 0.02; done\n"
    "printf '%s\\n' \"$*\" > \"$HOME/.mpi/$node\"\n"
    "END\n"
    "chmod +x \"$TMPDIR/agent\"\n";

}  // namespace

std::string script(const Distribution& distribution, std::int64_t node, const std::string& command,
                   const std::string& interface) {
  if (node > 0)
    return fmt::format(
        "mkdir -p \"$HOME/.mpi\" && mkfifo \"$HOME/.mpi/{0}\" || exit 1\n"
        "read -r line < \"$HOME/.mpi/{0}\"\n"
        "exec /bin/bash -c \"exec $line\"\n",
        name_of_node(node));
  std::string hosts = fmt::format("localhost:{}", distribution.processes_per_node);
  for (std::int64_t other = 1; other < distribution.nodes; ++other)
    hosts += fmt::format(",{}:{}", name_of_node(other), distribution.processes_per_node);
  std::string over;
  if (!interface.empty()) over = fmt::format(" --mca oob_tcp_if_include {0} --mca btl_tcp_if_include {0}", interface);
  // The daemons stay in the foreground: they are their nodes' processes. Slices share cores, so that waiting ranks
  // yield.
  return fmt::format(
      "{}export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n"
      "exec mpirun -np {} --host {} --map-by slot --bind-to none --oversubscribe --leave-session-attached"
      " --mca plm rsh --mca plm_rsh_agent \"$TMPDIR/agent\" --mca plm_rsh_no_tree_spawn 1{}"
      " --merge-stderr-to-stdout --output-filename \"$HOME/.mpi/log\" /bin/bash -c {} rank {}\n",
      kAgent, distribution.processes(), hosts, over, shell_word(kRank), shell_word(command));
}

std::string slurm_script(const Distribution& distribution, std::int64_t node, const std::string& command) {
  if (node > 0) return "trap 'exit 0' TERM\nsleep infinity &\nwait\n";
  // Each rank begins with the variables of this process, but is where its daemon is.
  constexpr std::string_view kThere =
      "export LATHE_NODE=$SLURMD_NODENAME AZUREML_CR_NODE_RANK=$SLURM_NODEID NODE_RANK=$SLURM_NODEID\nexec /bin/bash -c \"$1\"";
  return fmt::format(
      "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 SLURM_OVERLAP=1 SLURM_MPI_TYPE=none\n"
      "unset SLURM_STEP_ID SLURM_STEPID SLURM_STEP_NODELIST SLURM_STEP_NUM_NODES SLURM_STEP_NUM_TASKS SLURM_STEP_TASKS_PER_NODE SLURM_PROCID"
      " SLURM_LOCALID SLURM_NODEID\n"
      "exec mpirun -np {} --map-by ppr:{}:node --bind-to none --oversubscribe --mca plm slurm --mca ras slurm"
      " --mca plm_slurm_args --overlap /bin/bash -c {} rank {}\n",
      distribution.processes(), distribution.processes_per_node, shell_word(kThere), shell_word(command));
}

std::optional<Failure> first_failure(const std::filesystem::path& work) {
  const auto held = open_folder(work, kFolder);
  if (!held) return std::nullopt;
  std::optional<Failure> found;
  double earliest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_of(*held), error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with("rank-")) continue;
    const auto file = open_beneath(path_of(*held), name, O_RDONLY | O_NONBLOCK);
    char text[64] = {};
    double at = 0;
    Failure failure{std::atoll(name.c_str() + 5), 0};
    if (!file || ::pread(file->get(), text, sizeof text - 1, 0) <= 0 ||
        std::sscanf(text, "%lf %d", &at, &failure.code) != 2)
      continue;
    if (found && at >= earliest) continue;
    found = failure;
    earliest = at;
  }
  return found;
}

std::string log_file(const Distribution& distribution, std::int64_t rank) {
  const auto digits = std::to_string(distribution.processes()).size();
  return fmt::format("{}/log/1/rank.{:0{}}/stdout", kFolder, rank, digits);
}

}  // namespace lathe::jobs::mpi
