#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/json.h"
#include "tracking/search.h"

/// Traces: what an application did for one request, as a tree of spans, with tags, metadata, and what people and judges
/// say of it. Functions over a connection, as in tracking.
///
/// Two calls make a trace, in either order: spans come by OTLP (`log_spans`), and the client that made them says at the
/// end what the whole was (`start_trace`, as MLflow names it).
namespace lathe::traces {

constexpr std::string_view kArtifactLocation = "mlflow.artifactLocation";
constexpr std::string_view kSpansLocation = "mlflow.trace.spansLocation";
constexpr std::string_view kSourceRun = "mlflow.sourceRun";

struct Assessment {
  std::string id = {};  ///< a-<32 hex digits>
  std::string trace_id = {};
  std::string name = {};
  std::string kind = {};         ///< feedback, expectation
  json::Object value = {};       ///< of the field that `kind` names, as MLflow's API has it
  std::string source_type = {};  ///< HUMAN, LLM_JUDGE, CODE
  std::string source_id = {};
  std::string span_id = {};  ///< empty: of the whole trace
  std::string rationale = {};
  json::Object metadata = {};
  std::string overrides = {};  ///< id of the one that this one stands in for; empty: none
  bool valid = true;           ///< no other stands in for it
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
};

struct Trace {
  std::int64_t number = 0;  ///< the store's own, for joins
  std::string id = {};
  std::int64_t experiment_id = 0;
  std::int64_t request_ms = 0;
  std::optional<std::int64_t> duration_ms = {};
  std::string state = {};  ///< OK, ERROR, IN_PROGRESS, STATE_UNSPECIFIED
  std::optional<std::string> client_request_id = {};
  std::optional<std::string> request_preview = {};
  std::optional<std::string> response_preview = {};
  std::vector<tracking::Tag> tags = {};      ///< may be changed later
  std::vector<tracking::Tag> metadata = {};  ///< may not
  std::vector<Assessment> assessments = {};

  const std::string* tag(std::string_view key) const;
  const std::string* metadatum(std::string_view key) const;
};

struct Span {
  std::string trace_id = {};   ///< tr-<32 hex digits>
  std::string id = {};         ///< 16 hex digits
  std::string parent_id = {};  ///< empty: the root
  std::string name = {};
  std::string type = {};
  std::string status = {};  ///< OK, ERROR, UNSET
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;   ///< 0: has not ended
  std::string usage = {};    ///< tokens, JSON; empty: none
  std::string content = {};  ///< the whole span, JSON as in MLflow's traces.json
  // What a root gives its trace; empty: nothing.
  std::string request_preview = {};
  std::string response_preview = {};
  std::string session = {};
  std::string user = {};
};

/// Letters, digits, _ and -. Errors: `invalid`.
Result<void> check_trace_id(std::string_view trace_id);
/// That `who` may write traces of the experiment: a job's token those of its own run's experiment only.
/// Errors: `forbidden`.
Result<void> check_may_write(db::Connection& c, const http::Principal& who, std::int64_t experiment_id);
/// `mlflow-artifacts:/<experiment>/traces/<trace>/artifacts`
std::string artifact_uri(const Trace& trace);

/// Keeps spans; a span that is known already is replaced. Their traces are made, or grow: times, state, name, previews,
/// tokens. Errors: `not_found` — no such experiment; `invalid` — it is deleted, or a trace is another experiment's;
/// `forbidden`.
Result<void> log_spans(db::Connection& c, const http::Principal& who, std::int64_t experiment_id,
                       const std::vector<Span>& spans);
/// Makes the trace, or completes the one that its spans made. Errors: as log_spans.
Result<Trace> start_trace(db::Connection& c, const http::Principal& who, Trace trace, Time now);

/// Without details. Errors: `not_found`.
Result<Trace> find_trace(db::Connection& c, const std::string& trace_id);
/// Fills in tags, metadata and assessments.
Result<Trace> load_details(db::Connection& c, Trace trace);
/// With details. Errors: `not_found`.
Result<Trace> load_trace(db::Connection& c, const std::string& trace_id);
/// Without details, for writing. Errors: `not_found`, `forbidden`.
Result<Trace> writable_trace(db::Connection& c, const http::Principal& who, const std::string& trace_id);

/// The contents of a trace's spans, the root first, then by start.
Result<std::vector<std::string>> span_contents(db::Connection& c, const Trace& trace);
/// Whether `spans` spans are all that its client said it has. `trace` with details.
bool is_complete(const Trace& trace, std::size_t spans);

/// Errors: `invalid` — a bad key, or one of the server's own.
Result<void> set_trace_tag(db::Connection& c, const Trace& trace, const tracking::Tag& tag);
/// Errors: `not_found` — the trace has no such tag; `invalid` — one of the server's own.
Result<void> delete_trace_tag(db::Connection& c, const Trace& trace, const std::string& key);
/// A trace that is not here yet is linked when it comes. Errors: `invalid` — more than 100, or no trace's id.
Result<void> link_to_run(db::Connection& c, const std::vector<std::string>& trace_ids, const tracking::RunInfo& run);

/// Of `trace_ids`, those that are in the experiment.
Result<std::vector<std::string>> those_in(db::Connection& c, std::int64_t experiment_id,
                                          const std::vector<std::string>& trace_ids);
/// The ids of the oldest that began at `max_ms` or before, at most `most`.
Result<std::vector<std::string>> oldest_in(db::Connection& c, std::int64_t experiment_id, std::int64_t max_ms,
                                           std::size_t most);
/// With all that hangs on them, but for their artifacts.
Result<void> delete_traces(db::Connection& c, const std::vector<std::string>& trace_ids);

struct TraceSearch {
  std::vector<std::int64_t> experiments = {};
  std::string filter = {};
  std::size_t limit = 100;
  std::vector<std::string> order_by = {};
  std::string page_token = {};
};
constexpr std::size_t kMostTracesPerPage = 500;
/// With details. Errors: `invalid` — a filter, order or token that MLflow would refuse too.
Result<tracking::Page<Trace>> search_traces(db::Connection& c, const TraceSearch& search);

// --- what is said of traces ---

/// Errors: `invalid` — a field that is missing or too long; `not_found` — the one that it stands in for.
Result<Assessment> create_assessment(db::Connection& c, const Trace& trace, Assessment assessment,
                                     const std::string& created_by, Time now);
/// Errors: `not_found`.
Result<Assessment> find_assessment(db::Connection& c, const Trace& trace, const std::string& id);
Result<std::vector<Assessment>> assessments_of(db::Connection& c, const Trace& trace);

struct AssessmentChange {
  std::optional<std::string> name = {};
  std::optional<json::Object> value = {};  ///< of the same kind
  std::optional<std::string> rationale = {};
  std::optional<json::Object> metadata = {};  ///< added to what there is
};
Result<Assessment> update_assessment(db::Connection& c, const Trace& trace, Assessment assessment,
                                     const AssessmentChange& change, Time now);
/// What it stood in for is valid again.
Result<void> delete_assessment(db::Connection& c, const Trace& trace, const Assessment& assessment);

}  // namespace lathe::traces
