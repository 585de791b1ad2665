#include "jobs/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "jobs/mpi.h"

namespace lathe::jobs {
namespace {

namespace fs = std::filesystem;

/// Jobs of the user with the id 1 run as the account 700001, and so on: numbers that Debian leaves to administrators.
constexpr std::uint32_t kFirstAccount = 700'000;

/// Whether other accounts may pass through every folder on the way to `path`.
bool others_may_pass(const fs::path& path) {
  for (fs::path at = path; !at.empty() && at != at.parent_path(); at = at.parent_path()) {
    struct stat found {};
    if (::stat(at.c_str(), &found) == 0 && (found.st_mode & S_IXOTH) == 0) return false;
  }
  return true;
}

/// The folder "python" that holds the package lathe: beside the build tree or installed.
fs::path python_folder() {
  std::error_code error;
  const auto bin = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& candidate : {bin / "../../../python", bin / "../share/lathe/python"})
    if (fs::exists(candidate / "lathe/__init__.py", error)) return fs::weakly_canonical(candidate, error);
  return {};
}

/// Replaces a file at once for all readers, without waiting for the disk: it is made again at the next start if it is lost.
Result<void> replace_file(const fs::path& path, std::string_view content) {
  const auto beside = path.string() + ".new";
  const Fd file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
  if (!file) return fail(errno_error("cannot write " + path.string()));
  LATHE_CHECK(write_all(file.get(), content, path.string()));
  if (::rename(beside.c_str(), path.c_str()) != 0) return fail(errno_error("cannot write " + path.string()));
  return {};
}

Result<void> make_owned(const fs::path& folder, mode_t mode, std::optional<process::Account> owner) {
  if (::mkdir(folder.c_str(), mode) != 0 && errno != EEXIST) return fail(errno_error("cannot make " + folder.string()));
  if (owner && ::lchown(folder.c_str(), owner->uid, owner->gid) != 0) return fail(errno_error("cannot give away " + folder.string()));
  return {};
}

/// Copies what everybody may read: as much as a bind or a link to it would show.
Result<void> copy_public(const fs::path& from, const fs::path& to) {
  struct stat found {};
  if (::stat(from.c_str(), &found) != 0) return fail(errno_error("cannot read " + from.string()));
  const bool folder = S_ISDIR(found.st_mode);
  const mode_t needed = folder ? S_IROTH | S_IXOTH : S_IROTH;
  if ((found.st_mode & needed) != needed)
    return fail(Code::forbidden, fmt::format("{} cannot be read by the accounts that jobs run as: allow it with `chmod -R o+rX`", from.string()));
  std::error_code error;
  if (!folder) {
    fs::copy_file(from, to, error);
    if (error) return fail(Code::internal, fmt::format("cannot copy {}: {}", from.string(), error.message()));
    return {};
  }
  LATHE_CHECK(make_folder(to, 0755));
  for (const auto& entry : fs::directory_iterator(from, error))
    if (!entry.is_symlink()) LATHE_CHECK(copy_public(entry.path(), to / entry.path().filename()));
  return {};
}

}  // namespace

Result<std::unique_ptr<Launcher>> Launcher::open(Options options, const assets::BlobStore& blobs) {
  std::unique_ptr<Launcher> launcher(new Launcher(std::move(options), blobs));
  launcher->groups_ = process::probe();
  log::info("jobs: {}", launcher->groups_.sentence);
  LATHE_TRY(launcher->root_, make_root(launcher->options_.data, launcher->options_.data));
  LATHE_CHECK(launcher->set_up_shared());
  return launcher;
}

std::optional<process::Account> Launcher::account_of(std::int64_t user_id) {
  if (::geteuid() != 0) return std::nullopt;
  const auto number = kFirstAccount + static_cast<std::uint32_t>(user_id);
  return process::Account{number, number};
}

Result<fs::path> Launcher::make_root(const fs::path& data, const fs::path& at) {
  const auto wanted = at / "jobs";
  const bool as_root = ::geteuid() == 0;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(wanted, error)) && as_root && !others_may_pass(data)) {
    const auto outside = fs::path("/var/lib/lathe-jobs") / sha256_hex(data.string()).substr(0, 12);
    LATHE_CHECK(make_folder(outside, 0711));
    fs::create_directory_symlink(outside, wanted, error);
    if (error) return fail(Code::internal, fmt::format("cannot make the link {}: {}", wanted.string(), error.message()));
  }
  LATHE_CHECK(make_folder(wanted, as_root ? 0711 : 0700));
  return fs::canonical(wanted, error);
}

/// What every job may read: our Python packages, a program `python`, our certificate.
Result<void> Launcher::set_up_shared() {
  const auto shared = root_ / ".lathe";
  std::error_code error;
  LATHE_CHECK(make_folder(shared, 0755));
  LATHE_CHECK(make_folder(shared / "bin", 0755));
  LATHE_CHECK(make_folder(shared / "fetched", 0755));
  if (!fs::exists(fs::symlink_status(shared / "bin/python", error))) fs::create_symlink("/usr/bin/python3", shared / "bin/python", error);

  if (options_.images) {
    const auto shim = shared / "lathe-shim";
    LATHE_TRY(const auto program, read_file(process::shim_program()));
    if (read_file(shim).value_or("") != program) LATHE_CHECK(replace_file(shim, program));
    if (::chmod(shim.c_str(), 0755) != 0) return fail(errno_error("cannot change " + shim.string()));
  }

  const auto from = python_folder();
  if (from.empty()) {
    log::warn("the Python package lathe was not found beside this program: jobs cannot import it");
  } else {
    // Copied, since jobs' accounts may not be able to read where it is installed; by file, so that running jobs go on.
    LATHE_CHECK(make_folder(shared / "python", 0755));
    for (const auto& entry : fs::recursive_directory_iterator(from, error)) {
      const auto to = shared / "python" / entry.path().lexically_relative(from);
      if (entry.is_directory()) LATHE_CHECK(make_folder(to, 0755));
      if (entry.path().extension() != ".py") continue;
      LATHE_TRY(const auto text, read_file(entry.path()));
      if (read_file(to).value_or("") != text) LATHE_CHECK(replace_file(to, text));
    }
  }
  if (!options_.certificate.empty()) {
    LATHE_TRY(const auto text, read_file(options_.certificate));
    LATHE_CHECK(replace_file(shared / "certificate.pem", text));
  }
  return {};
}

fs::path Launcher::attempt_folder(const std::string& job, std::int64_t attempt) const { return root_ / job / fmt::format("attempt-{}", attempt); }
fs::path Launcher::checkpoint_folder(const std::string& job) const { return root_ / job / "checkpoint"; }
fs::path Launcher::work_folder(const std::string& job) const { return root_ / job / "work"; }
std::vector<fs::path> Launcher::node_folders(const Job& job, const Plan& plan) const {
  const auto attempt = attempt_folder(job.name, job.attempt);
  const auto nodes = plan.spread().nodes;
  if (nodes == 1) return {attempt};
  std::vector<fs::path> out;
  for (std::int64_t node = 0; node < nodes; ++node) out.push_back(attempt / fmt::format("node-{}", node));
  return out;
}

bool Launcher::let_go(const Job& job) const {
  std::error_code error;
  return fs::exists(gate(job), error);
}

std::string Launcher::job_of(const fs::path& shim_folder) const {
  return shim_folder.lexically_relative(root_).begin()->string();
}

Result<Launcher::Ready> Launcher::prepare(Launch launch) {
  process::Spec base;
  base.account = account_of(launch.user_id);
  const bool sandboxed = options_.sandboxed && options_.sandboxed(launch.job.compute);
  LATHE_TRY(launch.image, environments::image_in(launch.environment));
  const bool boxed = sandboxed || launch.image;
  LATHE_CHECK(lay_out(launch, base, boxed));

  // The nodes are slices of this machine, so they meet on its own address.
  const auto spread = launch.plan.spread();
  Meeting meeting;
  std::vector<Port> ports;
  if (!spread.single()) {
    LATHE_TRY(ports, lease_ports(ports_needed(spread)));
    for (const auto& port : ports) meeting.ports.push_back(port.number);
    for (const auto& node : launch.job.nodes) {
      meeting.names.push_back(node.name);
      meeting.addresses.emplace_back("127.0.0.1");
    }
    meeting.interface = "lo";
  }
  std::vector<process::Spec> specs;
  for (std::size_t node = 0; node < static_cast<std::size_t>(spread.nodes); ++node) {
    LATHE_TRY(auto spec, spec_of(launch, node, meeting, base, site_of(launch)));
    for (const auto& port : ports) spec.kept_open.push_back(port.lease.get());
    const bool network = !sandboxed || options_.network;
    if (!network) spec.env.emplace_back("LATHE_NO_NETWORK", "1");
    if (boxed) process::enter_sandbox(spec, sandbox_of(launch, node, network));
    specs.push_back(std::move(spec));
  }
  return Ready{std::move(launch), std::move(specs), std::move(ports)};
}

void Launcher::discard(const Job& job) {
  std::error_code ignored;
  fs::remove_all(work_folder(job.name), ignored);
  fs::remove_all(attempt_folder(job.name, job.attempt), ignored);
  drop_empty_checkpoint(job.name);
  fs::remove(root_ / job.name, ignored);  // unless an earlier attempt's log is there
}

void Launcher::drop_empty_checkpoint(const std::string& job) {
  std::error_code not_empty;
  fs::remove(checkpoint_folder(job), not_empty);
}

Launcher::Site Launcher::site_of(const Launch& launch) const {
  return {work_folder(launch.job.name), shared_folder(), fetched_folder(launch.user_id), options_.tracking_url};
}

Result<process::Spec> Launcher::spec_of(const Launch& launch, std::size_t node, const Meeting& meeting,
                                        const process::Spec& base, const Site& site) const {
  const Places places{site.work};
  const auto spread = launch.plan.spread();
  const auto number = static_cast<std::int64_t>(node);
  LATHE_TRY(auto command, fill_in(launch.plan.command, launch.plan, places));
  if (spread.type == "mpi")
    command = site.one_home ? mpi::script(spread, number, command, meeting.interface) : mpi::slurm_script(spread, number, command);

  // A job's file names the inputs that have to be fetched; the job's own process does it, with the job's rights. Of
  // several processes that share a home the first does it for all.
  std::string fetches;
  for (const auto& input : launch.plan.inputs)
    if (input.url)
      fetches += fmt::format("python3 -m lathe.fetch '{}' \"$LATHE_INPUT_URL_{}\" || exit 1\n",
                             places.input(input).string(), input.name);
  if (!fetches.empty() && launch.image)
    fetches.insert(0, "command -v python3 >/dev/null || { echo 'lathe: inputs from URLs are fetched by python3, which this image does not have' >&2; exit 1; }\n");
  const auto first = site.one_home ? 0 : rank_of(spread, number, 0);
  if (!fetches.empty() && !spread.single())
    fetches = fmt::format(
        "if [ \"${{LATHE_RANK:-{}}}\" = {} ]; then\n{}: > \"$HOME/inputs/.fetched\"\nfi\n"
        "until [ -e \"$HOME/inputs/.fetched\" ]; do sleep 0.1; done\n",
        site.one_home ? number : first, first, fetches);

  auto spec = base;
  spec.argv = {launch.image ? launch.image->shell : "/bin/bash", "-c", fetches + command};
  spec.env = environment(launch, node, site);
  if (!spread.single())
    for (auto& variable : node_variables(spread, number, meeting)) spec.env.push_back(std::move(variable));
  for (const auto& [name, value] : launch.plan.variables) {
    LATHE_TRY(auto filled, fill_in(value, launch.plan, places));
    spec.env.emplace_back(name, std::move(filled));
  }
  spec.ranks = ranks_on(spread, number, meeting);
  spec.cwd = places.code();
  spec.limits.cores = static_cast<double>(launch.room.cores);
  spec.limits.memory_bytes = static_cast<std::uint64_t>(launch.room.memory_bytes);
  if (launch.room.cores > 0)
    for (const int minor : compute::denied_minors(options_.gpus, launch.job.nodes[node].gpus))
      spec.denied_devices.push_back({process::kNvidiaMajor, static_cast<std::uint32_t>(minor)});
  spec.limits.pids = launch.room.cores > 0 ? 4096 : 0;
  spec.log_bytes = options_.log_bytes;
  spec.time_limit = std::chrono::seconds{launch.plan.timeout_s};
  return spec;
}

Result<void> Launcher::start(const Ready& ready) {
  const auto& [launch, specs, ports] = ready;
  const auto folders = node_folders(launch.job, launch.plan);
  if (folders.size() == 1) return process::start(folders.front(), specs.front(), groups_);
  std::vector<process::AtGate> waiting;
  for (std::size_t node = 0; node < folders.size(); ++node) {
    LATHE_CHECK(make_owned(folders[node], 0700, std::nullopt));
    auto shim = process::start_at_gate(folders[node], specs[node], groups_, gate(launch.job));
    if (!shim) {
      waiting.clear();  // the gate stays shut: they end without having run
      return fail_in("on the node " + launch.job.nodes[node].name, shim.error());
    }
    waiting.push_back(std::move(*shim));
  }
  const Fd opened{::open(gate(launch.job).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
  if (!opened) return fail(errno_error("cannot make " + gate(launch.job).string()));
  // From here on it is a job that runs: what cannot start on one node ends it as a rank's failure does.
  for (std::size_t node = 0; node < folders.size(); ++node)
    if (auto runs = waiting[node].open(); !runs)
      log::warn("a job's node could not start job={} node={} why={}", launch.job.name, launch.job.nodes[node].name,
                runs.error().message);
  return {};
}

process::Sandbox Launcher::sandbox_of(const Launch& launch, std::size_t node, bool network) const {
  const auto shared = root_ / ".lathe";
  process::Sandbox box;
  box.writable = {work_folder(launch.job.name), checkpoint_folder(launch.job.name)};
  box.temporary = work_folder(launch.job.name) / "tmp";
  box.network = network;
  box.gpus = launch.room.cores == 0 || !launch.job.nodes[node].gpus.empty();
  if (launch.room.cores > 0) box.hidden_gpus = compute::denied_minors(options_.gpus, launch.job.nodes[node].gpus);
  box.read_only = {{shared / "bin", shared / "bin"}, {shared / "python", shared / "python"}};
  if (!options_.certificate.empty()) box.read_only.push_back({shared / "certificate.pem", shared / "certificate.pem"});
  if (launch.image) {
    box.image = process::ImageRoot{launch.image->root, launch.image->env, {}};
    if (box.gpus && !options_.gpus.empty()) box.image->driver = process::gpu_driver();
    box.shim = shared / "lathe-shim";
  } else if (!launch.environment.empty()) {
    box.read_only.push_back({launch.environment, launch.environment});
  }
  const bool fetches = std::any_of(launch.plan.inputs.begin(), launch.plan.inputs.end(), [](const auto& input) { return input.url.has_value(); });
  if (fetches) box.writable.push_back(fetched_folder(launch.user_id));
  return box;
}

Result<void> Launcher::lay_out(const Launch& launch, process::Spec& spec, bool boxed) {
  const auto folder = root_ / launch.job.name;
  const auto work = work_folder(launch.job.name);
  const Places places{work};
  LATHE_CHECK(make_owned(folder, 0711, std::nullopt));
  if (launch.job.attempt > 1) {  // what an earlier attempt laid out before it could start its process
    std::error_code error;
    fs::remove_all(work, error);
    if (error) return fail(Code::internal, fmt::format("cannot clear {}: {}", work.string(), error.message()));
  }
  LATHE_CHECK(make_owned(attempt_folder(launch.job.name, launch.job.attempt), 0700, std::nullopt));
  // Given away last: until then nothing of this user's other jobs can come in here and put links in our way.
  LATHE_CHECK(make_owned(work, 0700, std::nullopt));
  LATHE_CHECK(make_owned(checkpoint_folder(launch.job.name), 0700, spec.account));
  for (const char* part : {"code", "tmp"}) LATHE_CHECK(make_owned(work / part, 0755, spec.account));
  if (!launch.plan.inputs.empty()) LATHE_CHECK(make_owned(work / "inputs", 0755, spec.account));
  if (!launch.plan.outputs.empty()) LATHE_CHECK(make_owned(work / "outputs", 0755, spec.account));
  for (std::int64_t node = 0; launch.plan.spread().nodes > 1 && node < launch.plan.spread().nodes; ++node)
    LATHE_CHECK(make_owned(work / "tmp" / fmt::format("node-{}", node), 0755, spec.account));
  for (const auto& output : launch.plan.outputs) LATHE_CHECK(make_owned(places.output(output.name), 0755, spec.account));

  // What this user's jobs fetched from URLs is kept for the next ones.
  const bool fetches = std::any_of(launch.plan.inputs.begin(), launch.plan.inputs.end(), [](const auto& input) { return input.url.has_value(); });
  if (fetches) LATHE_CHECK(make_owned(fetched_folder(launch.user_id), 0700, spec.account));

  std::optional<assets::BlobStore::Owner> owner;
  if (spec.account) owner = assets::BlobStore::Owner{spec.account->uid, spec.account->gid};
  if (launch.plan.code) LATHE_CHECK(blobs_.copy_out(*launch.plan.code, places.code(), owner));

  for (const auto& input : launch.plan.inputs) {
    if (input.literal) continue;
    const auto target = places.input(input);
    LATHE_CHECK(make_owned(work / "inputs" / input.name, 0755, spec.account));
    if (input.url) continue;
    if (boxed || process::can_bind()) {
      if (!input.folder) {
        const Fd made{::open(target.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644)};
        if (!made) return fail(errno_error("cannot make " + target.string()));
      }
      spec.binds.push_back({*input.path, target});
    } else if (spec.account && !others_may_pass(fs::path(*input.path).parent_path())) {
      LATHE_CHECK(copy_public(*input.path, target));
    } else {
      std::error_code error;
      fs::remove(target, error);
      fs::create_symlink(*input.path, target, error);
      if (error) return fail(Code::internal, fmt::format("cannot link the input {}: {}", input.name, error.message()));
    }
  }
  return make_owned(work, 0700, spec.account);
}

std::string Launcher::path_of(const Launch& launch, const fs::path& ours) {
  const std::string system = "/usr/local/bin:/usr/bin:/bin";
  if (!launch.image) return (launch.environment.empty() ? "" : (launch.environment / "python/bin").string() + ":") + ours.string() + ":" + system;
  // Its own Python goes before ours, which is a link to where a Debian has it.
  for (const auto& [name, value] : launch.image->env)
    if (name == "PATH" && !value.empty()) return value + ":" + ours.string();
  return "/usr/local/sbin:/usr/sbin:/sbin:" + system + ":" + ours.string();
}

Variables Launcher::environment(const Launch& launch, std::size_t node, const Site& site) const {
  const auto& work = site.work;
  const auto& shared = site.shared;
  const auto user = "lathe-" + launch.job.created_by;
  const auto spread = launch.plan.spread();
  const auto& given = launch.job.nodes[node];
  std::vector<std::pair<std::string, std::string>> out = {
      {"PATH", path_of(launch, shared / "bin")},
      {"HOME", work.string()},
      {"TMPDIR", (spread.nodes > 1 && site.one_home ? work / "tmp" / fmt::format("node-{}", node) : work / "tmp").string()},
      {"USER", user},
      {"LOGNAME", user},
      {"SHELL", "/bin/bash"},  // or bash looks the account up, which takes it half a millisecond
      {"LANG", "C.UTF-8"},
      {"PYTHONUNBUFFERED", "1"},
      {"PYTHONPATH", (shared / "python").string()},
      {"MLFLOW_TRACKING_URI", site.url},
      {"MLFLOW_TRACKING_TOKEN", launch.token},
      {"MLFLOW_RUN_ID", launch.job.name},
      {"MLFLOW_EXPERIMENT_ID", std::to_string(launch.job.experiment_id)},
      {"MLFLOW_EXPERIMENT_NAME", launch.job.experiment_name},
      {"AZUREML_RUN_ID", launch.job.name},
      {"AZUREML_RUN_TOKEN", launch.token},
      {"AZUREML_EXPERIMENT_ID", std::to_string(launch.job.experiment_id)},
      {"AZUREML_ARM_PROJECT_NAME", launch.job.experiment_name},
      {"AZUREML_CR_NODE_RANK", std::to_string(node)},
      {"LATHE_URL", site.url},
      {"LATHE_JOB", launch.job.name},
      {"LATHE_NODE", given.name},
  };
  const auto checkpoint = site.one_home ? checkpoint_folder(launch.job.name) : work.parent_path() / "checkpoint";
  out.emplace_back("LATHE_CHECKPOINT_DIR", checkpoint.string());
  if (!options_.certificate.empty()) {
    out.emplace_back("MLFLOW_TRACKING_SERVER_CERT_PATH", (shared / "certificate.pem").string());
    out.emplace_back("REQUESTS_CA_BUNDLE", (shared / "certificate.pem").string());
  }
  if (!launch.environment.empty() && !launch.image) {
    const bool conda = launch.plan.environment_recipe && launch.plan.environment_recipe->manager == "conda";
    out.emplace_back(conda ? "CONDA_PREFIX" : "VIRTUAL_ENV", (launch.environment / "python").string());
  }
  if (launch.room.cores > 0) {
    const auto processes = processes_on(spread, static_cast<std::int64_t>(node));
    out.emplace_back("OMP_NUM_THREADS", std::to_string(std::max<std::int64_t>(launch.room.cores / processes, 1)));
    for (auto& variable : compute::gpu_environment(options_.gpus, given.gpus)) out.push_back(std::move(variable));
  }
  for (const auto& input : launch.plan.inputs) {
    if (input.url) out.emplace_back("LATHE_INPUT_URL_" + input.name, *input.url);
    if (!input.literal) out.emplace_back("AZURE_ML_INPUT_" + input.name, Places{work}.input(input).string());
  }
  out.emplace_back("LATHE_FETCHED", site.fetched.string());
  for (const auto& output : launch.plan.outputs) out.emplace_back("AZURE_ML_OUTPUT_" + output.name, Places{work}.output(output.name).string());
  return out;
}

}  // namespace lathe::jobs
