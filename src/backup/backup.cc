#include "backup/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/archive.h"
#include "backup/contents.h"
#include "backup/rows.h"
#include "base/file.h"
#include "base/time.h"
#include "base/version.h"
#include "json/json.h"
#include "removal/removal.h"

namespace lathe::backup {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSegment = std::size_t{4} << 20;
constexpr std::size_t kPiece = std::size_t{1} << 18;
constexpr std::string_view kSchema = "schema_step";

class Writer {
 public:
  Writer(ArchiveWriter& archive, Summary& summary) : archive_(archive), summary_(summary) {}

  /// A table in segments of rows, so that neither side holds more of it.
  Result<void> table(db::Connection& c, const db::Table& table) {
    std::string columns;
    for (const auto& column : table.columns) columns += (columns.empty() ? "" : ", ") + column.name;
    std::string text;
    int segment = 0;
    Result<void> outcome;
    const auto flush = [&]() -> Result<void> {
      LATHE_CHECK(archive_.add(fmt::format("rows/{}/{:06}.tsv", table.name, ++segment), text));
      text.clear();
      return {};
    };
    LATHE_CHECK(c.scan(fmt::format("SELECT {} FROM {}", columns, table.name), [&](const db::Row& row) {
      if (!outcome) return;
      append_row(text, row, table.columns);
      ++summary_.rows;
      if (text.size() >= kSegment) outcome = flush();
    }));
    LATHE_CHECK(std::move(outcome));
    return text.empty() ? Result<void>{} : flush();
  }

  /// As much of a file as it holds when it is opened. One that is gone is left out.
  Result<void> file(const std::string& name, const fs::path& path) {
    const Fd fd{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (!fd && errno == ENOENT) return {};
    struct stat found {};
    if (!fd || ::fstat(fd.get(), &found) != 0) return fail(errno_error("cannot read " + path.string()));
    auto left = static_cast<std::uint64_t>(found.st_size);
    count(left);
    return archive_.add(name, left, [&](std::string& out) -> Result<void> {
      out.resize(std::min<std::uint64_t>(left, kPiece));
      if (out.empty()) return {};
      const auto got = ::read(fd.get(), out.data(), out.size());
      if (got < 0) return fail(errno_error("cannot read " + path.string()));
      out.resize(static_cast<std::size_t>(got));
      left -= static_cast<std::uint64_t>(got);
      return {};
    });
  }

  Result<void> artifact(storage::Storage& artifacts, const storage::File& file) {
    auto response = artifacts.download(file.path, std::nullopt);
    if (!response && response.error().code == Code::not_found) return {};
    if (!response) return fail(response.error());
    auto& source = response->source;
    const auto size = source ? source->length().value_or(file.size) : response->body.size();
    count(size);
    bool ended = false;
    return archive_.add("artifacts/" + file.path, size, [&](std::string& out) -> Result<void> {
      if (!source) out = std::exchange(response->body, {});
      while (source && out.empty() && !ended) {
        LATHE_TRY(const auto step, source->read(out));
        ended = step == http::Source::Step::end;
      }
      return {};
    });
  }

 private:
  void count(std::uint64_t bytes) {
    ++summary_.files;
    summary_.file_bytes += bytes;
  }
  ArchiveWriter& archive_;
  Summary& summary_;
};

Result<void> write_files(db::Connection& c, const Store& store, Writer& writer) {
  LATHE_TRY(const auto contents, contents_of(c, store.data));
  LATHE_TRY(const auto files, store.artifacts.files(""));
  for (const auto& file : files)
    if (contents.places.contains(place_of(file.path))) LATHE_CHECK(writer.artifact(store.artifacts, file));
  for (const auto& digest : contents.blobs) LATHE_CHECK(writer.file("blobs/" + digest, blob_path(store.data, digest)));
  std::error_code none;
  const auto jobs = fs::canonical(store.data / "jobs", none);
  for (const auto& job : contents.jobs)
    for (const auto& path : files_of_job(jobs, job, contents.ended_jobs.contains(job)))
      LATHE_CHECK(writer.file("jobs/" + path.string(), jobs / path));
  return {};
}

json::Object head_of(const Summary& summary) {
  return {{"format", 1},
          {"lathe", version()},
          {"made_at", summary.made_at},
          {"schema_step", summary.schema_step},
          {"with_files", summary.with_files}};
}

}  // namespace

Result<Summary> write_backup(const Store& store, const fs::path& file, bool with_files) {
  LATHE_TRY(auto archive, ArchiveWriter::open(file));
  LATHE_TRY(const auto pause, removal::pause_removals(store.data));
  Summary summary;
  summary.with_files = with_files;
  const auto write_all_of = [&](db::Connection& c) -> Result<void> {
    LATHE_TRY(const auto step,
              db::first(c, "SELECT MAX(number) FROM schema_step", [](const db::Row& row) { return row.integer(0); }));
    summary.schema_step = static_cast<int>(step.value_or(0));
    summary.made_at = to_iso8601(now());
    LATHE_CHECK(archive->add("backup.json", json::print(head_of(summary)) + "\n"));
    Writer writer(*archive, summary);
    LATHE_TRY(const auto tables, c.tables());
    for (const auto& table : tables)
      if (table.name != kSchema) LATHE_CHECK(writer.table(c, table));
    for (const auto& name : own_files()) LATHE_CHECK(writer.file("own/" + name, store.data / name));
    return with_files ? write_files(c, store, writer) : Result<void>{};
  };
  LATHE_CHECK(store.db.read_with(write_all_of));
  LATHE_CHECK(archive->finish());
  return summary;
}

}  // namespace lathe::backup
