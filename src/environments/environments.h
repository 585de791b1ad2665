#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "assets/blobs.h"
#include "base/task_queue.h"
#include "environments/images.h"
#include "environments/modules.h"
#include "environments/recipe.h"
#include "process/log_follow.h"
#include "process/supervised.h"
#include "process/watch.h"

/// Environments as folders: made once, found again by the digest of their recipe.
///
///     ROOT/DIGEST/recipe.json  build-N/ (the shim's folder: log, exit.json)  env-N/ (the environment: python/, or the
///                 image's root/ and image.json)
///                 ready -> env-N  built.json  used (its time is that of the last use)  failed (why, of the last build)
///
/// Only what `ready` names is ever used, and it appears in one step after its build has succeeded. A build runs under a
/// shim of its own, as an account of its own where the server is root: it outlives the server, and the next one finds
/// it.
namespace lathe::environments {

/// One environment's folder, from outside.
struct Built {
  std::string digest;
  std::string state;  ///< waiting, building, ready, failed
  std::string words;
  Recipe recipe;
  std::optional<std::string> error;
  std::optional<std::string> created_at;
  std::optional<std::string> last_used_at;
  std::optional<std::int64_t> size_bytes;
  std::optional<double> build_seconds;
  std::vector<std::string> packages;  ///< "numpy==1.24.2"; in the answer for one environment only
};

/// Thread-safe. Functions block on small files.
class Environments {
 public:
  struct Options {
    std::filesystem::path root;                ///< other accounts can pass through to it
    std::filesystem::path script;              ///< python/lathe_environments/build.py, which they can read
    std::string index = {};                    ///< of packages: empty: pip's own default; none: no index; else a URL
    std::vector<std::string> find_links = {};  ///< folders and pages with wheels
    std::string conda = "auto";                ///< auto: what is in PATH; none; else the program
    std::string images = "off";                ///< off; podman or apptainer, as found in PATH or with a path
    const assets::BlobStore* blobs = nullptr;  ///< where the folders lie that images are built from
    std::chrono::seconds limit{3600};          ///< for one build
  };
  /// Takes up what an earlier server left: builds that run go on, halves of environments are removed.
  /// Errors: `unavailable` — the container engine is not there.
  static Result<std::unique_ptr<Environments>> open(Options options, const process::Cgroups& groups);
  ~Environments();
  /// No callback of `build` is called any more when this has returned. Builds go on.
  void stop();

  const Abilities& abilities() const { return abilities_; }
  /// Whether Dockerfiles are built here.
  bool builds_images() const { return is_podman(abilities_.images); }
  /// What of a definition will not be as it says; fields as in the definition. Errors: as `choose`.
  Result<json::Report> explain(const json::Object& definition) const;

  /// The environment's folder, when it is there; its use is noted.
  std::optional<std::filesystem::path> ready(const std::string& digest) const;

  /// Called on a thread of this object: with the folder, or with why it cannot be had.
  using Done = std::function<void(const Result<std::filesystem::path>& folder)>;
  /// Builds it unless it is there or being built, which all callers then wait for together.
  void build(const Recipe& recipe, Done done);

  /// Why a job with it waits: "its environment is being built (7 s): Collecting numpy". Empty: it does not.
  std::string waiting_for(const std::string& digest) const;

  /// The only digest here that begins with `beginning`. Errors: `not_found`; `invalid` — there are several.
  Result<std::string> full_digest(const std::string& beginning) const;
  /// Errors: `not_found`.
  Result<Built> show(const std::string& digest) const;
  std::vector<Built> list() const;
  /// The shim's folder of its last build; it need not exist yet.
  std::filesystem::path build_folder(const std::string& digest) const;
  /// Ends its build; those who wait for it are told so. Errors: `not_found`; `conflict` — it is not being built.
  Result<void> cancel(const std::string& digest, const std::string& user);
  /// Frees its space. Errors: `not_found`; `conflict` — it is being built, or `used_by` names who needs it.
  Result<void> remove(const std::string& digest);

  /// "job NAME": what has not ended and needs it; set before requests come.
  std::function<Result<std::optional<std::string>>(const std::string& digest)> used_by;

  /// Calls `wake`, which must not block, after each change of its state until the returned object goes.
  std::shared_ptr<void> on_change(const std::string& digest, std::function<void()> wake);

  /// What can be imported: with `digest` in that environment, which must be ready, else in the default one.
  std::shared_ptr<const Modules> modules(const std::optional<std::string>& digest) const;

 private:
  struct Building {
    Recipe recipe;
    int number = 0;  ///< of build-N and env-N; 0: it waits for its turn
    int slot = 0;    ///< which of the accounts it runs as
    Time began{};
    std::string canceled_by;
    std::vector<Done> waiting;
  };
  Environments(Options options, const process::Cgroups& groups);
  void take_up(const std::string& digest);
  void start_some();
  Result<void> start_one(const std::string& digest, const Recipe& recipe, int number, int slot);
  Result<void> find_engine();
  void finish(const std::string& digest);
  std::optional<std::uint32_t> account_of(int slot) const;
  Result<std::filesystem::path> outcome(const std::string& digest, const Building& building);
  Result<std::filesystem::path> publish(const std::string& digest, const Building& building);
  void changed(const std::string& digest);
  Result<void> check_there(const std::string& digest) const;
  std::set<std::string> digests() const;
  std::filesystem::path folder(const std::string& digest) const { return options_.root / digest; }

  Options options_;
  const process::Cgroups& groups_;
  Abilities abilities_;
  bool as_root_ = false;

  mutable std::mutex mutex_;
  TaskQueue tasks_;
  std::map<std::string, Building> building_;
  std::multimap<std::string, std::weak_ptr<std::function<void()>>> listeners_;
  mutable ModuleLists modules_;
  std::thread worker_;
  std::unique_ptr<process::Watch> watch_;
};

}  // namespace lathe::environments

namespace lathe::json {

template <>
struct Fields<environments::Built> {
  static constexpr std::string_view name = "EnvironmentBuild";
  using T = environments::Built;
  static constexpr auto list = std::tuple{field("digest", &T::digest, "of the recipe"),
                                          field("state", &T::state, "waiting, building, ready or failed"),
                                          field("words", &T::words),
                                          field("recipe", &T::recipe),
                                          field("error", &T::error, "why the last build failed"),
                                          field("created_at", &T::created_at),
                                          field("last_used_at", &T::last_used_at),
                                          field("size_bytes", &T::size_bytes),
                                          field("build_seconds", &T::build_seconds),
                                          field("packages", &T::packages, "in the answer for one environment only")};
};

}  // namespace lathe::json
