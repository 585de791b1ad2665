#include "backup/contents.h"

#include <algorithm>
#include <fstream>

#include "assets/tree.h"
#include "base/file.h"
#include "base/text.h"
#include "jobs/states.h"
#include "json/json.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kArtifacts = "mlflow-artifacts:/";
constexpr std::size_t kDigest = 64;

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/// Every digest in a text, whatever stands around it.
void gather_digests(std::string_view text, std::set<std::string>& out) {
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && is_hex(text[end])) ++end;
    if (end - i == kDigest) out.emplace(text.substr(i, kDigest));
    i = end + 1;
  }
}

/// The files of a folder, when the blob is a folder's list.
void gather_tree(const fs::path& blob, std::set<std::string>& out) {
  std::ifstream head(blob);
  if (head.get() != '[') return;
  const auto text = read_file(blob, std::size_t{1} << 30);
  if (!text) return;
  const auto value = json::parse(*text);
  if (!value) return;
  const auto tree = assets::parse_tree(*value);
  if (!tree) return;
  for (const auto& file : tree->files) out.insert(file.sha256);
}

void gather_files(const fs::path& base, const fs::path& below, std::vector<fs::path>& out) {
  std::error_code error;
  if (fs::is_symlink(base / below, error)) return;
  for (fs::recursive_directory_iterator it(base / below, fs::directory_options::skip_permission_denied, error), end;
       !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_symlink(ignored) && it->is_regular_file(ignored)) out.push_back(it->path().lexically_relative(base));
  }
}

}  // namespace

std::string place_of(std::string_view path) {
  if (path.starts_with(kArtifacts))
    path.remove_prefix(kArtifacts.size());
  else if (path.find(":/") != std::string_view::npos)
    return {};
  const auto parts = split(path, '/');
  const std::size_t own = parts.size() > 1 && (parts[1] == "models" || parts[1] == "traces") ? 3 : 2;
  if (parts.size() <= own || parts[own] != "artifacts") return {};
  std::string out;
  for (std::size_t i = 0; i < own; ++i) out.append(i == 0 ? "" : "/").append(parts[i]);
  return out;
}

fs::path blob_path(const fs::path& data, const std::string& digest) {
  return data / "blobs" / "sha256" / digest.substr(0, 2) / digest;
}

Result<Contents> contents_of(db::Connection& c, const fs::path& data) {
  Contents out;
  std::vector<std::string_view> places = {"SELECT artifact_uri FROM run", "SELECT artifact_uri FROM logged_model",
                                          "SELECT artifact_uri FROM model_version"};
  LATHE_TRY(const auto tables, c.tables());  // an older store has no traces
  if (std::any_of(tables.begin(), tables.end(), [](const db::Table& table) { return table.name == "trace_tag"; }))
    places.emplace_back("SELECT value FROM trace_tag WHERE key = 'mlflow.artifactLocation'");
  for (const auto sql : places)
    LATHE_CHECK(db::each(c, sql, [&](const db::Row& row) {
      if (auto place = place_of(row.text_view(0)); !place.empty()) out.places.insert(std::move(place));
    }));
  for (const auto* sql : {"SELECT tree, '', '' FROM model_content", "SELECT digest, path, definition FROM asset",
                          "SELECT plan, document, '' FROM job", "SELECT spec, previous, '' FROM deployment"})
    LATHE_CHECK(db::each(c, sql, [&](const db::Row& row) {
      for (const int column : {0, 1, 2}) gather_digests(row.text_view(column), out.blobs);
    }));
  const auto named = out.blobs;
  for (const auto& digest : named) gather_tree(blob_path(data, digest), out.blobs);
  LATHE_CHECK(db::each(c, "SELECT name, state FROM job", [&](const db::Row& row) {
    out.jobs.insert(row.text(0));
    const auto state = jobs::parse_state(row.text_view(1));
    if (state && jobs::is_final(*state)) out.ended_jobs.insert(row.text(0));
  }));
  return out;
}

std::vector<fs::path> files_of_job(const fs::path& jobs, const std::string& job, bool ended) {
  std::vector<fs::path> out;
  std::error_code error;
  for (const auto& attempt : fs::directory_iterator(jobs / job, error)) {
    if (!attempt.path().filename().string().starts_with("attempt-")) continue;
    std::error_code ignored;
    // The log alone: what else lies there names processes of this machine, which a copy must not take for its own.
    for (const auto& entry : fs::recursive_directory_iterator(attempt.path(), ignored)) {
      const auto name = entry.path().filename().string();
      if (!entry.is_directory(ignored) && (name == "log" || name.starts_with("log."))) out.push_back(entry.path().lexically_relative(jobs));
    }
  }
  // The job could put links where its folders were.
  if (ended && !fs::is_symlink(jobs / job / "work", error) && !fs::is_symlink(jobs / job / "work/code", error))
    for (const auto* folder : {"work/outputs", "work/code/outputs", "work/code/logs"})
      gather_files(jobs, fs::path(job) / folder, out);
  return out;
}

const std::vector<std::string>& own_files() {
  static const std::vector<std::string> kFiles = {"admin.token", "tls/certificate.pem", "tls/key.pem"};
  return kFiles;
}

}  // namespace lathe::backup
