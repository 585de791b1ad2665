#include "serving/data_plane.h"

#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>

#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "json/fields.h"
#include "process/log_follow.h"
#include "serving/captured.h"

namespace lathe::serving {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kFirstReport{60};
constexpr std::chrono::seconds kStopGrace{25};
constexpr std::chrono::seconds kKillGrace{10};
constexpr std::chrono::milliseconds kLook{20};
constexpr const char* kCertificate = "certificate.pem";
constexpr const char* kKey = "key.pem";
constexpr int kRestartPauseMs = 3000;
constexpr int kTakeAgainMs = 500;
constexpr std::chrono::minutes kSayAgain{1};
constexpr std::chrono::seconds kAskAgain{2};
constexpr int kRestartsPerMinute = 10;
constexpr std::uint64_t kLogBytes = std::uint64_t{16} << 20;

/// Names the folder of the run that is, or was last, under a shim.
fs::path current_file(const fs::path& folder) {
  return folder / "current";
}

std::optional<fs::path> current_run(const fs::path& folder) {
  const auto name = read_file(current_file(folder), 4096);
  if (!name || name->empty() || name->find('/') != std::string::npos) return std::nullopt;
  return folder / *name;
}

bool is_running(const fs::path& run) {
  const auto seen = process::observe(run);
  return seen && seen->status == process::Status::running;
}

std::uint16_t port_of(const std::string& url) {
  const auto colon = url.rfind(':');
  return colon == std::string::npos ? std::uint16_t{0} : static_cast<std::uint16_t>(std::atoi(url.c_str() + colon + 1));
}

/// Holds a port: nothing else is given it as a free one, and a program that asks for this one, with SO_REUSEADDR, gets
/// it. 0 and nothing held when it is taken. Errors: `invalid` — no such address.
Result<HeldPort> hold_port(const std::string& host, std::uint16_t port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found) != 0 || found == nullptr)
    return fail(Code::invalid, "\"" + host + "\" is not an address of this machine");
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  Fd socket{::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!socket || ::bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0) return HeldPort{};
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return HeldPort{};
  const auto raw = bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                                               : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;
  return HeldPort{ntohs(raw), std::move(socket)};
}

/// What lathe-infer inherits: where libraries and GPUs are, and how sanitizers report.
std::vector<std::pair<std::string, std::string>> environment() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const char* name : {"PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "LATHE_ONNXRUNTIME", "CUDA_VISIBLE_DEVICES",
                           "ASAN_OPTIONS", "UBSAN_OPTIONS"})
    if (const char* value = std::getenv(name)) out.emplace_back(name, value);
  return out;
}

/// Old runs' folders hold their logs; the last few are enough.
void forget_old_runs(const fs::path& folder, const fs::path& keep) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator{}; entry.increment(error))
    if (entry->path() != keep && entry->path().filename().string().starts_with("run-") && !is_running(entry->path())) {
      (void)process::cleanup(entry->path());
      std::error_code ignored;
      fs::remove_all(entry->path(), ignored);
    }
}

/// "4GiB", "500MiB", or the word for 0. Errors: `invalid`.
Result<std::int64_t> parse_memory(std::string_view text, std::string_view none) {
  if (text == none) return 0;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  const double bytes = unit == "GiB" ? 0x1p30 : unit == "MiB" ? 0x1p20 : 0;
  if (error == std::errc{} && value > 0 && value <= 1e6 && bytes > 0) return static_cast<std::int64_t>(value * bytes);
  return fail(Code::invalid,
              "must be " + std::string(none) + " or a size such as 4GiB or 500MiB, not \"" + std::string(text) + "\"");
}

}  // namespace

const ReportedDeployment* Reported::find(std::string_view endpoint, std::string_view deployment) const {
  for (const auto& each : deployments)
    if (each.endpoint == endpoint && each.deployment == deployment) return &each;
  return nullptr;
}

Result<http::ClientOptions> Reported::client_options() const {
  if (rest.empty()) return fail(Code::unavailable, "the data plane does not run: the server's log says why");
  http::ClientOptions out;
  out.url = rest;
  out.certificate_sha256 = certificate;
  return out;
}

Result<std::int64_t> parse_inference_memory(std::string_view text) {
  return parse_memory(text, "unlimited");
}

Result<std::int64_t> parse_response_cache(std::string_view text) {
  return parse_memory(text, "0");
}

Result<Reported> parse_reported(std::string_view text) {
  LATHE_TRY(const auto document, json::parse_object(text));
  Reported out;
  LATHE_TRY(const auto generation, json::get_int(document, "generation"));
  out.generation = generation.value_or(0);
  LATHE_TRY(const auto shown, json::get_int(document, "shown"));
  out.shown = shown.value_or(out.generation);
  LATHE_TRY(const auto rest, json::get_string(document, "rest"));
  out.rest = rest.value_or("");
  LATHE_TRY(const auto grpc, json::get_string(document, "grpc"));
  out.grpc = grpc.value_or("");
  LATHE_TRY(const auto certificate, json::get_string(document, "certificate_sha256"));
  out.certificate = certificate.value_or("");
  LATHE_TRY(const auto memory, json::get_int(document, "memory_bytes"));
  out.memory_bytes = memory.value_or(0);
  LATHE_TRY(out.parked_interpreters, json::get_int(document, "parked_interpreters"));
  LATHE_TRY(const auto pid, json::get_int(document, "pid"));
  out.pid = pid.value_or(0);
  LATHE_TRY(const auto* gpus, json::get_object(document, "gpus"));
  for (const auto& member : gpus != nullptr ? *gpus : json::Object{}) {
    const std::string holder(member.key().data(), member.key().size());
    LATHE_TRY(out.gpus[holder], json::from_json<std::vector<int>>(member.value(), "gpus." + holder));
  }
  LATHE_TRY(const auto* deployments, json::get_array(document, "deployments"));
  if (deployments == nullptr) return out;
  for (const auto& item : *deployments) {
    if (!item.is_object()) return fail(Code::invalid, "deployments: must be objects");
    const auto text_of = [&](std::string_view key) {
      const auto found = json::get_string(item.get_object(), key);
      return found && *found ? **found : std::string{};
    };
    LATHE_TRY(const auto own_generation, json::get_int(item.get_object(), "generation"));
    LATHE_TRY(const auto instances, json::get_int(item.get_object(), "instances"));
    LATHE_TRY(const auto tries_again, json::get_bool(item.get_object(), "tries_again"));
    out.deployments.push_back({text_of("endpoint"), text_of("deployment"), text_of("state"), text_of("error"),
                               text_of("model"), text_of("version"), own_generation.value_or(out.generation),
                               text_of("runtime"), instances, tries_again.value_or(false)});
  }
  return out;
}

DataPlane::DataPlane(DataPlaneOptions options, std::function<bool(const Reported&)> on_report)
    : options_(std::move(options)), on_report_(std::move(on_report)), folder_(options_.data / "infer") {}

DataPlane::~DataPlane() {
  if (begun_here_) (void)process::request_stop(run_);
  watch_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (!thread_.joinable()) return;
  wake();
  thread_.join();
}

Result<void> DataPlane::begin() {
  LATHE_CHECK(make_folder(folder_));
  inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  event_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!inotify_ || !event_ || ::inotify_add_watch(inotify_.get(), folder_.c_str(), IN_MOVED_TO) < 0)
    return fail(errno_error("cannot watch " + folder_.string()));
  LATHE_CHECK(link_certificate());
  const auto run = current_run(folder_);
  if (run && is_running(*run)) {
    const auto text = read_file(folder_ / "reported.json");
    const auto reported = text ? parse_reported(*text) : Result<Reported>(Reported{});
    const bool as_wanted =
        !reported || reported->rest.empty() ||
        (reported->rest.starts_with("https:") == !options_.certificate.empty() &&
         reported->memory_bytes == options_.memory_bytes &&
         reported->parked_interpreters.value_or(options_.parked_interpreters) == options_.parked_interpreters);
    if (as_wanted) {
      run_ = *run;
      return {};
    }
    log::info("the data plane is started again {} TLS, memory_bytes={} parked_interpreters={}",
              options_.certificate.empty() ? "without" : "with", options_.memory_bytes, options_.parked_interpreters);
    LATHE_CHECK(stop_running(*run));
  }
  LATHE_TRY(run_, launch());
  begun_here_ = true;
  return {};
}

Result<void> DataPlane::start() {
  watch_ = std::make_unique<process::Watch>([this](const fs::path&) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    wake();
  });
  LATHE_CHECK(await_first_report(run_));
  LATHE_CHECK(watch_->add(run_));
  log::info("the data plane {} url={}", begun_here_ ? "runs" : "goes on", url());
  if (options_.port != 0 && port_of(url()) != options_.port)
    log::warn("the data plane that was running keeps its port url={}; 'lathe stop --all' ends it", url());
  begun_here_ = false;
  thread_ = std::thread([this] { follow(); });
  return {};
}

Result<void> DataPlane::link_certificate() const {
  if (options_.certificate.empty()) return {};
  for (const auto& [name, target] : {std::pair(kCertificate, options_.certificate), std::pair(kKey, options_.key)}) {
    std::error_code error;
    const auto path = fs::absolute(target, error);
    const auto draft = folder_ / (std::string(name) + ".new");
    fs::remove(draft, error);
    fs::create_symlink(path, draft, error);
    if (!error) fs::rename(draft, folder_ / name, error);
    if (error) return fail(Code::internal, "cannot make " + (folder_ / name).string() + ": " + error.message());
  }
  return {};
}

Result<void> DataPlane::stop_running(const fs::path& run) const {
  LATHE_CHECK(process::request_stop(run));
  const auto deadline = Clock::now() + kStopGrace + kKillGrace;
  while (is_running(run)) {
    if (Clock::now() >= deadline)
      return fail(Code::timeout,
                  "the data plane that runs does not end: end it with 'lathe stop --all', then start again");
    std::this_thread::sleep_for(kLook);
  }
  return {};
}

Result<HeldPort> DataPlane::choose_port(std::uint16_t wanted, const std::string& before, const char* flag) const {
  const auto first = wanted != 0 ? wanted : port_of(before);
  if (first != 0) {
    LATHE_TRY(auto held, hold_port(options_.host, first));
    if (held.port != 0) return held;
    if (wanted != 0)
      return fail(Code::conflict,
                  "port " + std::to_string(wanted) + " on " + options_.host +
                      ", on which predictions would be answered, is taken by another program: stop it, or "
                      "choose another with " +
                      flag);
  }
  LATHE_TRY(auto held, hold_port(options_.host, 0));
  if (held.port == 0) return fail(Code::exhausted, "no port is free on " + options_.host);
  return held;
}

Result<fs::path> DataPlane::launch() {
  if (const auto before = current_run(folder_)) {
    // A killed shim leaves its program behind, and with it the port.
    const auto seen = process::observe(*before);
    if (seen && seen->status == process::Status::lost) (void)process::kill_now(*before);
  }
  Reported before;
  if (const auto text = read_file(folder_ / "reported.json"))
    if (auto parsed = parse_reported(*text)) before = std::move(*parsed);
  LATHE_TRY(rest_, choose_port(options_.port, before.rest, "--infer-port"));
  LATHE_TRY(grpc_, choose_port(options_.grpc_port, before.grpc, "--grpc-port"));
  std::error_code ignored;
  fs::remove(folder_ / "reported.json", ignored);
  const auto run = folder_ / ("run-" + random_hex(8));
  LATHE_CHECK(make_folder(run));
  LATHE_CHECK(write_file(current_file(folder_), run.filename().string()));

  process::Spec spec;
  spec.argv = {options_.program.string(),  "--folder",    folder_.string(),          "--host", options_.host, "--port",
               std::to_string(rest_.port), "--grpc-port", std::to_string(grpc_.port)};
  spec.argv.insert(spec.argv.end(), {"--capture-folder", collected_folder(options_.data).string()});
  spec.argv.insert(spec.argv.end(), {"--response-cache-bytes", std::to_string(options_.response_cache_bytes)});
  spec.argv.insert(spec.argv.end(), {"--parked-interpreters", std::to_string(options_.parked_interpreters)});
  if (!options_.certificate.empty())
    spec.argv.insert(spec.argv.end(),
                     {"--tls-certificate", (folder_ / kCertificate).string(), "--tls-key", (folder_ / kKey).string()});
  if (options_.memory_bytes > 0)
    spec.argv.insert(spec.argv.end(), {"--memory-bytes", std::to_string(options_.memory_bytes)});
  spec.env = environment();
  spec.log_bytes = kLogBytes;
  spec.grace = kStopGrace;
  spec.restarts_per_minute = kRestartsPerMinute;
  // It has no limits, and so no control group.
  LATHE_CHECK(process::start(run, spec, process::Cgroups{}));
  forget_old_runs(folder_, run);
  return run;
}

Result<void> DataPlane::await_first_report(const fs::path& run) {
  const auto deadline = Clock::now() + kFirstReport;
  for (;;) {
    take_report();
    if (!url().empty()) return {};
    const auto seen = process::observe(run);
    const bool ended = !seen || seen->status != process::Status::running;
    if (ended || Clock::now() >= deadline) {
      const auto said = process::last_lines(run, 3);
      return fail(ended ? Code::unavailable : Code::timeout,
                  (ended ? "lathe-infer ended at once"
                         : "lathe-infer does not begin to answer; its log is in " + run.string()) +
                      (said && !said->empty() ? ": " + *said : std::string{}));
    }
    pollfd waiting{inotify_.get(), POLLIN, 0};
    ::poll(&waiting, 1, 50);
    std::array<char, 4096> events{};
    while (::read(inotify_.get(), events.data(), events.size()) > 0) continue;
  }
}

void DataPlane::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
}

void DataPlane::follow() {
  bool taken = take_report();
  int pause = -1;
  for (;;) {
    std::array<pollfd, 2> waiting{{{inotify_.get(), POLLIN, 0}, {event_.get(), POLLIN, 0}}};
    const int ready = ::poll(waiting.data(), waiting.size(), pause >= 0 || taken ? pause : kTakeAgainMs);
    std::array<char, 4096> events{};
    while (::read(inotify_.get(), events.data(), events.size()) > 0) continue;
    std::uint64_t count = 0;
    while (::read(event_.get(), &count, sizeof count) > 0) continue;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (std::exchange(ended_, false)) {
        say_ended();
        pid_ = 0;
        pause = kRestartPauseMs;
        continue;
      }
    }
    if (pause >= 0 && ready == 0) {
      const auto run = launch();
      const auto watched = run ? watch_->add(*run) : Result<void>(fail(run.error()));
      if (watched)
        pause = -1;
      else
        log::error("the data plane cannot be started error=\"{}\"", watched.error().message);
    }
    taken = take_report();
  }
}

void DataPlane::say_ended() {
  ++ends_;
  if (Clock::now() < say_again_) return;
  const auto run = current_run(folder_);
  const auto said = run ? process::last_lines(*run, 3) : Result<std::string>(std::string{});
  log::error("the data plane ended; it is started again times={} last_words=\"{}\"", std::exchange(ends_, 0),
             said ? printable(trim(*said)) : std::string{});
  say_again_ = Clock::now() + kSayAgain;
}

/// False: it is to be taken again.
bool DataPlane::take_report() {
  const auto text = read_file(folder_ / "reported.json");
  if (!text) return true;
  const auto parsed = parse_reported(*text);
  if (!parsed) {
    if (Clock::now() < ask_again_) return false;  // what writes it may be what is wrong
    ask_again_ = Clock::now() + kAskAgain;
    log::warn("the data plane's report cannot be read and is asked for again error=\"{}\"", parsed.error().message);
    std::error_code ignored;
    fs::remove(folder_ / "reported.json", ignored);
    return true;
  }
  // Its shim starts it again without us.
  if (pid_ != 0 && parsed->pid != pid_) say_ended();
  pid_ = parsed->pid;
  rest_ = {};
  grpc_ = {};
  {
    const std::lock_guard lock(mutex_);
    reported_ = *parsed;
  }
  // Outside the lock: it writes to the store, whose neighbours may ask for `reported()`.
  const bool taken = on_report_(*parsed);
  {
    const std::lock_guard lock(mutex_);
    ++reports_;
  }
  changed_.notify_all();
  return taken;
}

Result<void> DataPlane::set_desired(const json::Value& document) {
  LATHE_CHECK(make_folder(folder_));
  const auto text = json::print(document);
  const auto file = folder_ / "desired.json";
  if (const auto before = read_file(file); before && *before == text) return {};
  return write_file(file, text);
}

Reported DataPlane::reported() const {
  const std::lock_guard lock(mutex_);
  return reported_;
}

std::string DataPlane::url() const {
  const std::lock_guard lock(mutex_);
  return reported_.rest;
}

std::string DataPlane::grpc() const {
  const std::lock_guard lock(mutex_);
  return reported_.grpc;
}

std::uint64_t DataPlane::reports() const {
  const std::lock_guard lock(mutex_);
  return reports_;
}

void DataPlane::wait_past(std::uint64_t seen, Clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return reports_ > seen; });
}

std::optional<fs::path> data_plane_run(const fs::path& data) {
  return current_run(data / "infer");
}

}  // namespace lathe::serving
