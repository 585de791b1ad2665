#include "traces/traces.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "mlflow/places.h"
#include "mlflow/table.h"
#include "mlflow/trace_wire.h"
#include "traces/otlp.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

constexpr std::size_t kMostAtOnce = 100;       ///< traces with their spans in one answer
constexpr std::size_t kMostBatchBytes = std::size_t{64} << 20;  ///< of spans in one answer
constexpr std::size_t kDeletedTogether = 100;  ///< traces in one commit

std::string trace_id_of(const Asked& asked) {
  return std::string(asked.call.param("trace_id"));
}

/// {"trace": {"trace_info": ..., "spans": [...]}}
json::Object whole(const traces::Trace& trace, const std::vector<std::string>& contents) {
  json::Object out{{"trace_info", to_wire(trace)}};
  json::Array spans;
  for (const auto& content : contents) spans.push_back(traces::otlp_of(content));
  if (!spans.empty()) out["spans"] = std::move(spans);
  return out;
}

/// What clients before 3.0 call, and what later ones ask for beyond traces themselves.
Error not_spoken() {
  return {Code::not_found,
          "this is not spoken here; traces are, as clients from MLflow 3.0 on send them: upgrade mlflow to trace",
          "ENDPOINT_NOT_FOUND"};
}

Result<json::Object> start(db::Connection& c, const Asked& asked) {
  if (!asked.fields.has("trace") && asked.fields.has("experiment_id")) return fail(not_spoken());
  LATHE_CHECK(asked.fields.check_there("trace"));
  LATHE_TRY(const auto trace, asked.fields.object("trace"));
  LATHE_CHECK(trace.check_there("trace_info"));
  LATHE_TRY(const auto info, trace.object("trace_info"));
  LATHE_TRY(auto read, trace_of(info));
  LATHE_TRY(const auto made, traces::start_trace(c, asked.who(), std::move(read), asked.now));
  return json::Object{{"trace", whole(made, {})}};
}

Result<json::Object> info(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace, traces::load_trace(c, trace_id_of(asked)));
  return json::Object{{"trace", whole(trace, {})}};
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace_id, asked.fields.need("trace_id"));
  LATHE_TRY(const auto partial, asked.fields.text("allow_partial"));
  LATHE_TRY(const auto trace, traces::load_trace(c, trace_id));
  LATHE_TRY(const auto spans, traces::span_contents(c, trace));
  if (partial != "true" && partial != "True" && !traces::is_complete(trace, spans.size()))
    return fail(Code::not_found,
                fmt::format("Trace with ID {} is not fully exported yet, please try again later.", trace.id));
  return json::Object{{"trace", whole(trace, spans)}};
}

Result<std::vector<std::string>> ids_of(const Message& fields) {
  LATHE_CHECK(fields.check_there("trace_ids"));
  LATHE_TRY(auto ids, fields.texts("trace_ids"));
  if (ids.size() > kMostAtOnce)
    return fail(Code::invalid, fmt::format("'trace_ids' may name at most {} traces at once", kMostAtOnce));
  return ids;
}

/// Those that are there, in the order in which they were asked for.
template <class Take>
Result<void> each_of(db::Connection& c, const Message& fields, Take take) {
  LATHE_TRY(const auto ids, ids_of(fields));
  std::set<std::string_view> seen;
  for (const auto& id : ids) {
    if (!seen.insert(id).second) continue;
    const auto trace = traces::load_trace(c, id);
    if (!trace && trace.error().code == Code::not_found) continue;
    if (!trace) return fail(trace.error());
    LATHE_CHECK(take(*trace));
  }
  return {};
}

Result<json::Object> batch_get(db::Connection& c, const Asked& asked) {
  json::Array found;
  std::size_t bytes = 0;
  LATHE_CHECK(each_of(c, asked.fields, [&](const traces::Trace& trace) -> Result<void> {
    LATHE_TRY(const auto spans, traces::span_contents(c, trace));
    for (const auto& span : spans) bytes += span.size();
    if (bytes > kMostBatchBytes)
      return fail(Code::invalid, fmt::format("these traces hold more than {} bytes: ask for fewer at once", kMostBatchBytes));
    if (traces::is_complete(trace, spans.size())) found.push_back(whole(trace, spans));
    return {};
  }));
  json::Object out;
  if (!found.empty()) out["traces"] = std::move(found);
  return out;
}

Result<json::Object> batch_infos(db::Connection& c, const Asked& asked) {
  json::Array found;
  LATHE_CHECK(each_of(c, asked.fields, [&](const traces::Trace& trace) -> Result<void> {
    found.push_back(to_wire(trace));
    return {};
  }));
  json::Object out;
  if (!found.empty()) out["trace_infos"] = std::move(found);
  return out;
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  traces::TraceSearch search;
  LATHE_CHECK(asked.fields.check_there("locations"));
  LATHE_TRY(const auto locations, asked.fields.list("locations"));
  for (const auto& location : locations) {
    if (!location.has("mlflow_experiment")) continue;  // a place that is not here
    LATHE_TRY(const auto place, location.object("mlflow_experiment"));
    LATHE_TRY(const auto text, place.need("experiment_id"));
    const auto id = tracking::parse_experiment_id(text);
    if (!id && id.error().code == Code::invalid) return fail(id.error());
    if (id) search.experiments.push_back(*id);
  }
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.limit, limit_of(asked.fields, search.limit));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, traces::search_traces(c, search));
  json::Array found;
  for (const auto& trace : page.items) found.push_back(to_wire(trace));
  json::Object out;
  if (!found.empty()) out["traces"] = std::move(found);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

/// What delete-traces is asked for: ids, or all up to a time.
struct Deletion {
  std::int64_t experiment_id = 0;
  std::vector<std::string> trace_ids;
  std::optional<std::int64_t> max_ms;
  std::optional<std::int64_t> most;
};

Result<Deletion> deletion_of(const Message& fields) {
  Deletion out;
  LATHE_TRY(const auto experiment, fields.need("experiment_id"));
  LATHE_TRY(out.experiment_id, tracking::parse_experiment_id(experiment));
  LATHE_TRY(out.trace_ids, fields.texts("request_ids"));
  LATHE_TRY(out.max_ms, fields.integer("max_timestamp_millis"));
  LATHE_TRY(out.most, fields.integer("max_traces"));
  if (!out.max_ms && out.trace_ids.empty())
    return fail(Code::invalid, "Either `max_timestamp_millis` or `trace_ids` must be specified.");
  if (out.max_ms && !out.trace_ids.empty())
    return fail(Code::invalid, "Only one of `max_timestamp_millis` and `trace_ids` can be specified.");
  if (out.most && !out.trace_ids.empty())
    return fail(Code::invalid, "`max_traces` can't be specified if `trace_ids` is specified.");
  if (out.most && *out.most <= 0)
    return fail(Code::invalid, fmt::format("`max_traces` must be a positive integer, received {}.", *out.most));
  return out;
}

/// Deletes the traces that `find` names, in one commit; answers how many. Their artifacts go first, so that what could
/// not be finished may be asked for again.
template <class Find>
Result<std::size_t> delete_some(db::Database& db, storage::Storage& artifacts, std::int64_t experiment_id, Find find) {
  LATHE_TRY(const auto ids, db.read(find));
  for (const auto& id : ids) {
    const auto removed = artifacts.remove(fmt::format("{}/traces/{}", experiment_id, id));
    if (!removed && removed.error().code != Code::not_found) return fail(removed.error());
  }
  LATHE_CHECK(db.write([&](db::Connection& c) { return traces::delete_traces(c, ids); }));
  return ids.size();
}

Result<std::size_t> delete_these(db::Database& db, storage::Storage& artifacts, const Deletion& asked) {
  std::size_t deleted = 0;
  for (auto from = asked.trace_ids.begin(); from != asked.trace_ids.end();) {
    const auto rest = static_cast<std::size_t>(asked.trace_ids.end() - from);
    const auto to = from + static_cast<std::ptrdiff_t>(std::min(kDeletedTogether, rest));
    const std::vector<std::string> some(from, to);
    LATHE_TRY(const auto count, delete_some(db, artifacts, asked.experiment_id, [&](db::Connection& c) {
                return traces::those_in(c, asked.experiment_id, some);
              }));
    deleted += count;
    from = to;
  }
  return deleted;
}

Result<std::size_t> delete_up_to(db::Database& db, storage::Storage& artifacts, const Deletion& asked) {
  const auto most = static_cast<std::size_t>(asked.most.value_or(std::numeric_limits<std::int64_t>::max()));
  std::size_t deleted = 0;
  for (;;) {
    const auto some = std::min(kDeletedTogether, most - deleted);
    LATHE_TRY(const auto count, delete_some(db, artifacts, asked.experiment_id, [&](db::Connection& c) {
                return traces::oldest_in(c, asked.experiment_id, *asked.max_ms, some);
              }));
    deleted += count;
    if (count < kDeletedTogether || deleted == most) return deleted;
  }
}

Result<http::Response> remove(db::Database& db, storage::Storage& artifacts, const http::Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto asked, deletion_of(fields));
  LATHE_TRY(const auto deleted, asked.max_ms ? delete_up_to(db, artifacts, asked) : delete_these(db, artifacts, asked));
  return http::json_response(json::Object{{"traces_deleted", deleted}});
}

Result<json::Object> set_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(auto key, asked.fields.need("key"));
  LATHE_TRY(auto value, asked.fields.text("value"));
  LATHE_TRY(const auto trace, traces::writable_trace(c, asked.who(), trace_id_of(asked)));
  LATHE_CHECK(traces::set_trace_tag(c, trace, {std::move(key), std::move(value)}));
  return json::Object{};
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto key, asked.fields.need("key"));
  LATHE_TRY(const auto trace, traces::writable_trace(c, asked.who(), trace_id_of(asked)));
  LATHE_CHECK(traces::delete_trace_tag(c, trace, key));
  return json::Object{};
}

Result<json::Object> link(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto run_id, asked.fields.run_id());
  LATHE_TRY(const auto trace_ids, asked.fields.texts("trace_ids"));
  LATHE_CHECK(tracking::check_run_id(run_id));
  LATHE_TRY(const auto run, tracking::writable_run(c, asked.who(), run_id));
  LATHE_CHECK(traces::link_to_run(c, trace_ids, run));
  return json::Object{};
}

/// A file that a client put beside its trace, and that a span refers to.
Result<http::Response> attachment(db::Database& db, storage::Storage& artifacts, const std::string& trace_id,
                                  const std::string& path, std::optional<std::string_view> range) {
  LATHE_CHECK(check_path(path));
  LATHE_TRY(const auto trace, db.read([&](db::Connection& c) { return traces::find_trace(c, trace_id); }));
  return artifacts.download(*artifact_path(traces::artifact_uri(trace)) + "/attachments/" + path, range);
}

}  // namespace

void add_trace_routes(Table& table, storage::Storage& artifacts) {
  const std::string one = "/mlflow/traces/{trace_id}";
  auto& db = table.db();
  table.write("trace_start", Method::post, "/mlflow/traces", Right::track, "Say what a trace was as a whole.", start);
  table.read("trace_info", Method::get, one, "One trace without its spans.", info);
  table.read("trace_get", Method::get, "/mlflow/traces/get", "One trace with its spans.", get);
  table.read("trace_batch_get", Method::get, "/mlflow/traces/batchGet", "Several traces with their spans.", batch_get);
  table.read("trace_batch_infos", Method::post, "/mlflow/traces/batchGetInfos", "Several traces without their spans.",
             batch_infos);
  table.read("trace_search", Method::post, "/mlflow/traces/search", "Traces that match a filter.", search);
  table.add_waiting("trace_delete", Method::post, "/mlflow/traces/delete-traces", Right::write,
                    "Delete traces, by their ids or up to a time.",
                    [&](http::Call& call) { return remove(db, artifacts, call); });
  table.write("trace_set_tag", Method::patch, one + "/tags", Right::track, "Set a tag.", set_tag);
  table.write("trace_delete_tag", Method::del, one + "/tags", Right::track, "Remove a tag.", delete_tag);
  table.write("trace_link_to_run", Method::post, "/mlflow/traces/link-to-run", Right::track, "Link traces to a run.",
              link);
  // These would else be taken for a trace's id with another method.
  for (const auto& [method, path] :
       {std::pair{Method::get, std::string("/mlflow/traces")}, std::pair{Method::patch, one},
        std::pair{Method::post, std::string("/mlflow/traces/metrics")},
        std::pair{Method::post, std::string("/mlflow/traces/link-prompts")},
        std::pair{Method::post, std::string("/mlflow/traces/calculate-filter-correlation")}})
    table.add("trace_not_spoken", method, path, Right::read, "Not spoken.",
              [](http::Call&) -> Result<http::Response> { return fail(not_spoken()); });
  table.add_waiting("trace_artifact", Method::get, "/mlflow/get-trace-artifact", Right::read,
                    "The spans of a trace, or an attachment of one, as a file.",
                    [&](http::Call& call) -> Result<http::Response> {
                      LATHE_TRY(const auto fields, Message::read(call));
                      LATHE_TRY(const auto trace_id, fields.need("request_id"));
                      LATHE_TRY(const auto path, fields.text("path"));
                      if (!path.empty()) return attachment(db, artifacts, trace_id, path, call.header("range"));
                      return trace_data(db, artifacts, trace_id, call.header("range"));
                    });
}

}  // namespace lathe::mlflow
