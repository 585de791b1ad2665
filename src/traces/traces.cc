#include "traces/traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "traces/rows.h"
#include "tracking/validation.h"

namespace lathe::traces {
namespace {

using tracking::Tag;

constexpr std::size_t kMostLinkedAtOnce = 100;

const std::string* find(const std::vector<Tag>& pairs, std::string_view key) {
  const auto found = std::find_if(pairs.begin(), pairs.end(), [&](const Tag& pair) { return pair.key == key; });
  return found == pairs.end() ? nullptr : &found->value;
}

Error no_such_trace(const std::string& trace_id) {
  return {Code::not_found, fmt::format("Trace with ID '{}' not found.", printable(trace_id.substr(0, 300))), {}};
}

/// Where a trace's data lies is the server's to say: clients follow it.
Result<void> check_not_ours(const std::string& key) {
  if (key != kArtifactLocation && key != kSpansLocation) return {};
  return fail(Code::invalid, fmt::format("The tag '{}' is the server's own: it cannot be changed", key));
}

std::string read_id(const db::Row& row) {
  return row.text(0);
}

Result<std::vector<Tag>> pairs_of(db::Connection& c, std::string_view sql, const Trace& trace) {
  return db::all(
      c, sql,
      [](const db::Row& row) {
        return Tag{row.text(0), row.text(1)};
      },
      trace.number);
}

}  // namespace

const std::string* Trace::tag(std::string_view key) const {
  return find(tags, key);
}

const std::string* Trace::metadatum(std::string_view key) const {
  return find(metadata, key);
}

Trace read_trace(const db::Row& row) {
  Trace out;
  out.number = row.integer(0);
  out.id = row.text(1);
  out.experiment_id = row.integer(2);
  out.request_ms = row.integer(3);
  out.duration_ms = row.optional_integer(4);
  out.state = row.text(5);
  out.client_request_id = row.optional_text(6);
  out.request_preview = row.optional_text(7);
  out.response_preview = row.optional_text(8);
  return out;
}

Result<void> check_trace_id(std::string_view trace_id) {
  constexpr std::size_t kLimit = 250;
  const bool good = !trace_id.empty() && trace_id.size() <= kLimit && trace_id[0] != '-' &&
                    std::all_of(trace_id.begin(), trace_id.end(),
                                [](unsigned char ch) { return std::isalnum(ch) != 0 || ch == '_' || ch == '-'; });
  if (good) return {};
  return fail(Code::invalid, fmt::format("Invalid value \"{}\" for parameter 'trace_id' supplied. It must be letters, "
                                         "digits, _ and -, at most {}.",
                                         printable(trace_id.substr(0, 300)), kLimit));
}

Result<void> check_may_write(db::Connection& c, const http::Principal& who, std::int64_t experiment_id) {
  if (!who.run) return {};
  LATHE_TRY(const auto run, tracking::find_run(c, *who.run));
  if (run.experiment_id == experiment_id) return {};
  return fail(Code::forbidden, fmt::format("a job's token writes traces of its own run's experiment {} only, not of {}",
                                           run.experiment_id, experiment_id));
}

std::string artifact_uri(const Trace& trace) {
  return fmt::format("mlflow-artifacts:/{}/traces/{}/artifacts", trace.experiment_id, trace.id);
}

Result<Trace> find_trace(db::Connection& c, const std::string& trace_id) {
  LATHE_TRY(auto found,
            db::first(c, "SELECT " LATHE_TRACE_COLUMNS " FROM trace t WHERE t.id = $1", read_trace, trace_id));
  if (!found) return fail(no_such_trace(trace_id));
  return std::move(*found);
}

Result<Trace> load_details(db::Connection& c, Trace trace) {
  LATHE_TRY(trace.tags, pairs_of(c, "SELECT key, value FROM trace_tag WHERE trace = $1 ORDER BY key", trace));
  LATHE_TRY(trace.metadata, pairs_of(c, "SELECT key, value FROM trace_metadata WHERE trace = $1 ORDER BY key", trace));
  LATHE_TRY(trace.assessments, assessments_of(c, trace));
  return trace;
}

Result<Trace> load_trace(db::Connection& c, const std::string& trace_id) {
  LATHE_TRY(auto trace, find_trace(c, trace_id));
  return load_details(c, std::move(trace));
}

Result<Trace> writable_trace(db::Connection& c, const http::Principal& who, const std::string& trace_id) {
  LATHE_TRY(auto trace, find_trace(c, trace_id));
  LATHE_CHECK(check_may_write(c, who, trace.experiment_id));
  return trace;
}

Result<std::vector<std::string>> span_contents(db::Connection& c, const Trace& trace) {
  static constexpr auto kSql = R"sql(
    SELECT content FROM trace_span
     WHERE trace = $1
     ORDER BY CASE WHEN parent_id = '' THEN 0 ELSE 1 END, start_ns, id)sql";
  return db::all(c, kSql, read_id, trace.number);
}

bool is_complete(const Trace& trace, std::size_t spans) {
  if (spans == 0) return false;
  const auto* stats = trace.metadatum("mlflow.trace.sizeStats");
  const auto object = stats == nullptr ? Result<json::Object>(json::Object{}) : json::parse_object(*stats);
  if (!object) return true;  // a client's own words, which say nothing
  const auto said = json::get_int(*object, "num_spans");
  return !said || static_cast<std::int64_t>(spans) >= said->value_or(0);
}

Result<void> set_trace_tag(db::Connection& c, const Trace& trace, const Tag& tag) {
  static constexpr auto kSql = R"sql(
    INSERT INTO trace_tag (trace, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (trace, key) DO UPDATE SET value = excluded.value)sql";
  LATHE_CHECK(tracking::check_key("tag", tag.key));
  LATHE_CHECK(tracking::check_text("tag", tag.value));
  LATHE_CHECK(check_not_ours(tag.key));
  LATHE_CHECK(db::run(c, kSql, trace.number, tag.key, tracking::first_characters(tag.value, tracking::kTagValueLimit)));
  return {};
}

Result<void> delete_trace_tag(db::Connection& c, const Trace& trace, const std::string& key) {
  LATHE_CHECK(check_not_ours(key));
  LATHE_TRY(const auto gone, db::run(c, "DELETE FROM trace_tag WHERE trace = $1 AND key = $2", trace.number, key));
  if (gone == 0)
    return fail(Code::not_found, fmt::format("No trace tag with key '{}' for trace with ID '{}'",
                                             printable(key.substr(0, 300)), trace.id));
  return {};
}

Result<void> link_to_run(db::Connection& c, const std::vector<std::string>& trace_ids, const tracking::RunInfo& run) {
  if (trace_ids.size() > kMostLinkedAtOnce)
    return fail(Code::invalid, fmt::format("Cannot link more than {} traces to a run in a single request. Provided {} "
                                           "traces.",
                                           kMostLinkedAtOnce, trace_ids.size()));
  static constexpr auto kHere = R"sql(
    INSERT INTO trace_run (trace, run) SELECT number, $2 FROM trace WHERE id = $1
        ON CONFLICT DO NOTHING)sql";
  static constexpr auto kAhead = R"sql(
    INSERT INTO trace_run_ahead (trace_id, run) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM trace WHERE id = $1)
        ON CONFLICT DO NOTHING)sql";
  for (const auto& trace_id : trace_ids) {
    LATHE_CHECK(check_trace_id(trace_id));
    LATHE_CHECK(db::run(c, kHere, trace_id, run.number));
    LATHE_CHECK(db::run(c, kAhead, trace_id, run.number));
  }
  return {};
}

Result<std::vector<std::string>> those_in(db::Connection& c, std::int64_t experiment_id,
                                          const std::vector<std::string>& trace_ids) {
  const std::vector<std::string_view> ids(trace_ids.begin(), trace_ids.end());
  return db::all(c, "SELECT id FROM trace WHERE experiment_id = $1 AND id = ANY($2)", read_id, experiment_id, ids);
}

Result<std::vector<std::string>> oldest_in(db::Connection& c, std::int64_t experiment_id, std::int64_t max_ms,
                                           std::size_t most) {
  static constexpr auto kSql = R"sql(
    SELECT id FROM trace
     WHERE experiment_id = $1 AND request_ms <= $2
     ORDER BY request_ms, id DESC LIMIT $3)sql";
  return db::all(c, kSql, read_id, experiment_id, max_ms, static_cast<std::int64_t>(most));
}

Result<void> delete_traces(db::Connection& c, const std::vector<std::string>& trace_ids) {
  const std::vector<std::string_view> ids(trace_ids.begin(), trace_ids.end());
  LATHE_CHECK(db::run(c, "DELETE FROM trace WHERE id = ANY($1)", ids));
  return {};
}

}  // namespace lathe::traces
