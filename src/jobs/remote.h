#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "auth/auth.h"
#include "compute/engine.h"
#include "db/db.h"
#include "http/http.h"
#include "jobs/job_store.h"
#include "jobs/launcher.h"
#include "jobs/plan.h"
#include "jobs/remote_store.h"

/// Jobs that an engine runs on machines that share no folder with this server. docs/remote-protocol.md says what their
/// nodes and this server tell each other.
namespace lathe::jobs {

/// A node of a job as it introduced itself.
struct RemoteNode {
  std::string instance;  ///< a random name of the program there: a second one for the same attempt is sent away
  std::string host;
  std::string folder;      ///< of the attempt, on the node
  std::string address;     ///< by which other nodes reach it
  std::string interface;   ///< of the network that has the address
  std::vector<int> ports;  ///< free there
};

/// What nodes need to know of this server, and how patient it is with them.
struct RemoteOptions {
  std::string url;  ///< by which nodes reach this server, without a slash at the end
  /// What the engine runs on the first node for an attempt.
  std::function<std::string(const std::string& url, const std::string& attempt, const std::string& token)> script;
  std::vector<std::filesystem::path> shared;  ///< folders that nodes see under the same names
  std::filesystem::path program;              ///< lathe-remote, and its digest
  std::string program_sha256;
  std::filesystem::path environments;       ///< where nodes keep them; empty: where their jobs' files are
  Variables packages;                       ///< where pip finds what it installs there: PIP_...
  std::chrono::milliseconds beat{10'000};   ///< between reports of a job that prints nothing
  std::chrono::milliseconds lease{40'000};  ///< after which a silent job may be lost
};

class RemoteJobs {
 public:
  /// What this needs of the other jobs. Each is called without a lock held.
  struct Hooks {
    std::function<void(const std::string& job)> changed;
    /// The job's folder says how it ended.
    std::function<void(const std::string& job)> finish;
    /// It never began, and will not.
    std::function<void(const std::string& job, Event event, const std::string& why)> end;
  };

  RemoteJobs(db::Database& db, auth::Auth& auth, compute::Engine& engine, Launcher& launcher, RemoteOptions options,
             Hooks hooks);
  ~RemoteJobs();

  /// By which nodes reach this server. Before `start` and the first job.
  void set_url(std::string url) { options_.url = std::move(url); }

  /// Errors: `invalid` — such a job could never run there, with the reason.
  Result<void> check(const std::string& target, const Plan& plan) const;
  /// Within the transaction that makes the job: answers what `submit` is given.
  Result<RemoteRow> prepare(db::Connection& c, const std::string& job, std::string& token);
  void submit(const Job& job, const Plan& plan, std::int64_t user_id, const RemoteRow& row, const std::string& token);
  /// Takes up a job that an earlier server left.
  Result<void> take_up(const Job& job, const Plan& plan, std::int64_t user_id);
  /// Starts to look after them, once all were taken up.
  void start();
  /// The job is cancelled in the store: what there is of it ends.
  void cancel(const std::string& job);
  /// The job has ended in the store.
  void ended(const std::string& job);

  /// What it waits for; empty when it is none of ours or does not wait.
  std::string waiting_for(const std::string& job) const;
  /// What is not as it should be with a job that runs; empty: nothing.
  std::string notice(const std::string& job) const;

  // --- what nodes ask; all answer `conflict` when another attempt has taken this one's place ---
  struct Caller {
    std::string attempt;
    std::string token;
    std::int64_t node = 0;
    std::string instance;
  };
  /// The manifest; empty: the other nodes have not come yet, ask again soon.
  Result<std::string> claim(const Caller& caller, const RemoteNode& about, std::size_t nodes);
  struct Report {
    std::string state;    ///< preparing, ready, running
    std::size_t log = 0;  ///< which of the node's logs the bytes belong to
    std::uint64_t offset = 0;
    std::string_view bytes;
  };
  /// Records "key=value", one a line: log (how many bytes are here), start, stop (the grace in milliseconds).
  Result<std::string> report(const Caller& caller, const Report& report);
  struct Piece {
    std::string path;  ///< work/outputs/NAME/..., work/code/outputs/..., work/code/logs/... or checkpoint/...
    std::uint64_t offset = 0;
    std::uint64_t size = 0;  ///< of the whole file
    std::string sha256;      ///< of these bytes
    std::string_view bytes;
  };
  /// have (how many bytes are here), done.
  Result<std::string> output(const Caller& caller, const Piece& piece);
  /// A file of the job's checkpoint is gone on the node.
  Result<void> drop(const Caller& caller, const std::string& path);
  /// `record`: the shim's exit.json. `problem`: what went wrong after the end; may be empty.
  Result<void> end(const Caller& caller, const std::string& record, const std::string& problem);
  /// A file that the manifest names: blob/SHA256, input/NAME/PATH, checkpoint/PATH or shared/PATH.
  Result<http::Response> content(const Caller& caller, const std::string& path);
  /// lathe-remote itself.
  Result<http::Response> program(const std::string& sha256);

 private:
  using Clock = std::chrono::steady_clock;
  struct Node {
    RemoteNode about;
    bool claimed = false;
    bool ready = false;
    bool ended = false;
    bool succeeded = false;
    bool stopped = false;  ///< it was ended from outside
    std::string record;
    std::string problem;
    Clock::time_point heard{};
  };
  /// An attempt that has not ended. Its fields but `mutex` are guarded by it.
  struct Live {
    std::mutex mutex;
    Job job;
    Plan plan;
    std::int64_t user_id = 0;
    RemoteRow row;
    std::vector<Node> nodes;
    std::string job_token;
    bool begun = false;  ///< all its nodes came, and it left the queue
    bool running = false;
    bool cancelled = false;
    std::optional<Clock::time_point> stop_since;
    bool cut_off = false;  ///< nodes did not listen, so that the engine was asked to end it
    std::chrono::milliseconds grace{10'000};
    std::optional<std::size_t> decided;  ///< the first node that failed
    std::optional<Clock::time_point> ended_since;
    std::string not_kept;  ///< why a file of its checkpoint is not here; empty: all are
    bool over = false;     ///< handed to `finish` or `end`
  };
  using LivePtr = std::shared_ptr<Live>;

  /// Whether what is left, if anything, runs only to be ended: parameter servers, nodes that wait for mpirun.
  static bool waits_for_nobody(const Live& live);
  compute::Order order_of(const Live& live, const std::string& token) const;
  Result<LivePtr> find(const Caller& caller) const;
  Result<LivePtr> find_node(const Caller& caller) const;
  LivePtr of_job(const std::string& job) const;
  LivePtr add(const Job& job, const Plan& plan, std::int64_t user_id, const RemoteRow& row);
  void hand_over(const LivePtr& live, compute::Order order);
  Result<void> began(Live& live);
  Result<void> runs(Live& live);
  void ask_to_stop(Live& live, std::chrono::milliseconds grace);
  void keep_watch();
  void look_after(const LivePtr& live);
  void look_after_waiting(const LivePtr& live, std::unique_lock<std::mutex>& lock, const compute::Sighting& seen);
  void conclude(const LivePtr& live, std::unique_lock<std::mutex>& lock, const compute::Sighting& seen);
  void try_again(const LivePtr& live, std::unique_lock<std::mutex>& lock, const std::string& why, bool lost);
  std::filesystem::path node_folder(const Live& live, std::size_t node) const;
  Result<void> make_attempt_folder(const Live& live) const;
  void drop_parts(const std::string& job) const;
  static bool may_go_on(const Live& live);
  Result<void> check_room(Live& live, const Piece& piece, const std::filesystem::path& target) const;
  void recall_nodes(Live& live) const;
  void take_end(Live& live, std::size_t node, const std::string& record, const std::string& problem) const;

  db::Database& db_;
  auth::Auth& auth_;
  compute::Engine& engine_;
  Launcher& launcher_;
  RemoteOptions options_;
  Hooks hooks_;

  mutable std::mutex mutex_;
  std::condition_variable look_;
  bool stopping_ = false;
  bool looking_ = false;
  std::map<std::string, LivePtr> by_attempt_;
  std::map<std::string, std::string> attempt_of_;  ///< job -> attempt
  std::thread watch_;
};

/// The routes by which nodes reach it. Null: there is no engine now, and nodes try again until there is one.
void add_remote_routes(http::Router& router, RemoteJobs* remote);

}  // namespace lathe::jobs
