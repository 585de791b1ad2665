#include "jobs/manifest.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/text.h"
#include "json/fields.h"

namespace lathe::jobs {
namespace {

namespace fs = std::filesystem;

class ManifestText {
 public:
  void add(std::string_view key, std::string_view value) {
    text_.append(key).append("=").append(value).push_back('\0');
  }
  /// `flags`: x executable, r read-only.
  void file(const std::string& path, const std::string& sha256, std::uintmax_t size, std::string_view flags,
            const std::string& source) {
    add("file", fmt::format("{}\n{}\n{}\n{}\n{}", path, sha256, size, flags, source));
  }
  std::string finish(const std::string& spec) {
    add("spec", "");
    return text_ + spec;
  }

 private:
  std::string text_;
};

/// Percent-encoded for a path of the API; slashes stay.
std::string encoded(const std::string& path) {
  std::string out;
  for (const auto part : split(path, '/')) out += (out.empty() && !path.starts_with('/') ? "" : "/") + url_encode(part);
  return out;
}

Result<void> add_tree(ManifestText& out, const assets::BlobStore& blobs, const std::string& digest,
                      const std::string& into, bool read_only) {
  LATHE_TRY(const auto tree, blobs.tree(digest));
  for (const auto& file : tree.files) {
    std::string flags = file.executable ? "x" : "";
    if (read_only) flags += "r";
    out.file(into + "/" + file.path, file.sha256, static_cast<std::uintmax_t>(file.size), flags,
             "content/blob/" + file.sha256);
  }
  return {};
}

/// All files below a folder of this machine, whose digests nobody knows.
Result<void> add_folder(ManifestText& out, const fs::path& folder, const std::string& into, const std::string& source,
                        bool read_only) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(folder, error); !error && it != fs::recursive_directory_iterator();
       it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    const auto below = it->path().lexically_relative(folder).string();
    if (below.find('\n') != std::string::npos)
      return fail(Code::invalid,
                  fmt::format("{} has a line feed in its name, and cannot be sent to a node", printable(below)));
    struct stat found {};
    const bool executable = ::stat(it->path().c_str(), &found) == 0 && (found.st_mode & S_IXUSR) != 0;
    std::string flags = executable ? "x" : "";
    if (read_only) flags += "r";
    out.file(into + "/" + below, "", it->file_size(ignored), flags, "content/" + source + "/" + encoded(below));
  }
  if (error) return fail(Code::not_found, fmt::format("cannot read {}: {}", folder.string(), error.message()));
  return {};
}

bool is_shared(const fs::path& path, const std::vector<fs::path>& shared) {
  return std::any_of(shared.begin(), shared.end(), [&](const fs::path& folder) {
    const auto below = path.lexically_relative(folder);
    return !below.empty() && *below.begin() != "..";
  });
}

Result<void> add_input(ManifestText& out, const Launcher& launcher, const PlannedInput& input, const std::string& into,
                       const std::vector<fs::path>& shared) {
  const fs::path path = *input.path;
  if (is_shared(path, shared)) {
    out.add("link", into + "\n" + path.string());
    return {};
  }
  if (input.folder && input.digest && launcher.blobs().has(*input.digest))
    return add_tree(out, launcher.blobs(), *input.digest, into, true);
  if (input.folder) return add_folder(out, path, into, "input/" + url_encode(input.name), true);
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) return fail(Code::not_found, fmt::format("the input {} cannot be read: {}", input.name, error.message()));
  out.file(into, input.digest.value_or(""), size, "r", "content/input/" + url_encode(input.name));
  return {};
}

/// The nodes meet where each said that it can be reached; each process that needs a port has one of its own node's.
Result<Meeting> meeting_of(const Distribution& spread, const std::vector<RemoteNode>& nodes) {
  Meeting out;
  for (const auto& node : nodes) {
    out.names.push_back(node.host);
    out.addresses.push_back(node.address);
  }
  const auto& interface = nodes.front().interface;
  if (std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) { return node.interface == interface; }))
    out.interface = interface;
  std::vector<std::size_t> taken(nodes.size(), 0);
  for (std::size_t i = 0; i < ports_needed(spread); ++i) {
    const auto at = static_cast<std::size_t>(place_of(spread, static_cast<std::int64_t>(i)).first);
    if (taken[at] >= nodes[at].ports.size())
      return fail(Code::exhausted, fmt::format("{} offered {} free ports, and the job needs more there", nodes[at].host,
                                               nodes[at].ports.size()));
    out.ports.push_back(nodes[at].ports[taken[at]++]);
  }
  return out;
}

}  // namespace

Result<std::string> make_manifest(const Launcher& launcher, const ManifestInput& input) {
  const auto& me = input.nodes[static_cast<std::size_t>(input.node)];
  const Places below{"work"};  // of the attempt's folder on the node
  ManifestText out;
  out.add("version", "1");
  out.add("beat_ms", std::to_string(input.beat.count()));
  for (const char* folder : {"work/code", "work/inputs", "work/outputs", "work/tmp", "shared/bin", "shared/fetched"})
    out.add("folder", folder);
  for (const auto& output : input.plan.outputs) out.add("folder", below.output(output.name).string());
  for (const char* folder : {"work/outputs", "work/code/outputs", "work/code/logs"}) out.add("outputs", folder);
  // What an earlier attempt kept.
  out.add("folder", "checkpoint");
  out.add("checkpoint", "checkpoint");
  std::error_code ignored;
  if (const auto kept = launcher.checkpoint_folder(input.job.name); fs::exists(kept, ignored))
    LATHE_CHECK(add_folder(out, kept, "checkpoint", "checkpoint", false));
  out.add("link", "shared/bin/python\n/usr/bin/python3");
  LATHE_CHECK(add_folder(out, launcher.shared_folder() / "python", "shared/python", "shared/python", true));
  if (const auto certificate = launcher.shared_folder() / "certificate.pem"; fs::exists(certificate, ignored))
    out.file("shared/certificate.pem", "", fs::file_size(certificate, ignored), "r", "content/shared/certificate.pem");
  if (input.plan.code) LATHE_CHECK(add_tree(out, launcher.blobs(), *input.plan.code, "work/code", false));
  for (const auto& one : input.plan.inputs) {
    if (one.literal) continue;
    // What is shared becomes a link in the folder's place.
    if (!one.path || !one.folder || !is_shared(*one.path, input.shared)) out.add("folder", "work/inputs/" + one.name);
    if (one.path) LATHE_CHECK(add_input(out, launcher, one, below.input(one).string(), input.shared));
  }
  const auto meeting = meeting_of(input.plan.spread(), input.nodes);
  if (!meeting) return fail(meeting.error());
  Launcher::Launch launch;
  launch.job = input.job;
  launch.plan = input.plan;
  launch.user_id = input.user_id;
  launch.token = input.token;
  if (const auto& recipe = input.plan.environment_recipe) {
    // A folder of the account that jobs have there, whose name the batch script gave to the attempt's parent.
    const auto own = fs::path(me.folder).parent_path();
    const auto all = input.environments.empty() ? own / ".environments" : input.environments / own.filename();
    const auto folder = all / recipe->digest();
    out.add("environment", folder.string() + "\n" + json::print(json::to_json(*recipe)));
    for (const auto& [name, value] : input.packages) out.add("variable", name + "=" + value);
    launch.environment = folder / "ready";
  }
  LATHE_TRY(const auto spec,
            launcher.spec_elsewhere(launch, static_cast<std::size_t>(input.node), *meeting, {me.folder, input.url}));
  return out.finish(spec);
}

}  // namespace lathe::jobs
