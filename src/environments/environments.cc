#include "environments/environments.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "assets/assets.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/text.h"
#include "environments/hand_over.h"
#include "environments/images.h"

namespace lathe::environments {
namespace {

namespace fs = std::filesystem;
using assets::is_digest;

/// Builds run as accounts of their own, below those of users' jobs: one for each build that runs at a time.
constexpr std::uint32_t kFirstAccount = 690'000;
/// What a Dockerfile calls its accounts other than root, 65535 for each build: below those that systemd gives away.
constexpr std::uint32_t kFirstImageAccount = 1'870'000'000;
constexpr int kAtOnce = 2;

std::string find_program(const std::vector<std::string>& names) {
  const char* path = std::getenv("PATH");
  for (const auto& name : names)
    for (const auto folder : split(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
      const auto program = fs::path(folder) / name;
      if (program.is_absolute() && ::access(program.c_str(), X_OK) == 0) return program.string();
    }
  return {};
}

bool is_there(const fs::path& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

/// The highest N of the build-N there; 0: none.
int last_build(const fs::path& folder) {
  int last = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("build-")) last = std::max(last, std::atoi(name.c_str() + 6));
  }
  return last;
}

fs::path part(const fs::path& folder, std::string_view name, int number) {
  return folder / fmt::format("{}-{}", name, number);
}

/// The environment that may be used, or nothing.
std::optional<fs::path> ready_in(const fs::path& folder) {
  std::error_code error;
  const auto name = fs::read_symlink(folder / "ready", error);
  if (error) return std::nullopt;
  return folder / name;
}

std::optional<Recipe> recipe_in(const fs::path& folder) {
  const auto text = read_file(folder / "recipe.json");
  if (!text) return std::nullopt;
  auto value = json::parse_object(*text);
  if (!value) return std::nullopt;
  for (const char* only_the_builds : {"program", "accounts"}) value->erase(only_the_builds);
  const auto recipe = json::from_json<Recipe>(*value);
  if (!recipe) return std::nullopt;
  return *recipe;
}

/// Removes the halves of environments: all but the one that is ready and that of the build `running`.
void remove_halves(const fs::path& folder, int running) {
  std::error_code error;
  const auto ready = ready_in(folder);
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with("env-") || (ready && entry.path() == *ready) ||
        (running > 0 && entry.path() == part(folder, "env", running)))
      continue;
    std::error_code failed;
    fs::remove_all(entry.path(), failed);
    if (!failed) continue;
    // Podman keeps folders that not even their owner may enter, unless that is root.
    constexpr auto kSkip = fs::directory_options::skip_permission_denied;
    for (auto it = fs::recursive_directory_iterator(entry.path(), kSkip, failed);
         !failed && it != fs::recursive_directory_iterator(); it.increment(failed))
      if (it->is_directory(failed) && !it->is_symlink(failed)) ::chmod(it->path().c_str(), 0700);
    fs::remove_all(entry.path(), failed);
  }
}

/// What the build itself wrote down about its end: it is trusted no more than any job's file.
std::string said_error(const fs::path& environment) {
  const auto file = open_beneath(environment, "error", O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) return {};
  char text[4096];
  const auto got = ::read(file->get(), text, sizeof text);
  return got > 0 ? printable(trim({text, static_cast<std::size_t>(got)})) : "";
}

std::string words_of(const Recipe& recipe) {
  if (recipe.is_image()) return words_of_image(recipe);
  if (recipe.manager == "conda") return "conda: " + (recipe.file ? assets::canonical_json(*recipe.file) : "");
  return fmt::format(
      "a virtual environment over {} with {}", recipe.python,
      recipe.requirements.empty() ? "nothing more" : fmt::format("{}", fmt::join(recipe.requirements, ", ")));
}

Error unknown(const std::string& digest) {
  return {Code::not_found,
          fmt::format("no environment with the digest {} was built here: `lathe environment list-builds` lists them",
                      printable(digest)),
          {}};
}

std::string seconds_since(Time then) {
  return fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(now() - then).count());
}

}  // namespace

Environments::Environments(Options options, const process::Cgroups& groups)
    : options_(std::move(options)), groups_(groups), modules_(options_.script, options_.root) {
  as_root_ = ::geteuid() == 0;
  abilities_.python = assets::system_python();
  if (options_.conda == "auto")
    abilities_.conda = find_program({"micromamba", "mamba", "conda"});
  else if (options_.conda != "none")
    abilities_.conda = options_.conda;
}

Result<std::unique_ptr<Environments>> Environments::open(Options options, const process::Cgroups& groups) {
  std::unique_ptr<Environments> out(new Environments(std::move(options), groups));
  auto& at = *out;
  LATHE_CHECK(at.find_engine());
  LATHE_CHECK(make_folder(at.options_.root, 0711));
  at.watch_ = std::make_unique<process::Watch>([&at](const fs::path& folder) {
    const auto digest = folder.parent_path().filename().string();
    at.tasks_.add([&at, digest] { at.finish(digest); });
  });
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(at.options_.root, error)) {
    const auto name = entry.path().filename().string();
    if (is_digest(name))
      at.take_up(name);
    else if (name.starts_with(".removed"))
      fs::remove_all(entry.path(), error);
  }
  at.worker_ = std::thread([&at] { at.tasks_.run(); });
  return out;
}

Result<void> Environments::find_engine() {
  if (options_.images == "off") return {};
  abilities_.images = fs::path(options_.images).is_absolute() ? options_.images : find_program({options_.images});
  if (!abilities_.images.empty() && ::access(abilities_.images.c_str(), X_OK) == 0) return {};
  return fail(Code::unavailable,
              fmt::format("environment_images: {} is not installed here, or not in PATH{}: install it, or "
                          "say off, so that this machine's own system stands in for images",
                          options_.images, is_podman(options_.images) ? " (Debian: apt install podman)" : ""));
}

Result<json::Report> Environments::explain(const json::Object& definition) const {
  constexpr std::string_view kPrefix = "environment.";
  auto choice = choose(definition, abilities_);
  if (!choice) {
    auto error = choice.error();
    if (error.message.starts_with(kPrefix)) error.message.erase(0, kPrefix.size());
    return fail(std::move(error));
  }
  for (auto& entry : choice->report)
    if (entry.field.starts_with(kPrefix)) entry.field.erase(0, kPrefix.size());
  return std::move(choice->report);
}

Environments::~Environments() {
  stop();
}

void Environments::stop() {
  tasks_.stop();
  if (worker_.joinable()) worker_.join();
  watch_.reset();
}

/// Before the worker runs. A build that goes on is watched again; one that ended meanwhile is finished.
void Environments::take_up(const std::string& digest) {
  const auto number = last_build(folder(digest));
  const auto recipe = recipe_in(folder(digest));
  const auto seen = number > 0 && recipe ? process::observe(part(folder(digest), "build", number))
                                         : Result<process::Observation>(fail(Code::not_found, ""));
  const bool began = seen && seen->status != process::Status::never_started;
  if (ready_in(folder(digest)) || is_there(folder(digest) / "failed") || !began) {
    remove_halves(folder(digest), 0);
    return;
  }
  Building building{*recipe, number, 0, now(), {}, {}};
  struct stat owner {};
  if (::stat(part(folder(digest), "env", number).c_str(), &owner) == 0 && owner.st_uid >= kFirstAccount)
    building.slot = static_cast<int>(owner.st_uid - kFirstAccount);
  building_[digest] = std::move(building);
  log::info("the build of an environment goes on environment={}", digest);
  if (auto watched = watch_->add(part(folder(digest), "build", number)); !watched)
    log::error("cannot watch a build why={}", watched.error().message);
}

std::optional<std::uint32_t> Environments::account_of(int slot) const {
  if (!as_root_) return std::nullopt;
  return kFirstAccount + static_cast<std::uint32_t>(slot);
}

std::optional<fs::path> Environments::ready(const std::string& digest) const {
  auto out = ready_in(folder(digest));
  if (out) ::utimensat(AT_FDCWD, (folder(digest) / "used").c_str(), nullptr, 0);
  return out;
}

void Environments::build(const Recipe& recipe, Done done) {
  const auto digest = recipe.digest();
  {
    const std::lock_guard lock(mutex_);
    auto& building = building_[digest];
    if (building.recipe.manager.empty()) {
      building.recipe = recipe;
      building.began = now();
    }
    building.waiting.push_back(std::move(done));
  }
  tasks_.add([this] { start_some(); });
}

void Environments::start_some() {
  for (;;) {
    std::unique_lock lock(mutex_);
    int slot = 0;
    std::string digest;
    std::vector<bool> taken(kAtOnce, false);
    int running = 0;
    for (const auto& [name, building] : building_) {
      if (building.number == 0) {
        if (digest.empty()) digest = name;
        continue;
      }
      ++running;
      if (building.slot < kAtOnce) taken[static_cast<std::size_t>(building.slot)] = true;
    }
    if (digest.empty() || running >= kAtOnce) return;
    while (taken[static_cast<std::size_t>(slot)]) ++slot;
    auto& building = building_[digest];
    building.number = last_build(folder(digest)) + 1;
    building.slot = slot;
    building.began = now();
    const auto recipe = building.recipe;
    const auto number = building.number;
    lock.unlock();

    // Another caller may have built it before this one asked.
    auto started =
        ready_in(folder(digest)) ? Result<void>(fail(Code::conflict, "")) : start_one(digest, recipe, number, slot);
    if (started) started = watch_->add(part(folder(digest), "build", number));
    if (!started) {
      if (!ready_in(folder(digest)))
        log::error("the build of an environment cannot start environment={} why={}", digest, started.error().message);
      finish(digest);
    }
    changed(digest);
  }
}

Result<void> Environments::start_one(const std::string& digest, const Recipe& recipe, int number, int slot) {
  const auto at = folder(digest);
  LATHE_CHECK(make_folder(at, 0711));
  auto written = json::to_json(recipe);
  if (recipe.manager == "conda") written.as_object()["program"] = abilities_.conda;
  if (recipe.is_image()) written.as_object()["program"] = abilities_.images;
  // Podman enters a user namespace, in which it is root and outside of it this account.
  const bool enters = recipe.is_image() && is_podman(abilities_.images) && as_root_;
  if (enters)
    written.as_object()["accounts"] =
        json::Array{kFirstAccount + slot, kFirstImageAccount + static_cast<std::uint32_t>(slot) * 65'536};
  LATHE_CHECK(write_file(at / "recipe.json", json::print(written), 0644));
  std::error_code error;
  fs::remove(at / "failed", error);
  remove_halves(at, 0);
  const auto environment = part(at, "env", number);
  LATHE_CHECK(make_folder(environment, 0755));
  LATHE_CHECK(make_folder(environment / "tmp", 0700));
  LATHE_CHECK(make_folder(part(at, "build", number), 0700));
  if (number > 1) fs::remove_all(part(at, "build", number - 1), error);

  process::Spec spec;
  std::optional<assets::BlobStore::Owner> owner;
  if (const auto account = account_of(slot)) {
    owner = assets::BlobStore::Owner{*account, *account};
    if (!enters) spec.account = process::Account{*account, *account};
  }
  if (recipe.context) LATHE_CHECK(options_.blobs->copy_out(*recipe.context, environment / "tmp/context", owner));
  if (owner)
    for (const auto& given : {environment, environment / "tmp"})
      if (::chown(given.c_str(), owner->uid, owner->gid) != 0)
        return fail(errno_error("cannot give away " + given.string()));
  const auto script = recipe.is_image() ? options_.script.parent_path() / "image.py" : options_.script;
  spec.argv = {"/usr/bin/python3", "-I", "-B", script.string(), (at / "recipe.json").string(), environment.string()};
  const auto tmp = (environment / "tmp").string();
  spec.env = {{"PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
              {"HOME", tmp},
              {"TMPDIR", tmp},
              {"LANG", "C.UTF-8"},
              {"PYTHONUNBUFFERED", "1"},
              {"CONDA_PKGS_DIRS", tmp + "/pkgs"},
              {"MAMBA_ROOT_PREFIX", tmp + "/mamba"}};
  if (options_.index == "none")
    spec.env.emplace_back("PIP_NO_INDEX", "1");
  else if (!options_.index.empty())
    spec.env.emplace_back("PIP_INDEX_URL", options_.index);
  if (!options_.find_links.empty())
    spec.env.emplace_back("PIP_FIND_LINKS", fmt::format("{}", fmt::join(options_.find_links, " ")));
  for (const char* name :
       {"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"})
    if (const char* value = std::getenv(name); value != nullptr) spec.env.emplace_back(name, value);
  if (recipe.is_image())  // by which podman finds what this account has fetched already
    for (const char* name : {"HOME", "XDG_RUNTIME_DIR", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"})
      if (const char* value = std::getenv(name); value != nullptr)
        spec.env.emplace_back(std::string("SERVERS_") + name, value);
  spec.limits.pids = 4096;
  spec.log_bytes = std::uint64_t{8} << 20;
  spec.time_limit = options_.limit;
  spec.grace = std::chrono::seconds{2};
  log::info("building an environment environment={} what=\"{}\"", digest, words_of(recipe));
  return process::start(part(at, "build", number), spec, groups_);
}

void Environments::finish(const std::string& digest) {
  Building building;
  {
    const std::lock_guard lock(mutex_);
    const auto found = building_.find(digest);
    if (found == building_.end()) return;
    building = found->second;
  }
  const auto at = folder(digest);
  const auto run = part(at, "build", building.number);
  if (const auto seen = process::observe(run); seen && seen->status == process::Status::running) {
    (void)watch_->add(run);
    return;
  }
  auto result = ready_in(at) ? Result<fs::path>(*ready_in(at)) : outcome(digest, building);
  (void)process::cleanup(run);
  if (!result) {
    if (auto kept = write_file(at / "failed", result.error().message); !kept)
      log::error("cannot note a failed build why={}", kept.error().message);
    remove_halves(at, 0);
    log::warn("an environment could not be built environment={} why=\"{}\"", digest, result.error().message);
  } else {
    ::close(::open((at / "used").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    log::info("an environment is ready environment={} took={}", digest, seconds_since(building.began));
  }
  std::vector<Done> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting = std::move(building_[digest].waiting);
    building_.erase(digest);
  }
  for (const auto& done : waiting) done(result);
  changed(digest);
  tasks_.add([this] { start_some(); });
}

/// How a build ended, and when it went well, with its environment put in its place.
Result<fs::path> Environments::outcome(const std::string& digest, const Building& building) {
  const auto run = part(folder(digest), "build", building.number);
  const auto seen = process::observe(run);
  {
    const std::lock_guard lock(mutex_);
    if (const auto& by = building_[digest].canceled_by; !by.empty())
      return fail(Code::conflict, "its build was cancelled by " + by);
  }
  if (!seen || !seen->end) {
    if (seen && seen->status == process::Status::lost) (void)process::kill_now(run);
    return fail(Code::unavailable,
                "its build was lost: its supervisor was killed, or the machine went down; submit again");
  }
  using process::Reason;
  switch (seen->end->reason) {
    case Reason::timeout:
      return fail(Code::timeout, fmt::format("its build took longer than {} s", options_.limit.count()));
    case Reason::stopped:
      return fail(Code::unavailable, "its build was stopped; submit again");
    case Reason::start_failed:
      return fail(Code::internal, "its build could not be started: " + seen->end->error);
    default:
      break;
  }
  if (seen->end->code == 0) return publish(digest, building);
  auto why = said_error(part(folder(digest), "env", building.number));
  if (why.empty()) why = "its build failed; its last lines:\n" + printable(process::last_lines(run, 10).value_or(""));
  return fail(Code::invalid, why);
}

Result<fs::path> Environments::publish(const std::string& digest, const Building& building) {
  const auto at = folder(digest);
  const auto environment = part(at, "env", building.number);
  std::error_code error;
  fs::remove_all(environment / "tmp", error);
  LATHE_TRY(const auto size, hand_over(environment, account_of(building.slot)));
  const auto took = static_cast<double>((now() - building.began).count()) / 1e6;
  LATHE_CHECK(write_file(
      at / "built.json",
      json::print(json::Object{{"size_bytes", size}, {"created_at", to_iso8601(now())}, {"build_seconds", took}})));
  // One step, after all of it is on the disk: whoever finds the link finds a whole environment.
  fs::remove(at / "ready.new", error);
  if (::symlink(environment.filename().c_str(), (at / "ready.new").c_str()) != 0 ||
      ::rename((at / "ready.new").c_str(), (at / "ready").c_str()) != 0)
    return fail(errno_error("cannot put the environment in its place"));
  return environment;
}

std::string Environments::waiting_for(const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = building_.find(digest);
  if (found == building_.end()) return {};
  if (found->second.number == 0) return "its environment waits to be built, after others";
  const auto last = process::last_lines(part(folder(digest), "build", found->second.number), 1, 300);
  return fmt::format("its environment is being built ({}){}{}", seconds_since(found->second.began),
                     last && !trim(*last).empty() ? ": " : "", last ? printable(trim(*last)) : "");
}

fs::path Environments::build_folder(const std::string& digest) const {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = building_.find(digest); found != building_.end() && found->second.number > 0)
      return part(folder(digest), "build", found->second.number);
  }
  return part(folder(digest), "build", last_build(folder(digest)));
}

Result<void> Environments::check_there(const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  if (building_.contains(digest) || (is_digest(digest) && is_there(folder(digest) / "recipe.json"))) return {};
  return fail(unknown(digest));
}

Result<Built> Environments::show(const std::string& digest) const {
  LATHE_CHECK(check_there(digest));
  const auto at = folder(digest);
  Built out;
  out.digest = digest;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = building_.find(digest); found != building_.end()) {
      out.state = found->second.number > 0 ? "building" : "waiting";
      out.recipe = found->second.recipe;
    }
  }
  const auto ready = ready_in(at);
  if (out.state.empty()) {
    out.state = ready ? "ready" : "failed";
    out.recipe = recipe_in(at).value_or(Recipe{});
  }
  out.words = words_of(out.recipe);
  if (out.state == "failed") out.error = read_file(at / "failed").value_or("its build did not end");
  if (!ready) return out;
  if (const auto text = read_file(at / "built.json")) {
    if (const auto facts = json::parse_object(*text)) {
      out.size_bytes = json::get_int(*facts, "size_bytes").value_or(std::nullopt);
      out.created_at = json::get_string(*facts, "created_at").value_or(std::nullopt);
      if (const auto* took = json::find(*facts, "build_seconds"); took != nullptr && took->is_number())
        out.build_seconds = took->to_number<double>();
    }
  }
  struct stat used {};
  if (::stat((at / "used").c_str(), &used) == 0)
    out.last_used_at =
        to_iso8601(from_micros(used.st_mtim.tv_sec * std::int64_t{1'000'000} + used.st_mtim.tv_nsec / 1000));
  const auto packages = read_file(*ready / "packages.txt");
  if (packages)
    for (const auto line : split(*packages, '\n'))
      if (!line.empty()) out.packages.emplace_back(line);
  return out;
}

std::set<std::string> Environments::digests() const {
  std::set<std::string> out;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [digest, building] : building_) out.insert(digest);
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options_.root, error))
    if (const auto name = entry.path().filename().string(); is_digest(name)) out.insert(name);
  return out;
}

Result<std::string> Environments::full_digest(const std::string& beginning) const {
  if (is_digest(beginning)) return beginning;
  std::vector<std::string> found;
  for (const auto& digest : digests())
    if (!beginning.empty() && digest.starts_with(beginning)) found.push_back(digest);
  if (found.size() > 1)
    return fail(Code::invalid, fmt::format("several environments' digests begin with {}: give more of it", beginning));
  if (found.empty()) return fail(unknown(beginning));
  return found.front();
}

std::vector<Built> Environments::list() const {
  std::vector<Built> out;
  for (const auto& digest : digests()) {
    auto one = show(digest);
    if (!one) continue;
    one->packages.clear();
    out.push_back(std::move(*one));
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.last_used_at > b.last_used_at; });
  return out;
}

Result<void> Environments::cancel(const std::string& digest, const std::string& user) {
  LATHE_CHECK(check_there(digest));
  fs::path run;
  {
    const std::lock_guard lock(mutex_);
    const auto found = building_.find(digest);
    if (found == building_.end()) return fail(Code::conflict, "it is not being built");
    found->second.canceled_by = user;
    if (found->second.number > 0) run = part(folder(digest), "build", found->second.number);
  }
  log::info("the build of an environment is cancelled environment={} by={}", digest, user);
  if (!run.empty()) return process::request_stop(run, std::chrono::milliseconds{0});
  tasks_.add([this, digest] { finish(digest); });
  return {};
}

Result<void> Environments::remove(const std::string& digest) {
  LATHE_CHECK(check_there(digest));
  if (used_by) {
    LATHE_TRY(const auto user, used_by(digest));
    if (user) return fail(Code::conflict, fmt::format("the {} needs it: delete it when that has ended", *user));
  }
  const auto aside = options_.root / (".removed-" + random_hex(6));
  {
    const std::lock_guard lock(mutex_);
    if (building_.contains(digest))
      return fail(Code::conflict, "it is being built: cancel that first (`lathe environment cancel-build`)");
    if (::rename(folder(digest).c_str(), aside.c_str()) != 0)
      return fail(errno_error("cannot remove " + folder(digest).string()));
  }
  log::info("an environment was deleted environment={}", digest);
  std::error_code error;
  fs::remove_all(aside, error);
  if (error) return fail(Code::internal, fmt::format("cannot remove all of {}: {}", aside.string(), error.message()));
  return {};
}

void Environments::changed(const std::string& digest) {
  std::vector<std::shared_ptr<std::function<void()>>> listeners;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(listeners_, [](const auto& one) { return one.second.expired(); });
    const auto [begin, end] = listeners_.equal_range(digest);
    for (auto it = begin; it != end; ++it)
      if (auto listener = it->second.lock()) listeners.push_back(std::move(listener));
  }
  for (const auto& listener : listeners) (*listener)();
}

std::shared_ptr<void> Environments::on_change(const std::string& digest, std::function<void()> wake) {
  auto listener = std::make_shared<std::function<void()>>(std::move(wake));
  const std::lock_guard lock(mutex_);
  listeners_.emplace(digest, listener);
  return listener;
}

std::shared_ptr<const Modules> Environments::modules(const std::optional<std::string>& digest) const {
  if (!digest) return modules_.of_system();
  const auto at = ready_in(folder(*digest));
  return at ? modules_.of(*at) : nullptr;
}

}  // namespace lathe::environments
