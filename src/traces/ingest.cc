// How traces come to be: from their spans, and from what a client says of the whole.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "traces/rows.h"
#include "tracking/validation.h"

namespace lathe::traces {
namespace {

using tracking::Tag;

constexpr std::string_view kTraceName = "mlflow.traceName";
constexpr std::string_view kTokenUsage = "mlflow.trace.tokenUsage";
constexpr std::size_t kPreviewLimit = 10'000;
constexpr std::int64_t kNanosPerMilli = 1'000'000;

Result<void> check_writable(db::Connection& c, const http::Principal& who, std::int64_t experiment_id) {
  LATHE_TRY(const auto experiment, tracking::find_experiment(c, experiment_id));
  if (experiment.stage != tracking::Stage::active)
    return fail(Code::invalid, fmt::format("The experiment {} must be in the 'active' state. Current state is deleted.",
                                           experiment.id));
  return check_may_write(c, who, experiment_id);
}

/// The links to runs that were asked for before the trace came.
Result<void> take_links(db::Connection& c, const Trace& trace) {
  static constexpr auto kTake =
      "INSERT INTO trace_run (trace, run) SELECT $1, run FROM trace_run_ahead WHERE trace_id = $2";
  LATHE_TRY(const auto taken, db::run(c, kTake, trace.number, trace.id));
  if (taken > 0) LATHE_CHECK(db::run(c, "DELETE FROM trace_run_ahead WHERE trace_id = $1", trace.id));
  return {};
}

/// The trace of this id, made when there is none: nobody moves one from an experiment to another.
Result<Trace> ensure_trace(db::Connection& c, const http::Principal& who, const std::string& trace_id,
                           std::int64_t experiment_id, std::int64_t request_ms) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO trace (number, id, experiment_id, request_ms, state, created_by)
    SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, 'IN_PROGRESS', $4 FROM trace WHERE TRUE
        ON CONFLICT (id) DO NOTHING)sql";
  LATHE_TRY(const auto made, db::run(c, kInsert, trace_id, experiment_id, request_ms, who.user));
  LATHE_TRY(auto trace, find_trace(c, trace_id));
  if (made > 0) LATHE_CHECK(take_links(c, trace));
  if (trace.experiment_id != experiment_id)
    return fail(Code::invalid, fmt::format("The trace {} is in the experiment {}, not in {}", trace_id,
                                           trace.experiment_id, experiment_id));
  return trace;
}

enum class Over : bool { keep, replace };

/// `table`: trace_tag or trace_metadata.
Result<void> put(db::Connection& c, std::string_view table, const Trace& trace, std::string_view key,
                 std::string_view value, Over over) {
  const auto sql = fmt::format("INSERT INTO {} (trace, key, value) VALUES ($1, $2, $3) ON CONFLICT (trace, key) {}",
                               table, over == Over::keep ? "DO NOTHING" : "DO UPDATE SET value = excluded.value");
  LATHE_CHECK(db::run(c, sql, trace.number, key, tracking::first_characters(value, tracking::kTagValueLimit)));
  return {};
}

Result<void> put_all(db::Connection& c, std::string_view table, const Trace& trace, const std::vector<Tag>& pairs) {
  for (const auto& pair : pairs) {
    if (pair.key == kArtifactLocation || pair.key == kSpansLocation) continue;  // the server's own
    LATHE_CHECK(tracking::check_text("key", pair.key));
    LATHE_CHECK(tracking::check_length("key", pair.key, tracking::kKeyLimit));
    LATHE_CHECK(tracking::check_text(pair.key, pair.value));
    LATHE_CHECK(put(c, table, trace, pair.key, pair.value, Over::replace));
  }
  return {};
}

Result<void> write_spans(db::Connection& c, const Trace& trace, const std::vector<const Span*>& spans) {
  // The last word on a span that comes twice in one request: no two rows of an insert may meet.
  std::map<std::string_view, const Span*> last;
  for (const auto* span : spans) last[span->id] = span;
  std::vector<std::string_view> ids, parents, names, types, statuses, usages, contents;
  std::vector<std::int64_t> starts, ends;
  for (const auto& [id, span] : last) {
    ids.push_back(id);
    parents.push_back(span->parent_id);
    names.push_back(span->name);
    types.push_back(span->type);
    statuses.push_back(span->status);
    starts.push_back(span->start_ns);
    ends.push_back(span->end_ns);
    usages.push_back(span->usage);
    contents.push_back(span->content);
  }
  const std::array<db::Column, 10> columns{trace.number, ids,    parents, names,  types,
                                           statuses,     starts, ends,    usages, contents};
  LATHE_CHECK(c.insert(
      "INSERT INTO trace_span (trace, id, parent_id, name, type, status, start_ns, end_ns, usage, content)", ids.size(),
      columns,
      "ON CONFLICT (trace, id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name, type = "
      "excluded.type, "
      "status = excluded.status, start_ns = excluded.start_ns, end_ns = excluded.end_ns, usage = excluded.usage, "
      "content = excluded.content"));
  return {};
}

/// The trace's tokens: of the spans that count some, those below none that does, since a parent's count holds its
/// children's.
Result<void> sum_usage(db::Connection& c, const Trace& trace) {
  struct Node {
    std::string parent;
    std::string usage;
  };
  std::map<std::string, Node> nodes;
  LATHE_CHECK(db::each(
      c, "SELECT id, parent_id, usage FROM trace_span WHERE trace = $1",
      [&](const db::Row& row) {
        nodes[row.text(0)] = {row.text(1), row.text(2)};
      },
      trace.number));
  const auto counted_above = [&](const Node& from) {
    std::set<std::string_view> seen;  // parents that a client made a ring of
    for (auto at = nodes.find(from.parent); at != nodes.end() && seen.insert(at->first).second;
         at = nodes.find(at->second.parent))
      if (!at->second.usage.empty()) return true;
    return false;
  };
  std::map<std::string, std::int64_t> sums{{"input_tokens", 0}, {"output_tokens", 0}, {"total_tokens", 0}};
  for (const auto& [id, node] : nodes) {
    if (node.usage.empty() || counted_above(node)) continue;
    const auto usage = json::parse_object(node.usage);
    if (!usage) continue;
    for (auto& [key, sum] : sums) {
      const auto count = json::get_int(*usage, key);
      constexpr std::int64_t kMost = std::int64_t{1} << 50;
      if (count) sum = std::clamp(sum + std::clamp(count->value_or(0), std::int64_t{0}, kMost), std::int64_t{0}, kMost);
    }
  }
  json::Object out;
  for (const auto& [key, sum] : sums) out[key] = sum;
  return put(c, "trace_metadata", trace, kTokenUsage, json::print(out), Over::replace);
}

/// What the trace learns from a root that ended.
Result<void> take_root(db::Connection& c, const Trace& trace, const Span& root) {
  static constexpr auto kSql = R"sql(
    UPDATE trace
       SET state = CASE WHEN state IN ('IN_PROGRESS', 'STATE_UNSPECIFIED') THEN $2 ELSE state END,
           request_preview = COALESCE(request_preview, $3),
           response_preview = COALESCE(response_preview, $4)
     WHERE number = $1)sql";
  const auto given = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional{text}; };
  const std::string state = root.end_ns == 0 ? "IN_PROGRESS" : root.status == "ERROR" ? "ERROR" : "OK";
  LATHE_CHECK(db::run(c, kSql, trace.number, state, given(root.request_preview), given(root.response_preview)));
  if (!root.name.empty()) LATHE_CHECK(put(c, "trace_tag", trace, kTraceName, root.name, Over::keep));
  if (!root.session.empty())
    LATHE_CHECK(put(c, "trace_metadata", trace, "mlflow.trace.session", root.session, Over::keep));
  if (!root.user.empty()) LATHE_CHECK(put(c, "trace_metadata", trace, "mlflow.trace.user", root.user, Over::keep));
  return {};
}

Result<void> log_spans_of(db::Connection& c, const http::Principal& who, std::int64_t experiment_id,
                          const std::vector<const Span*>& spans) {
  std::int64_t start_ms = spans[0]->start_ns / kNanosPerMilli;
  std::int64_t end_ms = 0;
  for (const auto* span : spans) {
    start_ms = std::min(start_ms, span->start_ns / kNanosPerMilli);
    end_ms = std::max(end_ms, span->end_ns / kNanosPerMilli);
  }
  LATHE_TRY(const auto trace, ensure_trace(c, who, spans[0]->trace_id, experiment_id, start_ms));
  LATHE_CHECK(write_spans(c, trace, spans));
  start_ms = std::min(start_ms, trace.request_ms);
  if (trace.duration_ms) end_ms = std::max(end_ms, trace.request_ms + *trace.duration_ms);
  const auto duration = end_ms == 0 ? std::nullopt : std::optional{std::max(end_ms - start_ms, std::int64_t{0})};
  LATHE_CHECK(db::run(c, "UPDATE trace SET request_ms = $2, duration_ms = $3 WHERE number = $1", trace.number, start_ms,
                      duration));
  LATHE_CHECK(put(c, "trace_tag", trace, kArtifactLocation, artifact_uri(trace), Over::replace));
  LATHE_CHECK(put(c, "trace_tag", trace, kSpansLocation, "TRACKING_STORE", Over::replace));
  LATHE_CHECK(put(c, "trace_metadata", trace, "mlflow.trace_schema.version", "3", Over::keep));
  for (const auto* span : spans)
    if (span->parent_id.empty()) LATHE_CHECK(take_root(c, trace, *span));
  if (std::any_of(spans.begin(), spans.end(), [](const Span* span) { return !span->usage.empty(); }))
    LATHE_CHECK(sum_usage(c, trace));
  return {};
}

}  // namespace

Result<void> log_spans(db::Connection& c, const http::Principal& who, std::int64_t experiment_id,
                       const std::vector<Span>& spans) {
  LATHE_CHECK(check_writable(c, who, experiment_id));
  std::map<std::string_view, std::vector<const Span*>> by_trace;
  for (const auto& span : spans) by_trace[span.trace_id].push_back(&span);
  for (const auto& [trace_id, of_trace] : by_trace) LATHE_CHECK(log_spans_of(c, who, experiment_id, of_trace));
  return {};
}

Result<Trace> start_trace(db::Connection& c, const http::Principal& who, Trace asked, Time now) {
  static constexpr auto kUpdate = R"sql(
    UPDATE trace
       SET request_ms = $2, duration_ms = $3, state = $4, client_request_id = $5,
           request_preview = COALESCE($6, request_preview),
           response_preview = COALESCE($7, response_preview)
     WHERE number = $1)sql";
  LATHE_CHECK(check_trace_id(asked.id));
  LATHE_CHECK(check_writable(c, who, asked.experiment_id));
  if (const auto* run = asked.metadatum(kSourceRun); run != nullptr && who.run)
    LATHE_CHECK(tracking::writable_run(c, who, *run));
  for (auto* text : {&asked.client_request_id, &asked.request_preview, &asked.response_preview}) {
    if (!*text) continue;
    LATHE_CHECK(tracking::check_text("a trace", **text));
    *text = std::string(tracking::first_characters(**text, kPreviewLimit));
  }
  LATHE_TRY(const auto trace, ensure_trace(c, who, asked.id, asked.experiment_id, asked.request_ms));
  LATHE_CHECK(db::run(c, kUpdate, trace.number, asked.request_ms, asked.duration_ms, asked.state,
                      asked.client_request_id, asked.request_preview, asked.response_preview));
  LATHE_CHECK(put_all(c, "trace_tag", trace, asked.tags));
  LATHE_CHECK(put_all(c, "trace_metadata", trace, asked.metadata));
  LATHE_CHECK(put(c, "trace_tag", trace, kArtifactLocation, artifact_uri(trace), Over::replace));
  for (auto& assessment : asked.assessments)
    LATHE_CHECK(create_assessment(c, trace, std::move(assessment), who.user, now));
  return load_trace(c, asked.id);
}

}  // namespace lathe::traces
