#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "app/app.h"
#include "app/certificate.h"
#include "app/data_folder.h"
#include "app/isolation.h"
#include "app/job_resolvers.h"
#include "app/python_site.h"
#include "app/slurm.h"
#include "assets/assets.h"
#include "assets/models.h"
#include "auth/auth.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "base/version.h"
#include "db/db.h"
#include "db/postgres_place.h"
#include "compute/compute.h"
#include "compute/policy.h"
#include "environments/environments.h"
#include "http/server.h"
#include "jobs/environment_routes.h"
#include "jobs/jobs.h"
#include "mlflow/mlflow.h"
#include "process/sandbox.h"
#include "rebuild/rebuilds.h"
#include "removal/remover.h"
#include "serving/nodes.h"
#include "serving/pass_on.h"
#include "serving/serving.h"
#include "tracking/tracking.h"
#include "tracking/routes.h"

namespace lathe::app {
namespace {

/// In the data folder of a server whose records are in PostgreSQL: where they are.
constexpr std::string_view kStorePlace = "store.place";
constexpr auto kStopLimit = std::chrono::seconds{15};

using http::Call;
using http::Method;
using http::Response;
using http::Right;

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

/// TLS beyond loopback, unless a proxy does it: the given certificate or one of our own.
Result<void> choose_tls(const Config& config, http::ServerOptions& options) {
  const auto& certificate = config.text("tls_certificate");
  const auto& key = config.text("tls_key");
  if (certificate.empty() != key.empty()) return fail(Code::invalid, "tls_certificate and tls_key go together: give both or neither");
  if (!certificate.empty()) {
    LATHE_CHECK(check_pair({certificate, key}));  // before what runs is started again for it
    options.certificate_file = certificate;
    options.key_file = key;
  } else if (!is_loopback(options.host) && !config.flag("behind_proxy")) {
    LATHE_TRY(const auto own, own_certificate(config.data(), options.host));
    options.certificate_file = own.certificate;
    options.key_file = own.key;
  }
  return {};
}

/// Everything of one server, in the order in which it is made. Gone in the reverse order.
class App {
 public:
  explicit App(const Config& config) : config_(config) {}

  Result<void> start() {
    const auto begun = std::chrono::steady_clock::now();
    const auto data = config_.data();
    if (!config_.flag("auth") && !is_loopback(config_.text("host")))
      return fail(Code::invalid, "--auth off works on loopback only: leave auth on, or listen on 127.0.0.1");
    LATHE_TRY(auto folder, DataFolder::lock(data));
    folder_.emplace(std::move(folder));
    LATHE_TRY(db_, open_store(config_, data, db::migrations()));
    LATHE_TRY(auth_, auth::Auth::open(*db_, !config_.flag("auth")));
    LATHE_TRY(const auto first_token, auth_->first_start());
    if (first_token) {
      LATHE_CHECK(db_->write([](db::Connection& c) { return tracking::date_default_experiment(c, now()); }));
      LATHE_CHECK(write_file(data / "admin.token", *first_token + "\n"));
    } else if (!std::filesystem::exists(data / "admin.token"))
      log::warn("the store has its users already, and the first one's token is not here: copy it to {}", (data / "admin.token").string());
    LATHE_TRY(assets_, assets::Assets::open(*db_, data));
    LATHE_TRY(artifacts_, open_artifacts(config_, data, false));
    models_ = std::make_unique<assets::Models>(*assets_, *artifacts_, job_origin);
    LATHE_CHECK(open_compute());
    http::ServerOptions options;
    options.host = config_.text("host");
    options.port = config_.port("port");
    LATHE_CHECK(choose_tls(config_, options));
    serving_ = std::make_unique<serving::Serving>(*db_, *models_, *compute_, data_plane_options(options));
    LATHE_TRY(nodes_, serving::Nodes::open(*db_, *serving_));
    LATHE_CHECK(serving_->begin());
    options.allowed_hosts = config_.list("allowed_hosts");
    options.preflight_route = serving::kPassOnRoute;
    options.interrupt = [this] { artifacts_->interrupt(); };
    options.authenticate = [this](const std::optional<http::Credentials>& who) { return auth_->authenticate(who); };

    const std::string certificate = options.certificate_file;
    LATHE_TRY(auto launcher_options, choose_isolation(data, certificate));
    launcher_options.gpus = gpus_->list();
    LATHE_TRY(launcher_, jobs::Launcher::open(std::move(launcher_options), assets_->blobs()));
    LATHE_TRY(environments_, environments::Environments::open(environment_options(), launcher_->groups()));
    assets_->keeps_build_folders = environments_->builds_images();
    assets_->explain_environment = [this](const json::Object& definition) { return environments_->explain(definition); };
    const auto low_water = jobs::parse_low_water(config_.text("disk_low_water")).value_or(jobs::LowWater{});
    jobs_ = std::make_unique<jobs::Jobs>(*db_, *auth_, *compute_, *launcher_, *environments_, jobs::DiskRoom({data, launcher_->root()}, low_water),
                                         job_resolvers(*assets_, *models_, *environments_),
                                         jobs::UsageLog::Options{config_.interval("job_metrics_interval"), gpus_.get()});
    serving_->set_python(python_site(*auth_, *assets_, *models_, *environments_, *launcher_, config_));
    environments_->used_by = [this](const std::string& digest) -> Result<std::optional<std::string>> {
      LATHE_TRY(const auto job, jobs_->user_of_environment(digest));
      if (job) return std::optional("job " + *job);
      return serving_->user_of_environment(digest);
    };

    LATHE_TRY(slurm_, open_slurm(config_, *compute_));
    jobs::RemoteJobs* remote = nullptr;
    if (slurm_) {
      LATHE_TRY(auto remote_options, app::remote_options(config_, certificate));
      compute_->connect(*slurm_);
      remote = &jobs_->connect(*slurm_, std::move(remote_options));
    }
    jobs::add_remote_routes(router_, remote);

    rebuilds_ = std::make_unique<rebuild::Rebuilds>(*models_, *jobs_, job_resolvers(*assets_, *models_, *environments_),
                                                    data_plane_options(options).program);
    remover_ = std::make_unique<removal::Remover>(*db_, *artifacts_, removal_options());

    add_own_routes();
    auth::add_routes(router_, *auth_);
    assets::add_routes(router_, *assets_);
    assets::add_routes(router_, *models_);
    compute::add_routes(router_, *compute_);
    jobs::add_routes(router_, *jobs_, *artifacts_);
    jobs::add_environment_routes(router_, *jobs_, *assets_, *environments_);
    tracking::add_routes(router_, *db_);
    mlflow::add_routes(router_, *db_, *artifacts_);
    serving::add_routes(router_, *serving_);
    serving::add_routes(router_, *nodes_);
    serving::add_routes(router_, std::make_shared<serving::PassOn>(serving_->data_plane()));
    rebuild::add_routes(router_, *models_, *rebuilds_);
    removal::add_routes(router_, *db_, *remover_);

    LATHE_TRY(server_, http::serve(std::move(options), router_));

    launcher_->set_tracking_url(url_for_jobs());
    if (remote != nullptr) remote->set_url(url_for_nodes(config_, server_->url()));
    LATHE_CHECK(serving_->start());
    LATHE_CHECK(jobs_->start());
    remover_->start();

    const auto infer = serving_->data_plane().url();
    Announcement about{::getpid(), server_->url(), infer, std::nullopt};
    if (!certificate.empty()) {
      LATHE_TRY(about.certificate_sha256, fingerprint(certificate));
    }
    LATHE_CHECK(announce(data, about));
    note_last_data(data, [](const char* name) { return static_cast<const char*>(std::getenv(name)); });
    fmt::print("ready {} infer {} grpc {}\n", server_->url(), infer, serving_->data_plane().grpc());
    std::fflush(stdout);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
    log::info("serving url={} data={} version={} start_ms={}", server_->url(), data.string(), version(), took.count());
    return {};
  }

  void stop() {
    server_->stop(std::chrono::seconds{5});
    remover_->stop();
    std::error_code ignored;
    std::filesystem::remove(config_.data() / "server.json", ignored);
  }

 private:
  /// The data plane shows the server's certificate; without one it is open beyond loopback only behind a proxy that adds TLS.
  serving::DataPlaneOptions data_plane_options(const http::ServerOptions& own_port) const {
    const auto& host = config_.text("host");
    const bool open = is_loopback(host) || config_.flag("behind_proxy") || !own_port.certificate_file.empty();
    std::error_code ignored;
    const auto own = std::filesystem::read_symlink("/proc/self/exe", ignored);
    return {config_.data(), own.parent_path() / "lathe-infer", open ? host : "127.0.0.1", config_.port("infer_port"),
            config_.port("grpc_port"), own_port.certificate_file, own_port.key_file,
            *serving::parse_inference_memory(config_.text("inference_memory")),  // both checked at load
            *serving::parse_response_cache(config_.text("response_cache")),
            std::stoi(config_.text("parked_interpreters"))};
  }

  /// Which jobs run in a sandbox, and whether there may be several users.
  Result<jobs::Launcher::Options> choose_isolation(const std::filesystem::path& data, const std::string& certificate) {
    jobs::Launcher::Options options{data, certificate};
    options.network = config_.text("isolation_network") == "host";
    options.images = config_.text("environment_images") != "off";
    const auto& isolation = config_.text("isolation");
    LATHE_TRY(const auto of_targets, parse_isolation_targets(config_.text("isolation_targets")));
    const auto some = [&](bool sandboxed) {
      return std::any_of(of_targets.begin(), of_targets.end(), [&](const auto& one) { return one.second == sandboxed; });
    };
    const bool as_root = ::geteuid() == 0;
    if (isolation == "sandbox" || some(true))
      if (const auto why = process::why_no_sandbox(jobs::Launcher::account_of(0)))
        return fail(Code::unavailable, "isolation: sandbox does not work here: " + *why);
    if (options.images)  // an image's files are entered in the same way
      if (const auto why = process::why_no_sandbox(jobs::Launcher::account_of(0)))
        return fail(Code::unavailable, "environment_images: jobs cannot run in images here: " + *why);
    options.sandboxed = [this, isolation, of_targets, as_root](const std::string& target) {
      if (const auto own = of_targets.find(target); own != of_targets.end()) return own->second;
      return isolation == "sandbox" || (isolation == "auto" && !as_root && auth_->has_several_users());
    };
    if (as_root) return options;
    const std::string off = isolation == "off" ? "isolation is off" : some(false) ? "isolation_targets says off for a target" : "";
    if (!off.empty() && auth_->has_several_users())
      return fail(Code::conflict, fmt::format("this server has several users and does not run as root, so that jobs are kept apart by a sandbox alone, and {}: "
                                              "take that setting away, or run `lathe serve` as root", off));
    auth_->jobs_are_apart = [off]() -> Result<void> {
      const auto why = off.empty() ? process::why_no_sandbox(std::nullopt) : off;
      if (!why) return {};
      return fail(Code::conflict, fmt::format("this server does not run as root, so that jobs can be kept apart by a sandbox alone, and {}: it serves one user. "
                                              "{}, to add others", *why, off.empty() ? "Run `lathe serve` as root, or make the sandbox work (see the guide, isolation)"
                                                                                     : "Run `lathe serve` as root, or take that setting away"));
    };
    return options;
  }

  environments::Environments::Options environment_options() const {
    const auto shared = launcher_->root() / ".lathe";
    return {shared / "environments", shared / "python/lathe_environments/build.py", config_.text("environment_index"),
            config_.list("environment_find_links"), config_.text("environment_conda"), config_.text("environment_images"),
            &assets_->blobs()};
  }

  Result<void> open_compute() {
    gpus_ = compute::Gpus::open(compute::gpu_places([](const char* name) { return static_cast<const char*>(std::getenv(name)); }));
    const auto machine = compute::this_machine(static_cast<std::int64_t>(gpus_->list().size()));
    log::info("this machine: {}; GPUs: {}", machine.words(), gpus_->source());
    LATHE_TRY(auto own, compute::parse_sizes(config_.text("sizes")));
    LATHE_TRY(const auto policy, compute::policy_named(config_.text("scheduling")));
    LATHE_TRY(const auto quotas, compute::read_quotas(config_.list("user_quotas")));
    LATHE_TRY(compute_, compute::Compute::open(*db_, compute::Sizes(machine, std::move(own)), *gpus_, policy));
    LATHE_CHECK(compute_->record_in(config_.data() / "scheduler"));
    compute_->set_quotas(quotas);
    return {};
  }

  removal::Remover::Options removal_options() const {
    removal::Remover::Options options{config_.data(), launcher_->root()};
    if (const auto retention = parse_duration(config_.text("deleted_retention"))) options.retention = *retention;
    return options;
  }

  /// A server that listens on all addresses is reached from this machine by loopback.
  std::string url_for_jobs() const {
    const auto& host = config_.text("host");
    if (host != "0.0.0.0" && host != "::") return server_->url();
    const auto url = server_->url();
    return fmt::format("{}://127.0.0.1:{}", url.substr(0, url.find(':')), server_->port());
  }

  void add_own_routes() {
    const auto ok = [](Call&) -> Result<Response> { return http::text_response("ok\n"); };
    router_.add({.id = "healthz", .method = Method::get, .path = "/healthz", .right = Right::open, .summary = "The process runs."}, ok);
    router_.add({.id = "readyz", .method = Method::get, .path = "/readyz", .right = Right::open, .summary = "The store answers."},
                [this](Call&) -> Result<Response> {
                  LATHE_CHECK(db_->read([](db::Connection& c) { return db::run(c, "SELECT 1"); }));
                  return http::text_response("ok\n");
                });
    router_.add({.id = "metrics", .method = Method::get, .path = "/metrics", .right = Right::read, .summary = "Prometheus metrics."},
                [this](Call&) -> Result<Response> {
                  auto response = http::text_response(server_->metrics());
                  response.type = "text/plain; version=0.0.4; charset=utf-8";
                  return response;
                });
    router_.add({.id = "openapi", .method = Method::get, .path = "/api/v1/openapi.json", .right = Right::open, .summary = "This API, as OpenAPI 3.1."},
                [this](Call&) -> Result<Response> { return http::json_response(http::openapi(router_)); });
  }

  const Config& config_;
  std::optional<DataFolder> folder_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<auth::Auth> auth_;
  std::unique_ptr<assets::Assets> assets_;
  std::unique_ptr<storage::Storage> artifacts_;
  std::unique_ptr<assets::Models> models_;
  std::unique_ptr<compute::Gpus> gpus_;
  std::unique_ptr<slurm::SlurmEngine> slurm_;  ///< null: off
  std::unique_ptr<compute::Compute> compute_;
  std::unique_ptr<jobs::Launcher> launcher_;
  std::unique_ptr<environments::Environments> environments_;
  std::unique_ptr<jobs::Jobs> jobs_;
  std::unique_ptr<serving::Nodes> nodes_;  // whom serving_ asks until its end
  std::unique_ptr<serving::Serving> serving_;
  std::unique_ptr<rebuild::Rebuilds> rebuilds_;
  std::unique_ptr<removal::Remover> remover_;
  http::Router router_;
  std::unique_ptr<http::Server> server_;
};

}  // namespace

Result<std::unique_ptr<db::Database>> open_store(const Config& config, const std::filesystem::path& data,
                                                 const std::vector<db::Migration>& steps) {
  const auto& store = config.text("store");
  if (store == "sqlite") {
    LATHE_CHECK(check_own_store(config, data));
    return db::open_sqlite((data / "lathe.db").string(), steps);
  }
  LATHE_TRY(auto opened, db::open_postgres(store, steps, [](const std::string& why) {
    log::error("ending why=\"{}\"", why);
    ::kill(::getpid(), SIGTERM);
  }));
  LATHE_CHECK(write_file(data / kStorePlace, db::shown_place(store) + "\n"));
  return opened;
}

Result<void> check_own_store(const Config& config, const std::filesystem::path& data) {
  if (config.text("store") != "sqlite") return {};
  const auto place = read_file(data / kStorePlace);
  if (!place) return {};
  return fail(Code::conflict, fmt::format("the records of {} are in {}: name that with --store (or remove {}, if they are not "
                                          "wanted any more)", data.string(), trim(*place), (data / kStorePlace).string()));
}

Result<std::unique_ptr<storage::Storage>> open_artifacts(const Config& config, const std::filesystem::path& data, bool to_read) {
  const auto& where = config.text("artifacts");
  if (where.find("://") == std::string::npos) {
    const auto folder = where.empty() ? data / "artifacts" : std::filesystem::absolute(where);
    if (to_read) return storage::look_into_folder(folder);
    return storage::open_folder(folder);
  }
  if (!where.starts_with("s3://"))
    return fail(Code::invalid, fmt::format("artifacts must be s3://BUCKET/PREFIX or a folder, not \"{}\" (from {})", where,
                                           config.origin("artifacts")));
  LATHE_TRY(auto place, storage::parse_s3(where));
  place.endpoint = config.text("artifacts_endpoint");
  place.region = config.text("artifacts_region");
  if (const auto& style = config.text("artifacts_path_style"); style != "auto") place.path_style = style == "true";
  // Whoever reads beside a server leaves the server's uploads alone.
  place.journal = data / (to_read ? "no-uploads" : "uploads");
  return storage::open_s3(std::move(place), [](const char* name) { return static_cast<const char*>(std::getenv(name)); });
}

int serve(const Config& config) {
  // Fewer arenas: memory that one thread frees is used by the others.
  ::mallopt(M_ARENA_MAX, 2);
  const auto& level = config.text("log_level");
  log::start(level == "debug"  ? log::Level::debug
             : level == "warn" ? log::Level::warn
             : level == "error" ? log::Level::error
                                : log::Level::info,
             config.text("log_format") == "json");

  // Blocked before threads start, so that only sigwait below takes them.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  App app(config);
  if (const auto started = app.start(); !started) {
    fmt::print(stderr, "lathe serve: {}\n", started.error().message);
    return 1;
  }
  int signal = 0;
  ::sigwait(&signals, &signal);
  log::info("stopping signal={}", signal);
  // Requests that run on hold nothing that a kill would lose.
  std::thread([] {
    std::this_thread::sleep_for(kStopLimit);
    log::warn("ending without the requests that still run");
    std::_Exit(0);
  }).detach();
  app.stop();
  return 0;
}

}  // namespace lathe::app
