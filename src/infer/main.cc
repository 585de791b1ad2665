#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <thread>

#include "base/log.h"
#include "base/version.h"
#include "infer/answer.h"
#include "infer/capture/capture_writer.h"
#include "infer/cluster/join.h"
#include "infer/load_model.h"
#include "infer/operator.h"
#include "infer/reconciler.h"
#include "infer/service.h"
#include "infer/try_model.h"
#include "infer/workers/worker_process.h"

namespace lathe::infer {
namespace {

constexpr std::chrono::seconds kGrace{20};
constexpr std::int64_t kMostBytes = std::int64_t{1} << 50;  ///< that a flag may ask for

struct Options {
  std::string folder;
  http::ServerOptions server;
  std::size_t cache_bytes = ServiceLimits{}.cache_bytes;
  std::int64_t memory_bytes = 0;
  int parked_interpreters = WorkerHost::kMostParked;
  std::string certificate;
  std::string key;
  CaptureOptions capture;
  bool json_log = false;
  JoinOptions join;
};

/// As many connections as the machine allows, not the 1,024 that are usual.
void allow_open_files() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

/// Serves until SIGTERM or SIGINT.
Result<void> serve(Options options) {
  // Blocked before any thread starts, so that only this one takes them.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  allow_open_files();

  std::shared_ptr<http::Tls> tls;
  if (!options.certificate.empty()) {
    LATHE_TRY(tls, http::Tls::load(options.certificate, options.key));
  }
  options.server.tls = tls;
  if (options.capture.folder.empty()) options.capture.folder = std::filesystem::path(options.folder) / "capture";
  capture_writer().start(options.capture);
  WorkerHost workers(std::filesystem::path(options.folder) / "logs", options.parked_interpreters);
  Residents residents(options.memory_bytes);
  CatalogHolder catalog{std::make_shared<const Catalog>()};
  LATHE_TRY(const auto key, operator_key(options.folder));
  Peers peers;
  Service service(catalog, peers,
                  {std::max(2, options.server.threads), options.server.limits.body_bytes, options.cache_bytes}, key);
  LATHE_TRY(const auto server, http::Server::listen(options.server, service));
  const auto& host = options.server.host;
  const auto place = (host.find(':') != std::string::npos ? "[" + host + "]" : host) + ":";
  const auto url = (tls ? "https://" : "http://") + place + std::to_string(server->port());
  const auto grpc = place + std::to_string(server->grpc_port());
  std::unique_ptr<Member> member;
  if (!options.join.server.empty()) {
    LATHE_TRY(auto joining, member_options(options.join, options.folder, url, grpc));
    joining.captured = options.capture.folder;
    LATHE_TRY(member, Member::open(std::move(joining), catalog));
  }
  Reconciler reconciler(options.folder, url, grpc, tls, catalog, workers, residents, peers);
  LATHE_CHECK(reconciler.start());
  server->start();
  if (member) member->start();
  std::printf("ready %s grpc %s\n", url.c_str(), grpc.c_str());
  std::fflush(stdout);

  int signal = 0;
  sigwait(&ends, &signal);
  log::info("ending signal={}", signal);
  peers.leave();
  service.hurry();
  server->drain(kGrace);
  residents.finish();
  peers.finish();
  service.finish();
  workers.finish();
  capture_writer().finish();
  member.reset();
  return {};
}

int run(int argc, char** argv) {
  Options options;
  options.server.port = 8081;
  options.server.grpc_port = 8082;
  options.server.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  auto capture_s = options.capture.age.count();
  CLI::App app(
      "lathe-infer " + std::string(version()) +
      ": answers predictions.\n\nLoads the models that FOLDER/desired.json names, says in FOLDER/reported.json "
      "what it has reached, and\nspeaks the Open Inference Protocol v2 (/v2/models/ENDPOINT/infer, and gRPC), MLflow's "
      "/invocations and Azure ML's\n/score (both also below /endpoints/ENDPOINT). 'lathe serve' starts it by "
      "itself; with --join it answers on another machine for the endpoints of a server.");
  app.add_option("--folder", options.folder,
                 "where desired.json and reported.json are (with --join: a folder below HOME)");
  app.add_option("--host", options.server.host,
                 "address to listen on (127.0.0.1; with --join on another machine: all)");
  app.add_option("--port", options.server.port, "port to listen on; 0 picks one")->capture_default_str();
  app.add_option("--grpc-port", options.server.grpc_port, "port to listen on for gRPC; 0 picks one")
      ->capture_default_str();
  auto* const certificate = app.add_option("--tls-certificate", options.certificate,
                                           "certificate (PEM) of both ports, which may be replaced while they answer");
  app.add_option("--tls-key", options.key, "its key (PEM)")->needs(certificate);
  certificate->needs("--tls-key");
  auto* const join =
      app.add_option("--join", options.join.server, "URL of a server whose predictions this machine is to answer too");
  auto* const token = app.add_option("--token-file", options.join.token_file,
                                     "file with the token that 'lathe inference-node create' printed");
  join->needs(token);
  token->needs(join);
  app.add_option("--server-certificate-sha256", options.join.certificate_sha256,
                 "the certificate that the server must show, where it is one that it made itself")
      ->needs(join);
  app.add_option("--advertise", options.join.advertise, "URL by which others reach this machine, when it cannot tell")
      ->needs(join);
  app.add_option("--threads", options.server.threads, "threads that answer")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  app.add_option("--max-body-bytes", options.server.limits.body_bytes, "largest request body")->capture_default_str();
  app.add_option("--response-cache-bytes", options.cache_bytes,
                 "what the answers that deployments keep (response_cache) may take together")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, kMostBytes));
  app.add_option("--capture-folder", options.capture.folder,
                 "where captured predictions are kept (data_collector); FOLDER/capture if not given")
      ->excludes(join);  // from there they go to the server, and nothing else may
  app.add_option("--capture-seconds", capture_s, "how long a file of them gets lines before it can be read")
      ->capture_default_str()
      ->check(CLI::Range(1, 86'400));
  app.add_option(
         "--memory-bytes", options.memory_bytes,
         "what native models may take together, told by the size of their files: the one that was not asked for "
         "longest leaves memory, and comes back with its next request; 0: no limit")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, kMostBytes));
  app.add_option("--parked-interpreters", options.parked_interpreters,
                 "Python processes that wait, with their modules imported, for the wake of deployments that sleep: of "
                 "those that were asked last; 0: none")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("--json-log", options.json_log, "log as JSON lines");
  app.set_version_flag("--version", version());
  options.server.host.clear();
  CLI11_PARSE(app, argc, argv);
  if (options.server.host.empty()) options.server.host = default_host(options.join);
  options.capture.age = std::chrono::seconds(capture_s);

  log::start(log::Level::info, options.json_log);
  if (options.folder.empty() && !options.join.server.empty()) {
    auto folder = default_folder();
    if (folder) options.folder = folder->string();
  }
  if (options.folder.empty()) {
    std::fprintf(stderr, "lathe-infer: --folder is needed: where desired.json and reported.json are\n");
    return 1;
  }
  if (const auto served = serve(options); !served) {
    std::fprintf(stderr, "lathe-infer: %s\n", served.error().message.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace lathe::infer

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == lathe::infer::kLaunchFlag) return lathe::infer::launch_worker(argv[2]);
  if (argc == 4 && std::string_view(argv[1]) == lathe::infer::kTryFlag) {
    lathe::infer::try_model(argv[2], argv[3]);  // whether it can be read is found again, with the reason, by who asked
    return 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == lathe::infer::kAnswerFlag) {
    lathe::log::start(lathe::log::Level::warn, false);
    const std::string question{std::istreambuf_iterator<char>(std::cin), {}};
    const auto answer = lathe::infer::answer_question(question);
    return std::fwrite(answer.data(), 1, answer.size(), stdout) == answer.size() && std::fflush(stdout) == 0 ? 0 : 1;
  }
  return lathe::infer::run(argc, argv);
}
