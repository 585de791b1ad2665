#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "backup/archive.h"
#include "backup/backup.h"
#include "backup/contents.h"
#include "backup/rows.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "json/json.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

constexpr int kFormat = 1;

Result<Summary> read_head(ArchiveReader& archive, const fs::path& file) {
  LATHE_TRY(const auto name, archive.next());
  if (name != "backup.json")
    return fail(Code::invalid, file.string() + " is no backup of Lathe's: it does not begin as one");
  LATHE_TRY(const auto text, archive.read_all());
  auto head = json::parse_object(text);
  if (!head)
    return fail(Code::invalid, fmt::format("the backup {} is damaged: its head cannot be read", file.string()));
  LATHE_TRY(const auto format, json::get_int(*head, "format"));
  LATHE_TRY(const auto step, json::get_int(*head, "schema_step"));
  LATHE_TRY(const auto made_at, json::get_string(*head, "made_at"));
  LATHE_TRY(const auto with_files, json::get_bool(*head, "with_files"));
  LATHE_TRY(const auto version, json::get_string(*head, "lathe"));
  const int newest = db::migrations().back().number;
  if (format != kFormat || !step || *step > newest)
    return fail(Code::invalid, fmt::format("the backup {} was made by a newer Lathe ({}): restore it with that version",
                                           file.string(), version.value_or("unknown")));
  Summary out;
  out.schema_step = static_cast<int>(*step);
  out.made_at = made_at.value_or("");
  out.with_files = with_files.value_or(true);
  return out;
}

/// Whether a path from an archive stays below the folder it is written to.
bool stays_below(std::string_view path) {
  const auto parts = split(path, '/');
  return !parts.empty() && std::none_of(parts.begin(), parts.end(),
                                        [](auto part) { return part.empty() || part == "." || part == ".."; });
}

class Reader {
 public:
  Reader(const Store& store, ArchiveReader& archive, const fs::path& jobs, Summary& summary)
      : store_(store), archive_(archive), jobs_(jobs), summary_(summary) {}

  Result<void> take(const std::string& name) {
    const auto slash = name.find('/');
    const auto kind = name.substr(0, slash);
    const auto rest = slash == std::string::npos ? "" : name.substr(slash + 1);
    if (!stays_below(rest))
      return fail(Code::invalid, fmt::format("the backup names a file \"{}\", which leads outside", printable(name)));
    if (kind == "rows") return rows(rest.substr(0, rest.find('/')));
    ++summary_.files;
    if (kind == "artifacts") return artifact(rest);
    if (kind == "blobs" && assets_digest(rest)) return file(blob_path(store_.data, rest), 0444);
    if (kind == "jobs") return file(jobs_ / rest, 0600);
    if (kind == "own") return file(store_.data / rest, 0600);
    return fail(Code::invalid, fmt::format("the backup holds \"{}\", which this Lathe does not know", printable(name)));
  }

 private:
  static bool assets_digest(std::string_view text) {
    return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  }

  Result<void> rows(const std::string& name) {
    LATHE_TRY(const auto text, archive_.read_all());
    LATHE_TRY(const auto added, store_.db.write([&](db::Connection& c) -> Result<std::int64_t> {
      if (tables_.empty()) {
        LATHE_TRY(tables_, c.tables());
      }
      const auto table =
          std::find_if(tables_.begin(), tables_.end(), [&](const db::Table& each) { return each.name == name; });
      if (table == tables_.end())
        return fail(Code::invalid,
                    fmt::format("the backup holds a table {} that its schema does not have", printable(name)));
      return insert_rows(c, *table, text);
    }));
    summary_.rows += added;
    return {};
  }

  Result<void> artifact(const std::string& path) {
    LATHE_TRY(auto sink, store_.artifacts.upload(path));
    LATHE_CHECK(pieces([&](std::string_view piece) { return sink->write(piece); }));
    LATHE_CHECK(sink->finish());
    return {};
  }

  Result<void> file(const fs::path& path, mode_t mode) {
    LATHE_CHECK(make_folder(path.parent_path()));
    ::unlink(path.c_str());  // of a former restore that broke, where jobs lie outside the data folder
    const Fd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!fd) return fail(errno_error("cannot write " + path.string()));
    LATHE_CHECK(pieces([&](std::string_view piece) { return write_all(fd.get(), piece, path.string()); }));
    if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0)
      return fail(errno_error("cannot write " + path.string()));
    return {};
  }

  template <class Write>
  Result<void> pieces(Write&& write) {
    std::string piece;
    for (bool more = true; more;) {
      piece.clear();
      LATHE_TRY(more, archive_.read(piece));
      if (!piece.empty()) LATHE_CHECK(write(piece));
      summary_.file_bytes += piece.size();
    }
    return {};
  }

  const Store& store_;
  ArchiveReader& archive_;
  const fs::path& jobs_;
  Summary& summary_;
  std::vector<db::Table> tables_;
};

/// What the migrations put in gives way to the archive's rows.
Result<void> empty_tables(db::Connection& c) {
  LATHE_TRY(auto tables, c.tables());
  std::reverse(tables.begin(), tables.end());
  for (const auto& table : tables)
    if (table.name != "schema_step") LATHE_CHECK(db::run(c, "DELETE FROM " + table.name));
  return {};
}

/// What ran on the machine that the backup was made on does not run here, and is not started twice.
Result<void> end_jobs(db::Connection& c, const Summary& summary) {
  static constexpr auto kRuns = R"sql(
    UPDATE run SET status = 'FAILED', end_ms = $1
     WHERE job = 1 AND id IN (SELECT name FROM job WHERE state NOT IN ('Completed', 'Failed', 'Canceled')))sql";
  static constexpr auto kJobs = R"sql(
    UPDATE job SET state = 'Failed', node = '', error = $1, ended_us = $2, updated_us = $2
     WHERE state NOT IN ('Completed', 'Failed', 'Canceled'))sql";
  const auto why = fmt::format(
      "The store was restored from a backup of {}, when this job had not ended: submit it again", summary.made_at);
  LATHE_CHECK(db::run(c, kRuns, millis(now())));
  LATHE_CHECK(db::run(c, kJobs, why, micros(now())));
  return {};
}

}  // namespace

Result<Summary> check_backup(const fs::path& file) {
  LATHE_TRY(auto archive, ArchiveReader::open(file));
  LATHE_TRY(auto summary, read_head(*archive, file));
  for (;;) {
    LATHE_TRY(const auto name, archive->next());
    if (!name) return summary;
    if (!name->starts_with("rows/")) ++summary.files;
  }
}

Result<Summary> read_backup(const Store& store, const fs::path& file, const fs::path& jobs) {
  LATHE_TRY(auto archive, ArchiveReader::open(file));
  LATHE_TRY(auto summary, read_head(*archive, file));
  LATHE_CHECK(store.db.write([](db::Connection& c) { return empty_tables(c); }));
  Reader reader(store, *archive, jobs, summary);
  for (;;) {
    LATHE_TRY(const auto name, archive->next());
    if (!name) break;
    LATHE_CHECK(reader.take(*name));
  }
  LATHE_CHECK(store.db.write([&](db::Connection& c) { return end_jobs(c, summary); }));
  return summary;
}

}  // namespace lathe::backup
