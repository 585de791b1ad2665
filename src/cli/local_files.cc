#include "cli/local_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "assets/digest_cache.h"
#include "assets/ignore.h"
#include "assets/scan.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/contexts.h"
#include "cli/session.h"
#include "cli/set_path.h"

namespace lathe::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigestsPerQuestion = 10'000;

/// "azureml:...", "https://...", "tree:..." but not "file:..." or a drive-less path.
bool is_reference(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || text.starts_with("file:")) return false;
  return std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '-' || c == '.';
  });
}

bool is_local(std::string_view text) {
  return !text.empty() && !is_reference(text) && text.find("${{") == std::string_view::npos;
}

fs::path absolute_in(const fs::path& folder, std::string_view text) {
  if (text.starts_with("file://"))
    text.remove_prefix(7);
  else if (text.starts_with("file:"))
    text.remove_prefix(5);
  return (folder / fs::path(text)).lexically_normal();
}

/// Whether any account of this machine may read it: then the server, on this machine, lets any user name it.
bool everybody_may_read(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) return false;
  for (auto folder = path.parent_path();; folder = folder.parent_path()) {
    if (::stat(folder.c_str(), &info) != 0 || (info.st_mode & S_IXOTH) == 0) return false;
    if (folder == folder.parent_path()) return true;
  }
}

std::string human_size(double bytes) {
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = next;
  }
  return fmt::format("{:.{}f} {}", bytes, *unit == 'B' ? 0 : 1, unit);
}

/// Puts the local files of one document within the server's reach.
class Reacher {
 public:
  Reacher(Session& session, const Document& document, bool upload)
      : session_(session), document_(document), upload_(upload) {}

  bool named_paths() const { return named_paths_; }

  Result<void> job(json::Object& job, const std::string& at) {
    LATHE_CHECK(replace(job, "code", at, Use::code));
    LATHE_CHECK(inputs(job, at));
    LATHE_CHECK(environment_in(job, at));
    if (auto* trial = object_in(job, "trial")) LATHE_CHECK(this->job(*trial, at + "trial."));
    if (auto* steps = object_in(job, "jobs"))
      for (auto& member : *steps)
        if (auto* step = member.value().if_object())
          LATHE_CHECK(this->job(*step, fmt::format("{}jobs.{}.", at, std::string_view(member.key()))));
    return {};
  }

  Result<void> asset(json::Object& asset) { return replace(asset, "path", "", Use::data); }

  Result<void> environment(json::Object& environment, const std::string& at) {
    if (auto* build = object_in(environment, "build")) LATHE_CHECK(replace(*build, "path", at + "build.", Use::code));
    const auto* conda = environment.if_contains("conda_file");
    if (conda == nullptr || !conda->is_string() || !is_local(json::view(conda->get_string()))) return {};
    const auto path = absolute_in(document_.folder, json::view(conda->get_string()));
    const auto text = read_file(path);
    if (!text) return fail(Code::not_found, located(at + "conda_file", text.error().message));
    LATHE_TRY(auto yaml, json::parse_yaml(*text, path.string()));
    environment["conda_file"] = std::move(yaml.value);
    return {};
  }

  Result<void> deployment(json::Object& deployment) {
    if (auto* code = object_in(deployment, "code_configuration"))
      LATHE_CHECK(replace(*code, "code", "code_configuration.", Use::code));
    if (auto* model = object_in(deployment, "model")) LATHE_CHECK(replace(*model, "path", "model.", Use::data));
    return environment_in(deployment, "");
  }

 private:
  enum class Use { code, data };

  static json::Object* object_in(json::Object& object, const char* key) {
    auto* value = object.if_contains(key);
    return value != nullptr ? value->if_object() : nullptr;
  }

  std::string located(const std::string& field, const std::string& message) const {
    return document_.located(field + ": " + message);
  }

  Result<void> environment_in(json::Object& object, const std::string& at) {
    auto* environment_object = object_in(object, "environment");
    return environment_object != nullptr ? environment(*environment_object, at + "environment.") : Result<void>{};
  }

  Result<void> inputs(json::Object& job, const std::string& at) {
    auto* inputs = object_in(job, "inputs");
    if (inputs == nullptr) return {};
    for (auto& member : *inputs)
      if (auto* input = member.value().if_object())
        LATHE_CHECK(
            replace(*input, "path", fmt::format("{}inputs.{}.", at, std::string_view(member.key())), Use::data));
    return {};
  }

  Result<void> replace(json::Object& object, const char* key, const std::string& at, Use use) {
    auto* value = object.if_contains(key);
    if (value == nullptr || !value->is_string() || !is_local(json::view(value->get_string()))) return {};
    auto path = absolute_in(document_.folder, json::view(value->get_string()));
    if (!path.has_filename() && path.has_parent_path()) path = path.parent_path();
    auto reachable = reach(path, use);
    if (!reachable) return fail(reachable.error().code, located(at + key, reachable.error().message));
    constexpr std::string_view kTree = "tree:";
    if (use == Use::code && reachable->starts_with(kTree))
      *value = json::Object{{"tree", reachable->substr(kTree.size(), 64)}};
    else
      *value = *reachable;
    return {};
  }

  Result<std::string> reach(const fs::path& path, Use use) {
    std::error_code error;
    const auto status = fs::status(path, error);
    if (!fs::exists(status)) return fail(Code::not_found, fmt::format("there is no {}", path.string()));
    LATHE_TRY(const bool seen, server_sees(path));
    if (seen) {
      named_paths_ = true;
      return path.string();
    }
    if (!cache_) {
      const auto folder = user_folder("XDG_CACHE_HOME", ".cache");
      LATHE_CHECK(make_folder(folder));
      LATHE_TRY(cache_, assets::DigestCache::open(folder / "digests.db"));
    }
    return fs::is_directory(status) ? upload_folder(path, use) : upload_file(path);
  }

  Result<bool> server_sees(const fs::path& path) {
    if (upload_) return false;
    if (!same_machine_) {
      LATHE_TRY(const auto* target, session_.target());
      const auto host = std::string_view(target->url).substr(target->url.find("://") + 3);
      const bool loopback =
          target->here || host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
      LATHE_TRY(const auto me, session_.call("GET", "/api/v1/me"));
      const auto* machine = find_field(me, "machine");
      const auto* role = find_field(me, "role");
      same_machine_ = loopback && machine != nullptr && *machine == json::Value(boost::json::string_view(machine_id()));
      administrator_ = role != nullptr && *role == json::Value("administrator");
    }
    return *same_machine_ && (administrator_ || everybody_may_read(path));
  }

  Result<std::string> upload_folder(const fs::path& path, Use use) {
    assets::IgnoreRules rules;
    if (use == Use::code) {
      LATHE_TRY(rules, assets::IgnoreRules::of_folder(path));
    }
    LATHE_TRY(const auto scan, use == Use::code ? assets::scan_folder(path, rules, *cache_)
                                                : assets::scan_data(path, *cache_, assets::Reach::everything));
    for (const auto& skipped : scan.skipped)
      Session::say(fmt::format("lathe: {}/{} is not a file and was left out", path.string(), skipped));
    return upload_tree(path, scan.tree);
  }

  Result<std::string> upload_file(const fs::path& path) {
    LATHE_TRY(const auto known, cache_->digest_of(path, true));
    assets::Tree tree;
    tree.files.push_back({path.filename().string(), known.sha256, known.size, known.executable});
    LATHE_TRY(const auto reference, upload_tree(path.parent_path(), tree));
    return reference + "/" + path.filename().string();
  }

  Result<std::string> upload_tree(const fs::path& folder, const assets::Tree& tree) {
    LATHE_TRY(const auto missing, missing_blobs(tree));
    double bytes = 0;
    for (const auto& file : tree.files)
      if (missing.contains(file.sha256)) bytes += static_cast<double>(file.size);
    if (!missing.empty())
      Session::say(
          fmt::format("lathe: uploading {} files of {}, {}", missing.size(), folder.string(), human_size(bytes)));
    auto left = missing;
    LATHE_TRY(auto* http, session_.client());
    for (const auto& file : tree.files) {
      if (left.erase(file.sha256) == 0) continue;
      const auto response = http->put_file("/api/v1/blobs/" + file.sha256, (folder / file.path).string());
      if (!response) return fail(session_.explained(response.error()));
      if (response->status >= 400) return fail(session_.problem(*response));
    }
    const auto body = json::to_json(tree);
    LATHE_TRY(const auto answer, session_.call("POST", "/api/v1/trees", &body));
    LATHE_TRY(const auto digest, json::need_string(answer.as_object(), "digest"));
    return "tree:" + digest;
  }

  Result<std::set<std::string>> missing_blobs(const assets::Tree& tree) {
    std::set<std::string> wanted;
    for (const auto& file : tree.files) wanted.insert(file.sha256);
    std::set<std::string> out;
    for (auto next = wanted.begin(); next != wanted.end();) {
      json::Array digests;
      for (; next != wanted.end() && digests.size() < kDigestsPerQuestion; ++next)
        digests.push_back(json::Value(boost::json::string_view(*next)));
      const json::Value body = json::Object{{"digests", std::move(digests)}};
      LATHE_TRY(const auto answer, session_.call("POST", "/api/v1/blobs/missing", &body));
      const auto* missing = find_field(answer, "missing");
      if (missing == nullptr || !missing->is_array())
        return fail(Code::internal, "the server did not say which blobs it misses");
      for (const auto& digest : missing->get_array())
        if (digest.is_string()) out.emplace(json::view(digest.get_string()));
    }
    return out;
  }

  Session& session_;
  const Document& document_;
  const bool upload_;
  bool named_paths_ = false;
  std::optional<bool> same_machine_;
  bool administrator_ = false;
  std::unique_ptr<assets::DigestCache> cache_;
};

}  // namespace

std::string from_working_folder(const std::string& text) {
  if (!is_local(text)) return text;
  std::error_code ignored;
  return absolute_in(fs::current_path(ignored), text).string();
}

Result<bool> take_local_files(Session& session, Document& document, bool upload) {
  Reacher reacher(session, document, upload);
  auto& fields = document.fields();
  const auto group = session.group.name;
  if (group == "job") LATHE_CHECK(reacher.job(fields, ""));
  if (group == "data" || group == "model") LATHE_CHECK(reacher.asset(fields));
  if (group == "environment") LATHE_CHECK(reacher.environment(fields, ""));
  if (group == "online-deployment") LATHE_CHECK(reacher.deployment(fields));
  return reacher.named_paths();
}

}  // namespace lathe::cli
