#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/file.h"
#include "infer/catalog.h"
#include "infer/cluster/peers.h"
#include "infer/http/tls.h"
#include "infer/load_model.h"
#include "infer/residents.h"
#include "infer/workers/worker_host.h"
#include "infer/workers/worker_pool.h"

namespace lathe::infer {

/// Follows FOLDER/desired.json: has what it names loaded, makes each model answer as soon as it is ready, and says in
/// FOLDER/reported.json what it has reached. A deployment whose new model is loading, or has failed, goes on with the
/// old one. Models are read by two threads and workers start by themselves, so that what takes long holds up neither
/// keys, traffic and removals nor, alone, other models. What has failed is tried again when it is ordered anew, or its
/// files have changed. Knows nothing but these files, so a restart begins where the last process was.
class Reconciler {
 public:
  /// `rest`, `grpc`: the URL and the HOST:PORT to report.
  /// `tls`: what both show, refreshed here; or null. `peers` learns who the others are.
  Reconciler(std::filesystem::path folder, std::string rest, std::string grpc, std::shared_ptr<http::Tls> tls,
             CatalogHolder& catalog, WorkerHost& workers, Residents& residents, Peers& peers);
  /// Stops, after the models that are being loaded.
  ~Reconciler();
  Reconciler(const Reconciler&) = delete;
  Reconciler& operator=(const Reconciler&) = delete;

  /// Errors: the folder cannot be watched or written.
  Result<void> start();

 private:
  using Name = std::pair<std::string, std::string>;  ///< endpoint, deployment

  /// What a thread makes of a model's files.
  struct Loading {
    std::atomic<bool> done{false};
    Result<std::optional<LoadedModel>> loaded{std::nullopt};  ///< nullopt: they are right, and workers do the rest
  };

  struct Current {
    std::shared_ptr<const Deployment> serving;  ///< null until the first model is ready
    DesiredModel tried;                         ///< what was last loaded, or failed to
    std::int64_t asked = 0;                     ///< the order that it was tried for
    std::string error;                          ///< why `tried` failed
    std::string stamp;                          ///< of its files then
    std::shared_ptr<Loading> loading;           ///< of `tried`, until it is done
    OwnedPool starting;                         ///< of `tried`, when it is Python: its workers, until they are ready
    std::int64_t generation = 0;                ///< the newest desired state for which it was ready, or failed
    int instances = 0;                          ///< that were reported last

    bool is_open() const { return loading || starting; }
  };

  void follow();
  /// Waits for a change of the folder, and sees to workers meanwhile. False: stop.
  bool wait_for_change();
  bool stopping();
  bool instances_changed() const;
  bool gpus_changed();
  /// Reads the document. True when it is new.
  bool read_desired();
  void forget_removed();
  /// Has loaded what is missing.
  void begin_loads();
  void begin_load(const DesiredDeployment& wanted, Current& current);
  /// Takes up what has become of models and workers, and reports.
  void settle();
  void take_loaded(const DesiredEndpoint& endpoint, const DesiredDeployment& wanted, Current& current);
  void take_workers(const DesiredEndpoint& endpoint, const DesiredDeployment& wanted, Current& current);
  void failed(const Name& name, Current& current, std::string why);
  void serve_loaded(const Name& name, const DesiredDeployment& wanted, LoadedModel loaded, Current& current);
  void serve(const Name& name, const DesiredDeployment& wanted, std::shared_ptr<const Model> model,
             std::chrono::nanoseconds warm_run, Current& current);
  void publish();
  void report();

  std::filesystem::path folder_;
  std::string rest_;
  std::string grpc_;
  std::shared_ptr<http::Tls> tls_;
  CatalogHolder& catalog_;
  WorkerHost& workers_;
  Residents& residents_;
  Peers& peers_;
  Fd inotify_;
  Fd stop_;
  std::shared_ptr<const Fd> changed_;  ///< workers, or what was read
  std::string text_;                   ///< of the document that was read last
  std::string error_;
  DesiredState desired_;
  std::shared_ptr<const DesiredCluster> cluster_;  ///< of it; null without peers
  std::int64_t reached_ = 0;
  std::int64_t shown_ = 0;
  bool settled_ = false;
  std::map<std::string, std::set<int>> gpus_;  ///< as they were reported last
  std::map<Name, Current> current_;
  std::map<Name, std::shared_ptr<Stats>> stats_;
  boost::asio::thread_pool loaders_{2};
  std::thread thread_;
};

}  // namespace lathe::infer
