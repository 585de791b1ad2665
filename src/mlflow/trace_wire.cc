#include "mlflow/trace_wire.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/iso8601.h"
#include "base/text.h"
#include "mlflow/places.h"
#include "tracking/filter.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

constexpr std::size_t kMostPairs = 1000;

json::Object by_name(const std::vector<tracking::Tag>& pairs) {
  json::Object out;
  for (const auto& pair : pairs) out[pair.key] = pair.value;
  return out;
}

void put(json::Object& out, std::string_view name, const std::string& text) {
  if (!text.empty()) out[name] = text;
}
void put(json::Object& out, std::string_view name, const std::optional<std::string>& text) {
  if (text) out[name] = *text;
}
void put(json::Object& out, std::string_view name, json::Object object) {
  if (!object.empty()) out[name] = std::move(object);
}

std::string time_text(std::int64_t ms) {
  return to_iso8601(from_micros(ms * 1000));
}

Result<std::vector<tracking::Tag>> pairs_of(const Message& fields, std::string_view name) {
  LATHE_TRY(const auto object, texts_by_name(fields, name));
  std::vector<tracking::Tag> out;
  for (const auto& member : object)
    out.push_back({std::string(member.key()), std::string(json::view(member.value().get_string()))});
  return out;
}

/// Absent: 0.
Result<std::int64_t> time_of(const Message& fields, std::string_view name) {
  LATHE_TRY(const auto text, fields.text(name));
  if (text.empty()) return std::int64_t{0};
  LATHE_TRY(const auto time, parse_iso8601(text));
  return millis(time);
}

/// "1.5s"
Result<std::optional<std::int64_t>> duration_of(const Message& fields, std::string_view name) {
  LATHE_TRY(const auto text, fields.text(name));
  if (text.empty()) return std::nullopt;
  constexpr double kMost = 315'576'000'000;  // protobuf's, ten thousand years
  const auto seconds = text.ends_with('s') ? tracking::parse_number(text.substr(0, text.size() - 1)) : std::nullopt;
  if (!seconds || !(*seconds >= 0 && *seconds <= kMost))
    return fail(Code::invalid, fmt::format("Invalid value \"{}\" for parameter '{}' supplied. It must be a duration in "
                                           "seconds, such as \"1.5s\".",
                                           printable(text.substr(0, 60)), name));
  return std::llround(*seconds * 1000);
}

/// An enum's name; its first value, 0, stands for none.
Result<std::string> enum_of(const Message& fields, std::string_view name, std::string_view unspecified,
                            std::initializer_list<std::string_view> names) {
  const auto* value = json::find(fields.fields(), name);
  const bool zero = value != nullptr && value->is_int64() && value->get_int64() == 0;
  if (zero || (value != nullptr && value->is_string() && json::view(value->get_string()) == unspecified))
    return std::string(unspecified);
  LATHE_TRY(const auto choice, fields.choice(name, names));
  return std::string(choice ? *(names.begin() + (*choice - 1)) : unspecified);
}

}  // namespace

json::Object to_wire(const traces::Assessment& a) {
  json::Object out{{"assessment_id", a.id},
                   {"assessment_name", a.name},
                   {"trace_id", a.trace_id},
                   {"source", json::Object{{"source_type", a.source_type}, {"source_id", a.source_id}}},
                   {"create_time", time_text(a.created_ms)},
                   {"last_update_time", time_text(a.updated_ms)},
                   {a.kind, a.value},
                   {"valid", a.valid}};
  put(out, "span_id", a.span_id);
  put(out, "rationale", a.rationale);
  put(out, "metadata", a.metadata);
  put(out, "overrides", a.overrides);
  return out;
}

json::Object to_wire(const traces::Trace& trace) {
  json::Object out{
      {"trace_id", trace.id},
      {"trace_location",
       json::Object{{"type", "MLFLOW_EXPERIMENT"},
                    {"mlflow_experiment", json::Object{{"experiment_id", fmt::to_string(trace.experiment_id)}}}}},
      {"request_time", time_text(trace.request_ms)},
      {"state", trace.state}};
  if (trace.duration_ms)
    out["execution_duration"] = fmt::format("{}.{:03}s", *trace.duration_ms / 1000, *trace.duration_ms % 1000);
  put(out, "client_request_id", trace.client_request_id);
  put(out, "request_preview", trace.request_preview);
  put(out, "response_preview", trace.response_preview);
  put(out, "trace_metadata", by_name(trace.metadata));
  put(out, "tags", by_name(trace.tags));
  json::Array assessments;
  for (const auto& assessment : trace.assessments) assessments.push_back(to_wire(assessment));
  if (!assessments.empty()) out["assessments"] = std::move(assessments);
  return out;
}

Result<json::Object> texts_by_name(const Message& fields, std::string_view name) {
  LATHE_TRY(const auto object, fields.object(name));
  if (object.fields().size() > kMostPairs)
    return fail(Code::invalid, fmt::format("'{}' may hold at most {} entries", name, kMostPairs));
  for (const auto& member : object.fields()) {
    const std::string key(member.key());
    LATHE_CHECK(object.check_there(key));
    LATHE_CHECK(object.text(key));
  }
  return object.fields();
}

Result<json::Object> value_of(const Message& fields, std::string_view kind) {
  LATHE_TRY(const auto sent, fields.object(kind));
  json::Object out;
  if (kind == "expectation" && sent.has("serialized_value")) {
    LATHE_TRY(const auto packed, sent.object("serialized_value"));
    LATHE_TRY(const auto format, packed.text("serialization_format"));
    LATHE_TRY(const auto text, packed.text("value"));
    out["serialized_value"] = json::Object{{"serialization_format", format}, {"value", text}};
    return out;
  }
  LATHE_TRY(const auto error, sent.object("error"));
  const auto* value = sent.fields().if_contains("value");
  if (value == nullptr && error.fields().empty())
    return fail(Code::invalid, fmt::format("Missing value for required parameter 'assessment.{}.value'.", kind));
  const bool nested = value != nullptr && (value->is_object() || value->is_array());
  if (kind == "expectation" && nested) {  // which clients read from a text
    out["serialized_value"] = json::Object{{"serialization_format", "JSON_FORMAT"}, {"value", json::print(*value)}};
    return out;
  }
  out["value"] = value == nullptr ? json::Value(nullptr) : *value;
  if (kind == "expectation" || error.fields().empty()) return out;
  json::Object kept;
  for (const auto* key : {"error_code", "error_message", "stack_trace"}) {
    LATHE_TRY(const auto text, error.text(key));
    put(kept, key, text);
  }
  out["error"] = std::move(kept);
  return out;
}

Result<traces::Assessment> assessment_of(const Message& fields) {
  traces::Assessment out;
  LATHE_TRY(out.name, fields.need("assessment_name"));
  LATHE_TRY(out.span_id, fields.text("span_id"));
  LATHE_TRY(out.rationale, fields.text("rationale"));
  LATHE_TRY(out.overrides, fields.text("overrides"));
  LATHE_TRY(out.created_ms, time_of(fields, "create_time"));
  LATHE_TRY(out.updated_ms, time_of(fields, "last_update_time"));
  LATHE_TRY(out.metadata, texts_by_name(fields, "metadata"));
  LATHE_CHECK(fields.check_there("source"));
  LATHE_TRY(const auto source, fields.object("source"));
  LATHE_TRY(out.source_type, enum_of(source, "source_type", "SOURCE_TYPE_UNSPECIFIED", {"HUMAN", "LLM_JUDGE", "CODE"}));
  LATHE_TRY(out.source_id, source.text("source_id"));
  for (const auto* kind : {"feedback", "expectation"}) {
    if (!fields.has(kind)) continue;
    if (!out.kind.empty())
      return fail(Code::invalid, "Exactly one of `expectation` or `feedback` should be specified.");
    out.kind = kind;
    LATHE_TRY(out.value, value_of(fields, kind));
  }
  return out;
}

Result<traces::Trace> trace_of(const Message& info) {
  traces::Trace out;
  LATHE_TRY(out.id, info.need("trace_id"));
  LATHE_CHECK(info.check_there("trace_location"));
  LATHE_TRY(const auto location, info.object("trace_location"));
  LATHE_CHECK(location.check_there("mlflow_experiment"));
  LATHE_TRY(const auto place, location.object("mlflow_experiment"));
  LATHE_TRY(const auto experiment, place.need("experiment_id"));
  LATHE_TRY(out.experiment_id, tracking::parse_experiment_id(experiment));
  LATHE_TRY(out.request_ms, time_of(info, "request_time"));
  LATHE_TRY(out.duration_ms, duration_of(info, "execution_duration"));
  LATHE_TRY(out.state, enum_of(info, "state", "STATE_UNSPECIFIED", {"OK", "ERROR", "IN_PROGRESS"}));
  for (const auto& [name, field] :
       {std::pair{"client_request_id", &out.client_request_id}, std::pair{"request_preview", &out.request_preview},
        std::pair{"response_preview", &out.response_preview}}) {
    if (!info.has(name)) continue;
    LATHE_TRY(*field, info.text(name));
  }
  LATHE_TRY(out.tags, pairs_of(info, "tags"));
  LATHE_TRY(out.metadata, pairs_of(info, "trace_metadata"));
  LATHE_TRY(const auto assessments, info.list("assessments"));
  for (const auto& each : assessments) {
    LATHE_TRY(auto assessment, assessment_of(each));
    out.assessments.push_back(std::move(assessment));
  }
  return out;
}

Result<http::Response> trace_data(db::Database& db, storage::Storage& artifacts, const std::string& trace_id,
                                  std::optional<std::string_view> range) {
  LATHE_TRY(const auto trace, db.read([&](db::Connection& c) { return traces::find_trace(c, trace_id); }));
  auto uploaded = artifacts.download(*artifact_path(traces::artifact_uri(trace)) + "/traces.json", range);
  if (uploaded || uploaded.error().code != Code::not_found) return uploaded;
  LATHE_TRY(const auto spans, db.read([&](db::Connection& c) { return traces::span_contents(c, trace); }));
  if (spans.empty()) return uploaded;
  http::Response out;
  out.type = "application/octet-stream";
  out.body = fmt::format("{{\"spans\": [{}]}}", fmt::join(spans, ", "));
  out.headers = {{"Content-Disposition", "attachment; filename=traces.json"},
                 {"Content-Security-Policy", "sandbox; default-src 'none'"}};
  return out;
}

}  // namespace lathe::mlflow
