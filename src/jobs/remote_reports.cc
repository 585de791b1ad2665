// What the nodes of remote jobs tell and ask.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>

#include "assets/file_response.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "http/file_response.h"
#include "jobs/manifest.h"
#include "jobs/remote.h"
#include "json/fields.h"
#include "process/log_append.h"
#include "tracking/tracking.h"

namespace lathe::json {

template <>
struct Fields<jobs::RemoteNode> {
  static constexpr std::string_view name = "RemoteNode";
  using T = jobs::RemoteNode;
  static constexpr auto list =
      std::tuple{field("instance", &T::instance), field("host", &T::host),           field("folder", &T::folder),
                 field("address", &T::address),   field("interface", &T::interface), field("ports", &T::ports)};
};

}  // namespace lathe::json

namespace lathe::jobs {
namespace {

constexpr std::size_t kMostRecord = std::size_t{64} << 10;
constexpr std::size_t kMostLogs = 256;  // of one node
constexpr std::string_view kPackages = "python/";
constexpr std::string_view kCheckpoint = "checkpoint/";
constexpr std::uint64_t kMostCheckpoint = std::uint64_t{16} << 30;
constexpr auto kOthersGrace = std::chrono::milliseconds{3'000};

auto superseded() {
  return fail(
      Code::conflict,
      "another attempt to run this job took this one's place, or the job has ended: nothing of it is wanted any more");
}

/// Whether a path that a node names is one of those that a job may leave.
bool is_output(std::string_view path) {
  if (!path.starts_with("work/outputs/") && !path.starts_with("work/code/outputs/") &&
      !path.starts_with("work/code/logs/") && !path.starts_with(kCheckpoint))
    return false;
  const auto parts = split(path, '/');
  return std::none_of(parts.begin(), parts.end(),
                      [](auto part) { return part.empty() || part == "." || part == ".."; }) &&
         path.find('\0') == std::string_view::npos;
}

/// How many logs a job has, which share the room for them.
std::uint64_t logs_of(const Distribution& spread) {
  return static_cast<std::uint64_t>(spread.type == "mpi" ? spread.nodes : std::max(spread.nodes, spread.processes()));
}

std::string reason_of(const json::Object& record) {
  return json::get_string(record, "reason").value_or("").value_or("");
}

bool succeeded(const json::Object& record) {
  return reason_of(record) == "exited" && json::get_int(record, "code").value_or(1).value_or(1) == 0;
}

}  // namespace

Result<RemoteJobs::LivePtr> RemoteJobs::find(const Caller& caller) const {
  LivePtr live;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_attempt_.find(caller.attempt);
    if (found == by_attempt_.end()) return superseded();
    live = found->second;
  }
  if (!equal_secrets(sha256_hex(caller.token), live->row.token_hash))
    return fail(Code::unauthenticated, "this is not the token of the attempt");
  return live;
}

/// Also that the caller is the one that claimed the node.
Result<RemoteJobs::LivePtr> RemoteJobs::find_node(const Caller& caller) const {
  LATHE_TRY(auto live, find(caller));
  const std::lock_guard lock(live->mutex);
  const auto node = static_cast<std::size_t>(caller.node);
  if (live->over || node >= live->nodes.size() || !live->nodes[node].claimed ||
      live->nodes[node].about.instance != caller.instance)
    return superseded();
  live->nodes[node].heard = Clock::now();
  return live;
}

std::filesystem::path RemoteJobs::node_folder(const Live& live, std::size_t node) const {
  auto job = live.job;
  job.attempt = live.row.attempt;
  return launcher_.node_folders(job, live.plan)[node];
}

/// So that the folder reads as that of a job whose shim is not here: lost, unless exit.json says how it ended.
Result<void> RemoteJobs::make_attempt_folder(const Live& live) const {
  const auto work = launcher_.work_folder(live.job.name);
  std::error_code error;
  std::filesystem::remove_all(work, error);  // of an earlier attempt
  LATHE_CHECK(make_folder(work, 0700));
  drop_parts(live.job.name);
  for (const auto& output : live.plan.outputs) LATHE_CHECK(make_folder(work / "outputs" / output.name, 0700));
  for (std::size_t node = 0; node < live.nodes.size(); ++node) {
    LATHE_CHECK(make_folder(node_folder(live, node), 0700));
    LATHE_CHECK(write_file(node_folder(live, node) / "spec",
                           std::string_view("note=it runs on a node of the cluster\0end=\0", 43)));
    LATHE_CHECK(write_file(node_folder(live, node) / "lock", ""));
  }
  return {};
}

/// Removes what came of files whose rest will not come any more.
void RemoteJobs::drop_parts(const std::string& job) const {
  std::error_code error;
  for (std::int64_t attempt = 1;; ++attempt) {
    const auto folder = launcher_.attempt_folder(job, attempt);
    if (!std::filesystem::exists(folder, error)) break;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
      if (entry.path().filename().string().starts_with("upload-")) std::filesystem::remove(entry.path(), error);
  }
}

/// What an earlier server was told by the attempt's nodes.
void RemoteJobs::recall_nodes(Live& live) const {
  const auto value = json::parse(live.row.nodes_json);
  auto nodes = value ? json::from_json<std::vector<RemoteNode>>(*value) : Result<std::vector<RemoteNode>>{};
  if (!nodes || nodes->size() != live.nodes.size()) return;
  live.begun = true;
  for (std::size_t i = 0; i < live.nodes.size(); ++i) {
    auto& node = live.nodes[i];
    node.about = std::move((*nodes)[i]);
    node.claimed = true;
    node.ready = live.running;
    node.heard = Clock::now();
    const auto ended = read_file(node_folder(live, i) / "end.json");
    if (!ended) continue;
    take_end(live, i, *ended, read_file(node_folder(live, i) / "problem").value_or(""));
  }
}

/// The job leaves the queue: all its nodes are there.
Result<void> RemoteJobs::began(Live& live) {
  LATHE_CHECK(make_attempt_folder(live));
  auto row = live.row;
  std::vector<RemoteNode> nodes;
  for (const auto& node : live.nodes) nodes.push_back(node.about);
  row.nodes_json = json::print(json::to_json(nodes));
  auto job = live.job;
  std::string token;
  LATHE_TRY(const bool moved, db_.write([&](db::Connection& c) -> Result<bool> {
    LATHE_TRY(job, find_job(c, job.name));
    const auto to = next(job.state, Event::placed);
    if (!to || job.attempt != row.attempt) return false;
    job.prepared = now();
    job.nodes.clear();
    for (const auto& node : live.nodes) job.nodes.push_back({node.about.host, {}});
    LATHE_TRY(const bool placed, move_job(c, job, *to));
    if (!placed) return false;
    LATHE_CHECK(update_remote(c, row));
    LATHE_CHECK(auth_.revoke_job_token(c, job.name));
    LATHE_TRY(token, auth_.issue_job_token(c, job.created_by, job.name));
    job.state = *to;
    return true;
  }));
  if (!moved) return superseded();
  live.job = job;
  live.row.nodes_json = row.nodes_json;  // the rest is as it was, and read without the lock
  live.job_token = token;
  live.begun = true;
  return {};
}

Result<std::string> RemoteJobs::claim(const Caller& caller, const RemoteNode& about, std::size_t nodes) {
  LATHE_TRY(const auto live, find(caller));
  std::unique_lock lock(live->mutex);
  const auto number = static_cast<std::size_t>(caller.node);
  if (live->over || live->cancelled) return superseded();
  if (nodes != live->nodes.size() || number >= nodes)
    return fail(Code::invalid,
                fmt::format("the job asked for {} nodes, and Slurm gave it {}", live->nodes.size(), nodes));
  auto& node = live->nodes[number];
  if ((node.claimed && node.about.instance != about.instance) || node.ended) return superseded();
  node.claimed = true;
  node.heard = Clock::now();
  if (!live->begun) {
    node.about = about;
    if (!std::all_of(live->nodes.begin(), live->nodes.end(), [](const Node& one) { return one.claimed; }))
      return std::string();
    LATHE_CHECK(began(*live));
    log::info("its nodes are there job={} attempt={}", live->job.name, live->row.attempt);
  }
  if (live->job_token.empty())  // this server was restarted meanwhile
    LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
      LATHE_TRY(live->job_token, auth_.issue_job_token(c, live->job.created_by, live->job.name));
      return {};
    }));
  ManifestInput input{live->job,    live->plan,      live->user_id, live->job_token,       caller.node,      {},
                      options_.url, options_.shared, options_.beat, options_.environments, options_.packages};
  for (const auto& one : live->nodes) input.nodes.push_back(one.about);
  const auto job = live->job.name;
  lock.unlock();
  hooks_.changed(job);
  return make_manifest(launcher_, input);
}

Result<void> RemoteJobs::runs(Live& live) {
  auto job = live.job;
  LATHE_CHECK(db_.write([&](db::Connection& c) -> Result<void> {
    LATHE_TRY(job, find_job(c, job.name));
    if (job.state != State::preparing) return {};
    job.started = now();
    job.user_code = job.started;
    LATHE_CHECK(move_job(c, job, State::running));
    return tracking::set_run_status(c, job.name, tracking::RunStatus::running, std::nullopt);
  }));
  live.running = true;
  return {};
}

Result<std::string> RemoteJobs::report(const Caller& caller, const Report& report) {
  LATHE_TRY(const auto live, find_node(caller));
  if (report.log >= kMostLogs) return fail(Code::invalid, "log: a node has at most 256 logs");
  std::unique_lock lock(live->mutex);
  const auto number = static_cast<std::size_t>(caller.node);
  auto& node = live->nodes[number];
  auto folder = node_folder(*live, number);
  if (report.log > 0) {
    folder = process::rank_folder(folder, report.log);
    LATHE_CHECK(make_folder(folder, 0700));
  }
  LATHE_TRY(const auto have, process::append_log(folder, report.offset, report.bytes,
                                                 launcher_.log_bytes() / logs_of(live->plan.spread())));
  if (report.state == "ready") node.ready = true;
  const bool start = std::all_of(live->nodes.begin(), live->nodes.end(), [](const Node& one) { return one.ready; });
  bool change = false;
  if (report.state == "running" && !live->running) {
    LATHE_CHECK(runs(*live));
    change = true;
  }
  auto out = fmt::format("log={}\nstart={}\n", have, start ? 1 : 0);
  if (live->stop_since) out += fmt::format("stop={}\n", live->grace.count());
  const auto job = live->job.name;
  lock.unlock();
  if (change) hooks_.changed(job);
  return out;
}

Result<std::string> RemoteJobs::output(const Caller& caller, const Piece& piece) {
  LATHE_TRY(const auto live, find_node(caller));
  if (!is_output(piece.path))
    return fail(Code::invalid,
                "a job leaves files below work/outputs/, work/code/outputs/, work/code/logs/ and checkpoint/, not " +
                    printable(piece.path));
  if (piece.offset + piece.bytes.size() > piece.size)
    return fail(Code::invalid, "offset: the piece goes past the file's size");
  if (sha256_hex(piece.bytes) != piece.sha256)
    return fail(Code::unavailable, "the piece did not arrive whole: send it again");
  const std::lock_guard lock(live->mutex);
  if (live->over) return superseded();
  const auto target = launcher_.work_folder(live->job.name).parent_path() / piece.path;
  LATHE_CHECK(check_room(*live, piece, target));
  // Nodes may leave files of the same name: the last one that is whole stays.
  const auto part = launcher_.attempt_folder(live->job.name, live->row.attempt) /
                    fmt::format("upload-{}-{}", caller.node, sha256_hex(piece.path).substr(0, 32));
  // A file that changed while it was sent begins anew.
  const Fd file{::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (piece.offset == 0 ? O_TRUNC : 0), 0600)};
  struct stat found {};
  if (!file || ::fstat(file.get(), &found) != 0) return fail(errno_error("cannot write an output"));
  auto have = static_cast<std::uint64_t>(found.st_size);
  if (piece.offset != have) return fmt::format("have={}\ndone=0\n", have);
  ::lseek(file.get(), 0, SEEK_END);
  LATHE_CHECK(write_all(file.get(), piece.bytes, "an output"));
  have += piece.bytes.size();
  if (have < piece.size) return fmt::format("have={}\ndone=0\n", have);
  LATHE_CHECK(make_folder(target.parent_path(), 0700));
  if (::fsync(file.get()) != 0 || ::rename(part.c_str(), target.c_str()) != 0)
    return fail(errno_error("cannot keep an output"));
  return fmt::format("have={}\ndone=1\n", have);
}

/// Whether there may be another attempt.
bool RemoteJobs::may_go_on(const Live& live) {
  return !live.cancelled && (!live.decided || live.nodes[*live.decided].stopped);
}

/// Errors: `invalid` — the file cannot be kept, whenever it is sent again.
Result<void> RemoteJobs::check_room(Live& live, const Piece& piece, const std::filesystem::path& target) const {
  namespace fs = std::filesystem;
  std::error_code error;
  const auto job = launcher_.work_folder(live.job.name).parent_path();
  bool blocked = fs::is_directory(target, error);
  for (auto at = target.parent_path(); at != job && !blocked; at = at.parent_path())
    blocked = fs::exists(at, error) && !fs::is_directory(at, error);
  if (blocked) return fail(Code::invalid, "there is a folder in the place of a file, or the other way round");
  if (!piece.path.starts_with(kCheckpoint)) return {};
  if (!may_go_on(live)) return fail(Code::invalid, "there will be no other attempt");
  if (piece.offset > 0) return {};
  std::uint64_t kept = piece.size;
  const auto folder = launcher_.checkpoint_folder(live.job.name);
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored) && it->path() != target) kept += it->file_size(ignored);
  }
  if (kept <= kMostCheckpoint) return {};
  live.not_kept = fmt::format("{} is not kept for another attempt: the checkpoint folder may have {} GiB in all",
                              printable(piece.path), kMostCheckpoint >> 30);
  return fail(Code::invalid, live.not_kept);
}

Result<void> RemoteJobs::drop(const Caller& caller, const std::string& path) {
  LATHE_TRY(const auto live, find_node(caller));
  if (!is_output(path) || !path.starts_with(kCheckpoint))
    return fail(Code::invalid, "a job takes back files below checkpoint/ alone, not " + printable(path));
  const std::lock_guard lock(live->mutex);
  if (live->over) return superseded();
  std::error_code error;
  std::filesystem::remove(launcher_.work_folder(live->job.name).parent_path() / path, error);
  if (error) return fail(Code::invalid, fmt::format("cannot remove {}: {}", printable(path), error.message()));
  return {};
}

void RemoteJobs::take_end(Live& live, std::size_t number, const std::string& record, const std::string& problem) const {
  auto& node = live.nodes[number];
  node.ended = true;
  node.record = record;
  node.problem = problem;
  const auto parsed = json::parse_object(record);
  node.stopped = parsed && reason_of(*parsed) == "stopped" && problem.empty();
  node.succeeded = parsed && succeeded(*parsed) && problem.empty();
  if (!node.succeeded && !live.decided && !live.stop_since) live.decided = number;
}

Result<void> RemoteJobs::end(const Caller& caller, const std::string& record, const std::string& problem) {
  LATHE_TRY(const auto live, find_node(caller));
  if (record.size() > kMostRecord) return fail(Code::invalid, "the record of the end is too long");
  if (auto parsed = json::parse_object(record); !parsed)
    return fail(Code::invalid, "the record of the end is no JSON object");
  const auto number = static_cast<std::size_t>(caller.node);
  {
    const std::lock_guard lock(live->mutex);
    const auto folder = node_folder(*live, number);
    if (!problem.empty()) LATHE_CHECK(write_file(folder / "problem", problem));
    LATHE_CHECK(write_file(folder / "end.json", record));
    take_end(*live, number, record, problem);
    const bool others =
        std::any_of(live->nodes.begin(), live->nodes.end(), [](const Node& node) { return !node.ended; });
    if (others && (live->decided || waits_for_nobody(*live))) ask_to_stop(*live, kOthersGrace);
  }
  {
    const std::lock_guard lock(mutex_);
    looking_ = true;
  }
  look_.notify_one();
  return {};
}

Result<http::Response> RemoteJobs::content(const Caller& caller, const std::string& path) {
  LATHE_TRY(const auto live, find(caller));
  const auto slash = path.find('/');
  const auto kind = path.substr(0, slash);
  const auto rest = slash == std::string::npos ? "" : path.substr(slash + 1);
  const auto name = rest.substr(rest.rfind('/') + 1);
  if (kind == "blob") {
    if (!assets::is_digest(rest) || !launcher_.blobs().has(rest))
      return fail(Code::not_found, "no blob " + printable(rest) + " is stored here");
    return assets::file_response(launcher_.blobs().path_of(rest), rest);
  }
  if (kind == "shared" && (rest == "certificate.pem" || rest.starts_with(kPackages))) {  // not what users fetched
    const bool package = rest.starts_with(kPackages);
    LATHE_TRY(auto file, open_beneath(package ? launcher_.shared_folder() / kPackages : launcher_.shared_folder(),
                                      package ? rest.substr(kPackages.size()) : rest, O_RDONLY | O_CLOEXEC));
    return http::file_response(std::move(file), name, std::nullopt);
  }
  if (kind == "checkpoint") {
    LATHE_TRY(auto file, open_beneath(launcher_.checkpoint_folder(live->job.name), rest, O_RDONLY | O_CLOEXEC));
    return http::file_response(std::move(file), name, std::nullopt);
  }
  if (kind == "input") {
    const auto input_name = rest.substr(0, rest.find('/'));
    const auto below = rest.size() > input_name.size() ? rest.substr(input_name.size() + 1) : "";
    const auto input = std::find_if(live->plan.inputs.begin(), live->plan.inputs.end(),
                                    [&](const auto& one) { return one.name == input_name; });
    if (input != live->plan.inputs.end() && input->path) {
      if (!input->folder) return assets::file_response(*input->path, name);
      LATHE_TRY(auto file, open_beneath(*input->path, below, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      return http::file_response(std::move(file), name, std::nullopt);
    }
  }
  return fail(Code::not_found, "the job needs no " + printable(path));
}

Result<http::Response> RemoteJobs::program(const std::string& sha256) {
  if (sha256 != options_.program_sha256) return fail(Code::not_found, "this server has another lathe-remote by now");
  return assets::file_response(options_.program, "lathe-remote");
}

}  // namespace lathe::jobs
