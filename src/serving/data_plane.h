#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "http/client.h"
#include "json/json.h"
#include "process/supervised.h"
#include "process/watch.h"

/// The server's side of lathe-infer, which runs under a shim of its own and outlives the server.
namespace lathe::serving {

struct ReportedDeployment {
  std::string endpoint;
  std::string deployment;
  std::string state;  ///< loading, ready, failed
  std::string error;
  std::string model;
  std::string version;
  std::int64_t generation = 0;  ///< of the desired state that it is ready for, or has failed at
  std::string runtime;          ///< what computes; empty: nothing does
  std::optional<std::int64_t> instances;  ///< that there are now, where their number follows the load
  bool tries_again = false;               ///< it failed since it was ready, and nobody need deploy it again
};

/// What the data plane says of itself: DATA/infer/reported.json.
struct Reported {
  std::int64_t generation = 0;  ///< of the desired state that it has reached: everything in it is ready or failed
  std::int64_t shown = 0;       ///< of the one whose keys and traffic hold
  std::string rest;             ///< its URL; empty before it runs
  std::string grpc;             ///< HOST:PORT of the same by gRPC
  std::string certificate;      ///< the SHA-256 of the one that both show; empty: they are plain
  std::int64_t memory_bytes = 0;  ///< the budget of native models; 0: none
  std::optional<std::int64_t> parked_interpreters;  ///< that there may be; older ones do not say
  std::int64_t pid = 0;
  std::vector<ReportedDeployment> deployments;
  std::map<std::string, std::vector<int>> gpus;  ///< that its workers have, or may be given, by "ENDPOINT/DEPLOYMENT"

  const ReportedDeployment* find(std::string_view endpoint, std::string_view deployment) const;
  /// How to ask it by REST, with its certificate. Errors: `unavailable` — it does not run.
  Result<http::ClientOptions> client_options() const;
};
/// Members that are missing keep their defaults. Errors: `invalid`.
Result<Reported> parse_reported(std::string_view text);

struct DataPlaneOptions {
  std::filesystem::path data;
  std::filesystem::path program;  ///< lathe-infer
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;       ///< 0: the one it had before, else any
  std::uint16_t grpc_port = 0;  ///< the same
  std::string certificate = {};  ///< PEM, with `key`: TLS on both ports
  std::string key = {};
  std::int64_t memory_bytes = 0;  ///< what native models may take together; 0: no limit
  std::int64_t response_cache_bytes = std::int64_t{128} << 20;
  std::int64_t parked_interpreters = 4;  ///< of Python deployments that sleep
};

/// "unlimited", "4GiB", "500MiB". Errors: `invalid`.
Result<std::int64_t> parse_inference_memory(std::string_view text);
/// "0", "128MiB", "1GiB". Errors: `invalid`.
Result<std::int64_t> parse_response_cache(std::string_view text);

/// A port that lathe-infer is to listen on, kept from all others until it does. 0: none.
struct HeldPort {
  std::uint16_t port = 0;
  Fd socket;
};

/// Thread-safe.
class DataPlane {
 public:
  /// `on_report` is called on the data plane's own thread after each report, before those who wait for it wake up.
  /// Where it answers false, the report was not taken (the store is away), and it is called again soon.
  DataPlane(DataPlaneOptions options, std::function<bool(const Reported&)> on_report);
  /// Leaves the program running.
  ~DataPlane();
  DataPlane(const DataPlane&) = delete;

  /// Adopts the one that runs, with its port, or starts one, and does not wait for it: it gets ready while the server
  /// does. Unless `start` follows, the destructor ends one that was started here.
  /// Errors: `conflict` — the port is taken; `not_found` — no such program.
  Result<void> begin();
  /// Returns when it answers. From then on it is started again should it end. Errors: `timeout`; what it said itself.
  Result<void> start();

  /// Hands it the document that it should reach. Errors: as write_file.
  Result<void> set_desired(const json::Value& document);

  Reported reported() const;
  /// The folder with what the deployment's workers print; there if it has, or had, workers.
  std::filesystem::path log_folder(const std::string& endpoint, const std::string& deployment) const {
    return folder_ / "logs" / (endpoint + "." + deployment);
  }
  /// "http://127.0.0.1:8081"; empty before `start`.
  std::string url() const;
  const std::filesystem::path& folder() const { return folder_; }
  /// The key of who may do more than predict. Errors: as read_file's.
  Result<std::string> operator_key() const { return read_file(folder_ / "operator.key", 4096); }
  /// "127.0.0.1:8082"
  std::string grpc() const;

  /// Counts reports. `wait_past` returns when there is a newer one than `seen`, or at the deadline.
  std::uint64_t reports() const;
  void wait_past(std::uint64_t seen, std::chrono::steady_clock::time_point deadline) const;

 private:
  /// Starts the program under a shim; the folder of that run.
  Result<std::filesystem::path> launch();
  /// Points at the certificate and its key, which may be others than before, where lathe-infer looks for them.
  Result<void> link_certificate() const;
  /// Ends the one that runs. Blocks until it has ended.
  Result<void> stop_running(const std::filesystem::path& run) const;
  /// `wanted`: what the configuration says, by `flag`; `before`: where the last one answered.
  Result<HeldPort> choose_port(std::uint16_t wanted, const std::string& before, const char* flag) const;
  Result<void> await_first_report(const std::filesystem::path& run);
  void follow();
  bool take_report();
  /// Says, once a minute at most, that it ended, and its last words.
  void say_ended();
  void wake();

  DataPlaneOptions options_;
  std::function<bool(const Reported&)> on_report_;
  std::filesystem::path folder_;
  Fd inotify_;
  Fd event_;
  HeldPort rest_, grpc_;  ///< from `launch` to the first report
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Reported reported_;
  std::uint64_t reports_ = 0;
  std::int64_t pid_ = 0;     ///< that reported last
  int ends_ = 0;             ///< since it was said
  std::chrono::steady_clock::time_point say_again_;
  std::chrono::steady_clock::time_point ask_again_;  ///< for a report, when one cannot be read
  std::filesystem::path run_;
  bool begun_here_ = false;  ///< started by `begin`, and not yet confirmed by `start`
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;
  std::unique_ptr<process::Watch> watch_;
};

/// The folder in which the data plane runs, or last ran, under its shim: for `lathe stop --all`. nullopt: it never did.
std::optional<std::filesystem::path> data_plane_run(const std::filesystem::path& data);

}  // namespace lathe::serving
