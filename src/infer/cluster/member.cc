#include "infer/cluster/member.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "base/utf8.h"
#include "base/version.h"
#include "http/client.h"

namespace lathe::infer {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kPause{500};
constexpr milliseconds kLimit{10'000};   ///< for the server to answer
constexpr milliseconds kHandOver{1000};  ///< between looks for what was captured
constexpr milliseconds kFirstAgain{500};
constexpr int kMostDoublings = 6;
constexpr const char* kFetched = "fetched";  ///< in the document: how many times a model came
constexpr std::size_t kDocumentBytes = std::size_t{256} << 20;

json::Value text(const std::string& value) {
  return json::Value(boost::json::string_view(as_utf8(value)));
}

json::Object read_object(const fs::path& file) {
  const auto content = read_file(file, kDocumentBytes);
  auto object = content ? json::parse_object(*content) : Result<json::Object>(json::Object{});
  return object ? std::move(*object) : json::Object{};
}

json::Object line(const std::string& endpoint, const std::string& deployment, const std::string& model,
                  const std::string& version, const char* state, const std::string& error) {
  return {{"endpoint", text(endpoint)},
          {"deployment", text(deployment)},
          {"model", text(model)},
          {"version", text(version)},
          {"state", state},
          {"error", text(error)}};
}

}  // namespace

/// The server, asked with the token that the file holds.
class ServerLink {
 public:
  explicit ServerLink(const MemberOptions& options) : options_(options) { renew(); }

  void renew() {
    const auto token = read_file(options_.token_file, 4096);
    http::ClientOptions client;
    client.url = options_.server;
    client.token = token ? std::string(trim(*token)) : std::string{};
    client.certificate_sha256 = options_.certificate_sha256;
    client.timeout = kLimit;
    client_.emplace(std::move(client));
  }

  /// Errors: as the server says. `unauthenticated` — it does not know the token.
  Result<void> check(const Result<http::ClientResponse>& response) {
    if (!response) {
      // It may be a certificate: only an answer tells that the token is not known.
      if (response.error().code == Code::unauthenticated) return fail(Code::unavailable, response.error().message);
      return fail(response.error());
    }
    if (response->status / 100 == 2) return {};
    const auto problem = json::parse_object(response->body);
    const auto detail =
        problem ? json::get_string(*problem, "detail") : Result<std::optional<std::string>>(std::nullopt);
    const auto why = detail && *detail ? **detail : "the server answered " + std::to_string(response->status);
    constexpr int kUnauthorized = 401;
    return fail(response->status == kUnauthorized && problem ? Code::unauthenticated : Code::unavailable, why);
  }

  http::Client& client() { return *client_; }

 private:
  const MemberOptions& options_;
  std::optional<http::Client> client_;
};

Result<std::unique_ptr<Member>> Member::open(MemberOptions options, const CatalogHolder& catalog) {
  LATHE_TRY(const auto token, read_file(options.token_file, 4096));
  if (trim(token).empty()) return fail(Code::invalid, options.token_file.string() + " holds no token");
  LATHE_CHECK(make_folder(options.folder / "models"));
  const auto file = options.folder / "lock";
  Fd lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail(errno_error("cannot open " + file.string()));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(Code::conflict,
                "another lathe-infer uses " + options.folder.string() + ": give this one another --folder");
  return std::unique_ptr<Member>(new Member(std::move(options), std::move(lock), catalog));
}

Member::~Member() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (talking_.joinable()) talking_.join();
  if (fetching_.joinable()) fetching_.join();
  if (handing_over_.joinable()) handing_over_.join();
}

void Member::start() {
  talking_ = std::thread([this] { talk(); });
  fetching_ = std::thread([this] { fetch_models(); });
  handing_over_ = std::thread([this] { hand_over_captured(); });
}

void Member::talk() {
  ServerLink link(options_);
  std::string last;
  for (;;) {
    const auto done = exchange(link);
    const auto said = done ? std::string{} : done.error().message;
    if (said != last) {
      if (done)
        log::info("the server answers url={}", options_.server);
      else
        log::warn("the server cannot be followed, what is served stays url={} error=\"{}\"", options_.server, said);
      last = said;
    }
    if (!done && done.error().code == Code::unauthenticated) {
      put_out();
      link.renew();
    }
    std::unique_lock lock(mutex_);
    answered_ = done.has_value();
    changed_.wait_for(lock, kPause, [this] { return stopping_; });
    if (!stopping_) continue;
    lock.unlock();
    if (done) (void)exchange(link);
    return;
  }
}

Result<void> Member::exchange(ServerLink& link) {
  const auto response = link.client().request("POST", "/api/v1/inference-node/sync", say());
  LATHE_CHECK(link.check(response));
  LATHE_TRY(const auto answer, json::parse_object(response->body));
  LATHE_TRY(const auto etag, json::need_string(answer, "etag"));
  LATHE_TRY(const auto keeper, json::get_string(answer, "keeper"));
  counts_.kept(keeper.value_or(""));
  LATHE_TRY(const auto* const desired, json::get_object(answer, "desired"));
  if (desired == nullptr) return {};
  const std::lock_guard lock(mutex_);
  wanted_ = std::make_shared<const json::Object>(*desired);
  etag_ = etag;
  changed_.notify_all();
  return {};
}

/// How this data plane is: its own report, and what is not there for it to report on.
std::string Member::say() {
  const auto reported = read_object(options_.folder / "reported.json");
  const auto text_of = [&](std::string_view key) {
    const auto found = json::get_string(reported, key);
    return found && *found ? **found : std::string{};
  };
  static const auto kInstance = random_hex(8);
  const std::lock_guard lock(mutex_);
  json::Array deployments;
  const auto fetched = [&](const json::Value& item) {
    return std::none_of(missing_.begin(), missing_.end(), [&](const MissingModel& each) {
      return *item.at("endpoint").if_string() == each.endpoint && *item.at("deployment").if_string() == each.deployment;
    });
  };
  if (const auto own = json::get_array(reported, "deployments"); own && *own != nullptr)
    for (const auto& each : **own)
      if (fetched(each)) deployments.push_back(each);
  for (const auto& each : missing_) {
    const auto failed = failed_.find(each.folder);
    const auto error = failed == failed_.end() ? std::string{} : failed->second.error;
    deployments.push_back(line(each.endpoint, each.deployment, each.model, each.version,
                               error.empty() ? "downloading" : "failed", error));
  }
  for (const auto& each : not_taken_)
    deployments.push_back(line(each.endpoint, each.deployment, each.model, each.version, "elsewhere", each.why));
  return json::print(json::Object{{"instance", text(kInstance)},
                                  {"url", text(options_.url.empty() ? text_of("rest") : options_.url)},
                                  {"grpc", text(options_.grpc.empty() ? text_of("grpc") : options_.grpc)},
                                  {"certificate_sha256", text(text_of("certificate_sha256"))},
                                  {"version", text(version())},
                                  {"cores", std::max(1U, std::thread::hardware_concurrency())},
                                  {"etag", text(etag_)},
                                  {"now_us", micros(now())},
                                  {"counts", counts_.next(count_all(*catalog_.load()))},
                                  {"deployments", std::move(deployments)}});
}

void Member::put_out() {
  const std::lock_guard lock(mutex_);
  static const json::Object kNothing{{"generation", 0}, {"put_out", true}, {"endpoints", json::Array{}}};
  if (wanted_ && *wanted_ == kNothing) return;
  log::error("the server does not know this node's token: it stops answering until {} holds one that is known",
             options_.token_file.string());
  wanted_ = std::make_shared<const json::Object>(kNothing);
  etag_.clear();
  changed_.notify_all();
}

bool Member::has(const MissingModel& model) {
  if (whole_.contains(model.folder)) return true;
  std::error_code ignored;
  if (!fs::exists(model.folder, ignored) || !is_whole(model)) return false;
  whole_.insert(model.folder);
  return true;
}

std::vector<MissingModel> Member::follow(const json::Object& wanted) {
  const auto file = options_.folder / "desired.json";
  const auto before = read_object(file);
  auto local = localize(wanted, before, options_.folder / "models", [this](const auto& model) { return has(model); });
  if (!local) {
    log::error("the server's document cannot be followed error=\"{}\"", local.error().message);
    return {};
  }
  // What failed is tried again when the document changes, and a file that was mended changes nothing else of it.
  const auto count = json::get_int(before, kFetched);
  const auto fetched = count ? count->value_or(0) : 0;
  local->document[kFetched] = fetched + (std::exchange(fetched_, false) ? 1 : 0);
  auto written = before == local->document ? Result<void>{} : write_file(file, json::print(local->document));
  if (!written) log::error("the desired state cannot be written error=\"{}\"", written.error().message);
  if (written && local->missing.empty()) {
    forget_models(options_.folder / "models", local->document);
    std::erase_if(whole_, [](const auto& folder) {
      std::error_code ignored;
      return !fs::exists(folder, ignored);
    });
  }
  const std::lock_guard lock(mutex_);
  missing_ = local->missing;
  not_taken_ = std::move(local->not_taken);
  return local->missing;
}

Result<void> Member::download(ServerLink& link, const std::string& sha256, const fs::path& path) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const auto have = file ? ::lseek(file.get(), 0, SEEK_END) : -1;
  if (have < 0) return fail(errno_error("cannot write " + path.string()));
  Result<void> written;
  auto moved = Clock::now();
  const auto take = [&](std::string_view bytes) {
    if (!bytes.empty()) {
      written = write_all(file.get(), bytes, path.string());
      moved = Clock::now();
    }
    if (Clock::now() - moved > kLimit) written = fail(Code::timeout, "the server sends nothing more of a model's file");
    const std::lock_guard lock(mutex_);
    return written && !stopping_;
  };
  // From where a try before this one ended. Whether all of it fits together, its digest tells.
  http::Client::Headers range;
  if (have > 0) range.emplace_back("Range", "bytes=" + std::to_string(have) + "-");
  const auto response = link.client().stream("GET", "/api/v1/inference-node/files/" + sha256, take, range);
  if (!written) return written;
  constexpr int kNoSuchRange = 416;
  if (response && response->status == kNoSuchRange && ::ftruncate(file.get(), 0) == 0)
    return fail(Code::unavailable, "what is here of a model's file is longer than the file: it is fetched anew");
  return link.check(response);
}

void Member::hand_over_captured() {
  ServerLink link(options_);
  const auto send = [&](const CapturedFile& file, std::uint64_t offset,
                        std::string_view piece) -> Result<std::uint64_t> {
    const auto path = "/api/v1/inference-node/captured?path=" + file.path + "&sha256=" + file.sha256 +
                      "&size=" + std::to_string(file.size) + "&offset=" + std::to_string(offset);
    const auto response = link.client().request("POST", path, piece, {{"Content-Type", "application/octet-stream"}});
    const auto taken = link.check(response);
    // It has read the request, and will say no again.
    const bool refused = response && (response->status == 400 || response->status == 404 || response->status == 409);
    if (!taken) return fail(refused ? Code::invalid : taken.error().code, taken.error().message);
    LATHE_TRY(const auto answer, json::parse_object(response->body));
    LATHE_TRY(const auto have, json::get_int(answer, "have"));
    if (!have || *have < 0) return fail(Code::unavailable, "the server does not say how much of a file it has");
    return static_cast<std::uint64_t>(*have);
  };
  HandOver hand_over(options_.captured, send);
  std::string last;
  auto pause = kHandOver;
  for (bool ends = false; !ends;) {
    bool answered = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, pause, [this] { return stopping_; });
      ends = stopping_;
      answered = answered_;
    }
    if (!answered) continue;
    const auto begin = Clock::now();
    const auto done = hand_over.run([&] {
      const std::lock_guard lock(mutex_);
      return ends ? Clock::now() - begin > kLimit : stopping_;
    });
    const auto said = done ? std::string{} : done.error().message;
    if (said != last && !done) log::warn("what was captured waits for the server error=\"{}\"", said);
    if (!done && done.error().code == Code::unauthenticated) link.renew();
    last = said;
    pause = done ? kHandOver : kLimit;
  }
}

void Member::fetch_models() {
  ServerLink link(options_);
  std::shared_ptr<const json::Object> followed;
  for (;;) {
    std::shared_ptr<const json::Object> wanted;
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPause, [&] { return stopping_ || wanted_ != followed; });
      if (stopping_) return;
      wanted = wanted_;
      if (wanted == followed && missing_.empty()) continue;
    }
    if (!wanted) continue;
    const auto missing = follow(*wanted);
    followed = wanted;
    for (const auto& model : missing) {
      {
        const std::lock_guard lock(mutex_);
        if (stopping_ || wanted_ != followed) break;
        const auto failed = failed_.find(model.folder);
        if (failed != failed_.end() && Clock::now() < failed->second.again) continue;
      }
      if (whole_.contains(model.folder)) continue;  // it came for another deployment
      const auto got = fetch(model, [&](const std::string& sha256, const fs::path& path) -> Result<void> {
        return download(link, sha256, path);
      });
      if (got) {
        log::info("a model is here endpoint={} deployment={} model={} version={}", model.endpoint, model.deployment,
                  model.model, model.version);
        whole_.insert(model.folder);
        fetched_ = true;
        {
          const std::lock_guard lock(mutex_);
          failed_.erase(model.folder);
        }
        follow(*wanted);
        continue;
      }
      log::warn("a model cannot be fetched endpoint={} deployment={} error=\"{}\"", model.endpoint, model.deployment,
                got.error().message);
      link.renew();
      const std::lock_guard lock(mutex_);
      auto& failure = failed_[model.folder];
      failure.error = got.error().message;
      failure.again = Clock::now() + kFirstAgain * (1 << std::min(failure.times++, kMostDoublings));
    }
  }
}

}  // namespace lathe::infer
