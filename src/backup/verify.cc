#include <fmt/format.h>

#include <algorithm>

#include "assets/tree.h"
#include "backup/backup.h"
#include "backup/contents.h"
#include "backup/model_files.h"
#include "base/digest.h"
#include "base/text.h"
#include "removal/removal.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kArtifacts = "mlflow-artifacts:/";

/// What the rows say of one moment.
struct Snapshot {
  Contents contents;
  std::vector<std::string> wrong;
  bool readable = true;  ///< false: the database is so wrong that it could not be read to its end
  std::vector<ModelVersion> versions;
  std::vector<std::pair<std::string, std::string>> trees;  ///< what needs it, and a digest that must be there
};

Result<void> look_at_rows(db::Connection& c, const fs::path& data, Snapshot& out) {
  LATHE_TRY(const auto step,
            db::first(c, "SELECT MAX(number) FROM schema_step", [](const db::Row& row) { return row.integer(0); }));
  const int newest = db::migrations().back().number;
  if (step != newest)
    out.wrong.push_back(
        fmt::format("the store's schema is at step {}, this program's at {}: `lathe serve` brings an older one up",
                    step.value_or(0), newest));
  LATHE_TRY(out.contents, contents_of(c, data));
  // Points name their metric without a foreign key, which would be looked up for each of a batch.
  static constexpr auto kLostPoints = R"sql(
    SELECT DISTINCT metric FROM metric_point p WHERE NOT EXISTS (SELECT 1 FROM metric m WHERE m.id = p.metric))sql";
  LATHE_CHECK(db::each(c, kLostPoints, [&](const db::Row& row) {
    out.wrong.push_back(fmt::format("points name metric {}, which is not there", row.integer(0)));
  }));
  static constexpr auto kVersions = R"sql(
    SELECT v.model, v.version, v.artifact_uri, COALESCE(m.tree, '')
      FROM model_version v LEFT JOIN model_content m ON m.model = v.model AND m.version = v.version)sql";
  LATHE_CHECK(db::each(c, kVersions, [&](const db::Row& row) {
    const auto uri = row.text(2);
    if (uri.starts_with(kArtifacts))
      out.versions.push_back(
          {fmt::format("{}:{}", row.text(0), row.integer(1)), uri.substr(kArtifacts.size()), row.text(3)});
  }));
  LATHE_CHECK(db::each(c, "SELECT name, version, path FROM asset WHERE kind = 'data'", [&](const db::Row& row) {
    const auto path = row.text(2);
    if (path.starts_with("tree:"))
      out.trees.emplace_back(fmt::format("data {}:{}", row.text(0), row.text(1)), path.substr(5, 64));
  }));
  return {};
}

Result<Snapshot> look(const Store& store) {
  return store.db.read([&](db::Connection& c) -> Result<Snapshot> {
    Snapshot out;
    LATHE_TRY(out.wrong, c.check());
    const auto read = look_at_rows(c, store.data, out);
    if (!read && out.wrong.empty()) return fail(read.error());
    out.readable = read.has_value();
    return out;
  });
}

/// Every blob against its name, and those that must be there.
Result<void> check_blobs(const Store& store, const Snapshot& snapshot, Findings& out) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(store.data / "blobs" / "sha256", error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    const auto name = it->path().filename().string();
    const auto digest = sha256_file(it->path());
    if (!digest && digest.error().code == Code::not_found) continue;
    ++out.blobs;
    if (!digest)
      out.problems.push_back(fmt::format("blob {} cannot be read: {}", name, digest.error().message));
    else if (*digest != name)
      out.problems.push_back(fmt::format("blob {} has another content than its name says: it is damaged", name));
    else if (!snapshot.contents.blobs.contains(name)) {
      out.leftovers.push_back(it->path().lexically_relative(store.data).string());
      out.leftover_bytes += it->file_size(ignored);
    }
  }
  for (const auto& [what, digest] : snapshot.trees)
    if (!fs::exists(blob_path(store.data, digest), error))
      out.problems.push_back(fmt::format("{}: its content {} is missing", what, digest));
  return {};
}

Result<void> find_leftovers(const Store& store, Findings& out) {
  LATHE_TRY(const auto files, store.artifacts.files(""));
  // Read after the files: what was made meanwhile has its row.
  LATHE_TRY(const auto contents, store.db.read([&](db::Connection& c) { return contents_of(c, store.data); }));
  std::set<std::string> places;
  for (const auto& file : files) {
    const auto place = place_of(file.path);
    if (!place.empty() && contents.places.contains(place)) continue;
    places.insert("artifacts/" + (place.empty() ? file.path : place));
    out.leftover_bytes += file.size;
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store.data / "jobs", error)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(".") && !contents.jobs.contains(name)) places.insert("jobs/" + name);
  }
  out.leftovers.insert(out.leftovers.end(), places.begin(), places.end());
  return {};
}

}  // namespace

Result<Findings> verify(const Store& store) {
  LATHE_TRY(const auto pause, removal::pause_removals(store.data));
  Findings out;
  LATHE_TRY(const auto snapshot, look(store));
  out.problems = snapshot.wrong;
  if (!snapshot.readable) return out;
  for (const auto& version : snapshot.versions) {
    ++out.versions;
    LATHE_TRY(auto missing, missing_files(store, version));
    std::move(missing.begin(), missing.end(), std::back_inserter(out.problems));
  }
  LATHE_CHECK(check_blobs(store, snapshot, out));
  LATHE_CHECK(find_leftovers(store, out));
  std::sort(out.leftovers.begin(), out.leftovers.end());
  return out;
}

}  // namespace lathe::backup
