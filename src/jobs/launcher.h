#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "assets/blobs.h"
#include "compute/gpus.h"
#include "compute/machine.h"
#include "environments/images.h"
#include "jobs/job_store.h"
#include "jobs/plan.h"
#include "jobs/ports.h"
#include "process/sandbox.h"
#include "process/supervised.h"

namespace lathe::jobs {

/// Turns a planned job into a process under its shim. Thread-safe; blocks on files.
class Launcher {
 public:
  struct Options {
    std::filesystem::path data;  ///< the data folder
    std::string certificate;     ///< the server's certificate when that is our own, else empty
    std::string tracking_url = {};
    std::vector<compute::Gpu> gpus = {};  ///< this machine's
    std::uint64_t log_bytes = std::uint64_t{64} << 20;
    bool network = true;  ///< of jobs in a sandbox
    bool images = false;  ///< whether jobs may run in images
    /// Whether a job that starts now on this compute target runs in a sandbox; none: never.
    std::function<bool(const std::string& target)> sandboxed = {};
  };

  /// Prepares the folder of all jobs: DATA/jobs, or, where other accounts cannot pass through to it, a folder below
  /// /var/lib/lathe-jobs that DATA/jobs links to. Errors: as for making folders.
  static Result<std::unique_ptr<Launcher>> open(Options options, const assets::BlobStore& blobs);

  /// Whom a user's jobs run as; nothing where the server is not root: as itself.
  static std::optional<process::Account> account_of(std::int64_t user_id);

  /// Makes the folder of all jobs of the server on `data`, as open does, at `at`/jobs. Answers its path without links.
  static Result<std::filesystem::path> make_root(const std::filesystem::path& data, const std::filesystem::path& at);

  struct Launch {
    Job job;
    Plan plan;
    std::int64_t user_id = 0;
    std::string token;
    compute::Resources room;  ///< zero: no limits
    std::filesystem::path environment = {};  ///< its folder; empty: the default one
    std::optional<environments::Image> image = {};  ///< what `environment` is, if that is one
  };
  /// A job whose processes can start at once.
  struct Ready {
    Launch launch;
    std::vector<process::Spec> specs;  ///< one for each node
    std::vector<Port> ports;           ///< that its processes meet at, from now on the job's alone
  };
  /// Lays out the job's work folder. Errors: a sentence for the job's verdict.
  Result<Ready> prepare(Launch launch);
  /// Starts its processes, on all its nodes or on none. Errors: a sentence for the job's verdict; nothing runs then.
  Result<void> start(const Ready& ready);
  /// Removes what `prepare` made for a job that is not to start.
  void discard(const Job& job);
  /// Removes the checkpoint folder of a job that has ended, if the job kept nothing there.
  void drop_empty_checkpoint(const std::string& job);

  /// Where jobs reach this server. Before the first launch.
  void set_tracking_url(std::string url) { options_.tracking_url = std::move(url); }

  /// The folder of an attempt, and the job's own.
  std::filesystem::path attempt_folder(const std::string& job, std::int64_t attempt) const;
  /// The shims' folders of an attempt, one for each node: of one node the attempt's own, else node-0, ... in it.
  std::vector<std::filesystem::path> node_folders(const Job& job, const Plan& plan) const;
  /// Whether an attempt on several nodes was let go: before that, nothing of it runs.
  bool let_go(const Job& job) const;
  std::filesystem::path work_folder(const std::string& job) const;
  /// What a job keeps over its attempts: only it writes there.
  std::filesystem::path checkpoint_folder(const std::string& job) const;
  /// The job to which a shim's folder belongs.
  std::string job_of(const std::filesystem::path& shim_folder) const;
  /// The folder of all jobs, without links.
  const std::filesystem::path& root() const { return root_; }
  const std::filesystem::path& data() const { return options_.data; }
  const process::Cgroups& groups() const { return groups_; }
  /// What every job may read: our Python packages, the server's certificate.
  std::filesystem::path shared_folder() const { return root_ / ".lathe"; }
  const assets::BlobStore& blobs() const { return blobs_; }
  std::uint64_t log_bytes() const { return options_.log_bytes; }

  /// The spec of the same process on a machine elsewhere, where all that it needs was laid out in `folder`: "work" and
  /// "shared". `url`: by which it reaches this server. The node's own limits are not known here: none are set.
  struct Elsewhere {
    std::filesystem::path folder;
    std::string url;
  };
  Result<std::string> spec_elsewhere(const Launch& launch, std::size_t node, const Meeting& meeting, const Elsewhere& where) const;

 private:
  Launcher(Options options, const assets::BlobStore& blobs) : options_(std::move(options)), blobs_(blobs) {}
  Result<void> set_up_shared();
  Result<void> lay_out(const Launch& launch, process::Spec& spec, bool boxed);
  process::Sandbox sandbox_of(const Launch& launch, std::size_t node, bool network) const;
  /// Where a job's processes find what is its own, what all jobs share, what was fetched before, and this server.
  struct Site {
    std::filesystem::path work;
    std::filesystem::path shared;
    std::filesystem::path fetched;
    std::string url;
    bool one_home = true;  ///< all nodes have the same work folder
  };
  Site site_of(const Launch& launch) const;
  Result<process::Spec> spec_of(const Launch& launch, std::size_t node, const Meeting& meeting, const process::Spec& base,
                                const Site& site) const;
  std::filesystem::path gate(const Job& job) const { return attempt_folder(job.name, job.attempt) / "go"; }
  std::filesystem::path fetched_folder(std::int64_t user_id) const { return root_ / ".lathe/fetched" / std::to_string(user_id); }
  static std::string path_of(const Launch& launch, const std::filesystem::path& ours);
  Variables environment(const Launch& launch, std::size_t node, const Site& site) const;

  Options options_;
  const assets::BlobStore& blobs_;
  std::filesystem::path root_;
  process::Cgroups groups_;
};

}  // namespace lathe::jobs
