#include "infer/reconciler.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/digest.h"
#include "base/log.h"
#include "infer/converted.h"
#include "infer/workers/python_model.h"

namespace lathe::infer {
namespace {

constexpr int kRereadMs = 2000;  ///< for file systems that do not tell about changes
constexpr auto kConverted = "converted";

std::shared_ptr<TrafficSplit> make_split(const DesiredEndpoint& wanted, const Endpoint& endpoint,
                                         const Catalog* before) {
  std::vector<int> weights;
  std::vector<std::string> names;
  for (const auto& deployment : endpoint.deployments) {
    int weight = 0;
    for (const auto& [name, percent] : wanted.traffic)
      if (name == deployment->name) weight = percent;
    weights.push_back(weight);
    names.push_back(deployment->name);
  }
  // The same split goes on where it is, so that a change elsewhere does not disturb its count.
  const auto* const old = before != nullptr ? before->find(wanted.name) : nullptr;
  if (old != nullptr && old->split->weights() == weights && old->split->names() == names) return old->split;
  return std::make_shared<TrafficSplit>(std::move(weights), std::move(names));
}

/// Over all deployments that get traffic, wherever they are ready.
std::shared_ptr<TrafficSplit> split_everywhere(const DesiredEndpoint& wanted, const Catalog* before) {
  std::vector<int> weights;
  std::vector<std::string> names;
  for (const auto& [name, percent] : wanted.traffic) {
    weights.push_back(percent);
    names.push_back(name);
  }
  const auto* const old = before != nullptr ? before->find(wanted.name) : nullptr;
  const auto& split = old != nullptr ? old->everywhere : nullptr;
  if (split && split->weights() == weights && split->names() == names) return split;
  return std::make_shared<TrafficSplit>(std::move(weights), std::move(names));
}

void set_mirror(const DesiredEndpoint& wanted, Endpoint& endpoint, const Catalog* before) {
  for (const auto& [name, percent] : wanted.mirror) {
    const auto* const found = endpoint.find(name);
    if (found == nullptr || percent <= 0) continue;
    endpoint.mirror = *found;
    const std::vector<int> weights{percent, 100 - percent};
    const auto* const old = before != nullptr ? before->find(wanted.name) : nullptr;
    endpoint.mirrored = old != nullptr && old->mirrored && old->mirrored->weights() == weights
                            ? old->mirrored
                            : std::make_shared<TrafficSplit>(weights);
  }
}

/// What was used of the same limit before stays used.
std::shared_ptr<RateLimit> make_rate_limit(const DesiredEndpoint& wanted, const Endpoint& endpoint,
                                           const Catalog* before) {
  if (wanted.rate_limit.requests_per_second <= 0) return nullptr;
  const auto* const old = before != nullptr ? before->find(wanted.name) : nullptr;
  const auto* const limit = old != nullptr ? old->rate_limit.get() : nullptr;
  if (limit == nullptr || limit->limit() != wanted.rate_limit)
    return std::make_shared<RateLimit>(wanted.rate_limit, endpoint.keys);
  if (limit->keys() == endpoint.keys) return old->rate_limit;
  return std::make_shared<RateLimit>(*limit, endpoint.keys);
}

/// Reads and tries a model; nullopt: its files are right, and workers do the rest. Blocks.
Result<std::optional<LoadedModel>> read_files(const std::filesystem::path& converted, const DesiredModel& wanted) {
  if (auto form = load_converted(converted, wanted)) return std::optional(std::move(*form));
  if (wanted.python) {
    LATHE_CHECK(check_files(wanted));
    return std::nullopt;
  }
  LATHE_TRY(auto loaded, load_model(wanted));
  return std::optional(std::move(loaded));
}

/// Clients hear why it cannot be, and nothing of where the model lies on this machine.
Result<LoadedModel> load_again(const DesiredModel& wanted, const std::string& stamp) {
  auto loaded = load_model(wanted, stamp);
  if (loaded) return loaded;
  auto error = loaded.error();
  const auto folder = (std::filesystem::path(wanted.folder) / "").string();
  for (auto at = error.message.find(folder); at != std::string::npos; at = error.message.find(folder, at))
    error.message.erase(at, folder.size());
  return fail(std::move(error));
}

/// Of a model that was ready: why it does not answer, and what becomes of that by itself; or empty.
std::string trouble_of(const Model& model) {
  constexpr auto kNextRequest = " (the next request tries again)";
  if (const auto* const sleeper = model.sleeper()) {
    const auto why = sleeper->trouble();
    return why.empty() ? why : why + kNextRequest;
  }
  if (model.python() == nullptr) return {};
  const auto& pool = model.python()->workers();
  const auto why = pool->state().error;
  return why.empty() ? why : why + (pool->sleeps() ? kNextRequest : " (they are started again and again)");
}

void wake(const Fd& event) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event.get(), &one, sizeof one);
}

}  // namespace

Reconciler::Reconciler(std::filesystem::path folder, std::string rest, std::string grpc, std::shared_ptr<http::Tls> tls,
                       CatalogHolder& catalog, WorkerHost& workers, Residents& residents, Peers& peers)
    : folder_(std::move(folder)),
      rest_(std::move(rest)),
      grpc_(std::move(grpc)),
      tls_(std::move(tls)),
      catalog_(catalog),
      workers_(workers),
      residents_(residents),
      peers_(peers) {}

Reconciler::~Reconciler() {
  if (!thread_.joinable()) return;
  wake(stop_);
  thread_.join();
  loaders_.stop();
  loaders_.join();
}

Result<void> Reconciler::start() {
  LATHE_CHECK(make_folder(folder_));
  inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  stop_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  changed_ = std::make_shared<const Fd>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!inotify_ || !stop_ || !*changed_ ||
      ::inotify_add_watch(inotify_.get(), folder_.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE) < 0)
    return fail(errno_error("cannot watch " + folder_.string()));
  read_desired();
  publish();
  Reported begun;
  begun.rest = rest_;
  begun.grpc = grpc_;
  if (tls_) begun.certificate = tls_->fingerprint();
  begun.memory_bytes = residents_.budget();
  begun.parked_interpreters = workers_.most_parked();
  LATHE_CHECK(write_file(folder_ / "reported.json", print(begun)));
  thread_ = std::thread([this] { follow(); });
  return {};
}

void Reconciler::follow() {
  do {
    forget_removed();
    begin_loads();
    publish();  // traffic and keys hold at once
    shown_ = desired_.generation;
    settle();
  } while (wait_for_change());
}

void Reconciler::settle() {
  bool all = true;
  for (const auto& endpoint : desired_.endpoints)
    for (const auto& wanted : endpoint.deployments) {
      auto& current = current_[{endpoint.name, wanted.name}];
      if (current.loading && current.loading->done) take_loaded(endpoint, wanted, current);
      if (current.starting) take_workers(endpoint, wanted, current);
      all = all && !current.is_open();
    }
  if (all) {
    reached_ = desired_.generation;
    settled_ = !desired_.put_out;
  }
  publish();
  report();
}

bool Reconciler::wait_for_change() {
  for (;;) {
    std::array<pollfd, 3> watched{
        {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}, {changed_->get(), POLLIN, 0}}};
    ::poll(watched.data(), watched.size(), kRereadMs);
    if (watched[1].revents != 0) return false;
    std::array<char, 4096> events;
    while (::read(inotify_.get(), events.data(), events.size()) > 0) {
    }
    if (read_desired()) return true;
    if (watched[2].revents != 0) {
      while (::read(changed_->get(), events.data(), events.size()) > 0) {
      }
      settle();
    }
    if (tls_ && tls_->refresh()) report();
    if (instances_changed() || gpus_changed()) report();
    // The server takes away a report that it cannot read.
    if (::access((folder_ / "reported.json").c_str(), F_OK) != 0) report();
  }
}

/// Of deployments whose number of instances follows the load; looked at now and then, as nothing depends on it.
bool Reconciler::instances_changed() const {
  return std::any_of(current_.begin(), current_.end(), [](const auto& item) {
    const auto& current = item.second;
    return current.serving && current.serving->scales() && current.serving->instances() != current.instances;
  });
}

/// What ended workers had can be given to others.
bool Reconciler::gpus_changed() {
  return workers_.gpus() != gpus_;
}

bool Reconciler::read_desired() {
  auto text = read_file(folder_ / "desired.json");
  if (!text || *text == text_) return false;
  text_ = std::move(*text);
  auto read = parse_desired(text_);
  if (!read) {
    error_ = "desired.json: " + read.error().message;
    log::error("the desired state cannot be read error=\"{}\"", error_);
    report();
    return false;
  }
  error_.clear();
  desired_ = std::move(*read);
  return true;
}

void Reconciler::forget_removed() {
  const auto is_wanted = [this](const Name& name) {
    for (const auto& endpoint : desired_.endpoints)
      if (endpoint.name == name.first)
        return std::any_of(endpoint.deployments.begin(), endpoint.deployments.end(),
                           [&](const auto& each) { return each.name == name.second; });
    return false;
  };
  std::erase_if(current_, [&](const auto& item) { return !is_wanted(item.first); });
  std::erase_if(stats_, [&](const auto& item) { return !is_wanted(item.first); });
  forget_converted(folder_ / kConverted, desired_);
}

void Reconciler::begin_loads() {
  for (const auto& endpoint : desired_.endpoints)
    for (const auto& wanted : endpoint.deployments) {
      auto& current = current_[{endpoint.name, wanted.name}];
      const bool may_be_mended = !current.error.empty() && !current.is_open() &&
                                 (current.asked != wanted.asked || current.stamp != stamp_of(current.tried));
      current.asked = wanted.asked;
      if (current.tried != wanted.model || may_be_mended) begin_load(wanted, current);
    }
}

void Reconciler::begin_load(const DesiredDeployment& wanted, Current& current) {
  current.tried = wanted.model;
  current.error.clear();
  current.starting = {};
  current.loading.reset();
  if (current.serving && current.serving->desired.model == wanted.model) return;  // it goes back to what answers
  current.stamp = stamp_of(wanted.model);
  current.loading = std::make_shared<Loading>();
  boost::asio::post(loaders_, [this, model = wanted.model, weak = std::weak_ptr(current.loading)] {
    const auto loading = weak.lock();
    if (!loading) return;  // it was wanted no longer before its turn came
    if (!model.python) residents_.make_room(bytes_of(model));
    loading->loaded = read_files(folder_ / kConverted, model);
    loading->done = true;
    wake(*changed_);
  });
}

void Reconciler::take_loaded(const DesiredEndpoint& endpoint, const DesiredDeployment& wanted, Current& current) {
  const auto loading = std::exchange(current.loading, nullptr);
  auto& loaded = loading->loaded;
  const Name name{endpoint.name, wanted.name};
  if (!loaded) return failed(name, current, loaded.error().message);
  if (*loaded) return serve_loaded(name, wanted, std::move(**loaded), current);
  current.starting = OwnedPool(
      WorkerPool::start(workers_, endpoint.name, wanted.name, current.tried, [event = changed_] { wake(*event); }));
}

void Reconciler::serve_loaded(const Name& name, const DesiredDeployment& wanted, LoadedModel loaded, Current& current) {
  std::shared_ptr<const Model> model = std::move(loaded.model);
  const auto& scale = wanted.model.scale;
  const bool sleeps = scale && scale->least == 0;
  if (sleeps || residents_.has_budget()) {
    SleepingModel::Terms terms;
    terms.bytes = loaded.bytes;
    if (sleeps) terms.quiet = std::chrono::milliseconds(scale->quiet_ms);
    terms.name = "endpoint=" + name.first + " deployment=" + name.second;
    terms.on_change = [event = changed_] { wake(*event); };
    terms.load = [folder = folder_ / kConverted, kept = wanted.model, stamp = loaded.stamp]() -> Result<LoadedModel> {
      if (!kept.python) return load_again(kept, stamp);
      if (auto form = load_converted(folder, kept)) return std::move(*form);
      return fail(Code::invalid,
                  "its files, or the native form that was made of them, are not what they were: deploy it again");
    };
    model = residents_.add(std::move(model), std::move(terms));
  }
  serve(name, wanted, std::move(model), loaded.warm_run, current);
}

void Reconciler::failed(const Name& name, Current& current, std::string why) {
  current.error = std::move(why);
  if (current.serving) current.error += " (version " + current.serving->desired.model.version + " goes on answering)";
  log::error("a deployment failed endpoint={} deployment={} error=\"{}\"", name.first, name.second, current.error);
}

void Reconciler::serve(const Name& name, const DesiredDeployment& wanted, std::shared_ptr<const Model> model,
                       std::chrono::nanoseconds warm_run, Current& current) {
  auto& stats = stats_[name];
  if (!stats) stats = std::make_shared<Stats>();
  current.serving = std::make_shared<Deployment>(name.first, wanted, std::move(model), warm_run, stats);
  log::info("a deployment is ready endpoint={} deployment={} model={} version={}", name.first, name.second,
            wanted.model.name, wanted.model.version);
}

void Reconciler::take_workers(const DesiredEndpoint& endpoint, const DesiredDeployment& wanted, Current& current) {
  auto state = current.starting->state();
  if (state.stage == WorkerState::Stage::starting) return;
  auto pool = std::exchange(current.starting, {});
  const Name name{endpoint.name, wanted.name};
  if (state.stage == WorkerState::Stage::failed) return failed(name, current, std::move(state.error));
  auto ready = wanted;
  ready.model = current.tried;
  if (const auto form = pool->take_native_form(); !form.empty())
    if (auto converted = convert(folder_ / kConverted, ready.model, form))
      return serve_loaded(name, ready, std::move(*converted), current);
  serve(name, ready, std::make_shared<PythonModel>(ready.model.format, std::move(pool), state.description), {},
        current);
}

void Reconciler::publish() {
  const auto before = catalog_.load();
  auto catalog = std::make_shared<Catalog>();
  catalog->settled = settled_;
  if (desired_.cluster.peers.empty())
    cluster_ = nullptr;
  else if (!cluster_ || *cluster_ != desired_.cluster)
    cluster_ = std::make_shared<const DesiredCluster>(desired_.cluster);
  catalog->cluster = cluster_;
  if (!before || before->cluster != cluster_) peers_.follow(cluster_);
  for (const auto& wanted : desired_.endpoints) {
    auto& endpoint = catalog->endpoints[wanted.name];
    endpoint.name = wanted.name;
    for (const auto& key : wanted.keys) {
      if (const auto digest = parse_key_digest(key))
        endpoint.keys.push_back(*digest);
      else
        log::warn("a key is ignored endpoint={} reason=\"{}\"", wanted.name, digest.error().message);
    }
    endpoint.takes_tokens = wanted.takes_tokens;
    endpoint.allowed_origins = wanted.allowed_origins;
    endpoint.rate_limit = make_rate_limit(wanted, endpoint, before.get());
    for (const auto& deployment : wanted.deployments) {
      const auto found = current_.find({wanted.name, deployment.name});
      if (found == current_.end() || !found->second.serving) {
        const bool failed =
            found != current_.end() && found->second.tried == deployment.model && !found->second.is_open();
        endpoint.others.push_back({deployment.name, deployment.model.version, failed ? found->second.error : ""});
        continue;
      }
      auto& serving = found->second.serving;
      const auto& limits = serving->desired;
      if (limits.instances != deployment.instances || limits.max_queue != deployment.max_queue ||
          limits.request_timeout_ms != deployment.request_timeout_ms || limits.capture != deployment.capture) {
        auto changed = deployment;
        changed.model = limits.model;
        serving =
            std::make_shared<Deployment>(wanted.name, changed, serving->model, serving->cost.of(0), serving->stats);
      }
      endpoint.deployments.push_back(serving);
    }
    endpoint.split = make_split(wanted, endpoint, before.get());
    if (cluster_) endpoint.everywhere = split_everywhere(wanted, before.get());
    set_mirror(wanted, endpoint, before.get());
  }
  catalog_.store(std::move(catalog));
}

void Reconciler::report() {
  gpus_ = workers_.gpus();
  Reported reported{reached_,
                    shown_,
                    rest_,
                    grpc_,
                    tls_ ? tls_->fingerprint() : "",
                    error_,
                    residents_.budget(),
                    {},
                    workers_.most_parked(),
                    gpus_};
  for (const auto& endpoint : desired_.endpoints)
    for (const auto& wanted : endpoint.deployments) {
      const Name name{endpoint.name, wanted.name};
      const auto found = current_.find(name);
      const bool tried = found != current_.end() && found->second.tried == wanted.model;
      const bool done = tried && !found->second.is_open();
      if (done) found->second.generation = desired_.generation;
      std::string error = done ? found->second.error : "";
      bool tries_again = false;
      if (done && found->second.serving && error.empty()) {
        error = trouble_of(*found->second.serving->model);  // what was ready can fail later, too
        tries_again = !error.empty();
      }
      reported.deployments.push_back({endpoint.name,
                                      wanted.name,
                                      !done           ? "loading"
                                      : error.empty() ? "ready"
                                                      : "failed",
                                      error,
                                      wanted.model.name,
                                      wanted.model.version,
                                      found != current_.end() ? found->second.generation : 0,
                                      found != current_.end() && found->second.serving
                                          ? std::string(found->second.serving->model->platform())
                                          : "",
                                      {},
                                      tries_again});
      if (found == current_.end() || !found->second.serving || !found->second.serving->scales()) continue;
      reported.deployments.back().instances = found->second.instances = found->second.serving->instances();
    }
  if (const auto written = write_file(folder_ / "reported.json", print(reported)); !written)
    log::error("the state cannot be reported error=\"{}\"", written.error().message);
}

}  // namespace lathe::infer
