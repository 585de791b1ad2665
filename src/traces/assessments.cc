#include <fmt/format.h>

#include "base/ids.h"
#include "base/text.h"
#include "traces/traces.h"
#include "tracking/validation.h"

namespace lathe::traces {
namespace {

constexpr std::size_t kNameLimit = 250;
constexpr std::size_t kTextLimit = 100'000;
constexpr std::size_t kMostPerTrace = 1000;

#define LATHE_ASSESSMENT_COLUMNS                                                                                 \
  "a.id, a.name, a.kind, a.value, a.source_type, a.source_id, a.span_id, a.rationale, a.metadata, a.overrides, " \
  "a.valid, a.created_ms, a.updated_ms"

json::Object object_of(std::string_view text) {
  auto out = json::parse_object(text);
  return out ? std::move(*out) : json::Object{};
}

Assessment read_assessment(const db::Row& row) {
  Assessment out;
  out.id = row.text(0);
  out.name = row.text(1);
  out.kind = row.text(2);
  out.value = object_of(row.text_view(3));
  out.source_type = row.text(4);
  out.source_id = row.text(5);
  out.span_id = row.text(6);
  out.rationale = row.text(7);
  out.metadata = object_of(row.text_view(8));
  out.overrides = row.text(9);
  out.valid = row.integer(10) != 0;
  out.created_ms = row.integer(11);
  out.updated_ms = row.integer(12);
  return out;
}

/// {"value": 5}, or {"serialized_value": {"value": "[1]"}}: the value by which it is searched.
json::Value searched(const json::Object& value) {
  if (const auto* plain = json::find(value, "value"); plain != nullptr) return *plain;
  const auto* packed = json::find(value, "serialized_value");
  const auto* text = packed != nullptr && packed->is_object() ? json::find(packed->get_object(), "value") : nullptr;
  return text == nullptr ? json::Value(nullptr) : *text;
}

std::string text_of(const json::Value& value) {
  return value.is_string() ? std::string(json::view(value.get_string())) : json::print(value);
}

std::optional<double> number_of(const json::Value& value) {
  if (value.is_double()) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

Result<void> check(const Assessment& a) {
  if (trim(a.name).empty())
    return fail(Code::invalid, "Missing value for required parameter 'assessment.assessment_name'.");
  if (a.kind.empty())
    return fail(Code::invalid, "An assessment must hold one of 'feedback' and 'expectation', with a value.");
  for (const auto& [what, text, limit] : {std::tuple{"assessment_name", std::string_view(a.name), kNameLimit},
                                          std::tuple{"source_id", std::string_view(a.source_id), kNameLimit},
                                          std::tuple{"span_id", std::string_view(a.span_id), kNameLimit},
                                          std::tuple{"overrides", std::string_view(a.overrides), kNameLimit},
                                          std::tuple{"rationale", std::string_view(a.rationale), kTextLimit}}) {
    LATHE_CHECK(tracking::check_text(what, text));
    LATHE_CHECK(tracking::check_length(what, text, limit));
  }
  LATHE_CHECK(tracking::check_text(a.kind, text_of(searched(a.value))));
  LATHE_CHECK(tracking::check_length(a.kind, json::print(a.value), kTextLimit));
  return tracking::check_length("metadata", json::print(a.metadata), kTextLimit);
}

Result<void> set_valid(db::Connection& c, const Trace& trace, const std::string& id, bool valid) {
  LATHE_CHECK(
      db::run(c, "UPDATE trace_assessment SET valid = $3 WHERE trace = $1 AND id = $2", trace.number, id, valid));
  return {};
}

}  // namespace

Result<Assessment> create_assessment(db::Connection& c, const Trace& trace, Assessment a, const std::string& created_by,
                                     Time now) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO trace_assessment (id, trace, name, kind, value, value_text, value_number, source_type, source_id,
                                  span_id, rationale, metadata, overrides, valid, created_ms, updated_ms, created_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15, $16))sql";
  LATHE_CHECK(check(a));
  LATHE_TRY(const auto count, db::first(
                                  c, "SELECT COUNT(*) FROM trace_assessment WHERE trace = $1",
                                  [](const db::Row& row) { return row.integer(0); }, trace.number));
  if (static_cast<std::size_t>(count.value_or(0)) >= kMostPerTrace)
    return fail(Code::invalid, fmt::format("a trace may have at most {} assessments", kMostPerTrace));
  if (!a.overrides.empty()) {
    LATHE_CHECK(find_assessment(c, trace, a.overrides));
    LATHE_CHECK(set_valid(c, trace, a.overrides, false));
  }
  a.id = "a-" + random_hex(16);
  a.trace_id = trace.id;
  if (a.created_ms == 0) a.created_ms = millis(now);
  if (a.updated_ms == 0) a.updated_ms = a.created_ms;
  const auto value = searched(a.value);
  LATHE_CHECK(db::run(c, kInsert, a.id, trace.number, a.name, a.kind, json::print(a.value), text_of(value),
                      number_of(value), a.source_type, a.source_id, a.span_id, a.rationale, json::print(a.metadata),
                      a.overrides, a.created_ms, a.updated_ms, created_by));
  a.valid = true;
  return a;
}

Result<Assessment> find_assessment(db::Connection& c, const Trace& trace, const std::string& id) {
  LATHE_TRY(auto found,
            db::first(c, "SELECT " LATHE_ASSESSMENT_COLUMNS " FROM trace_assessment a WHERE a.trace = $1 AND a.id = $2",
                      read_assessment, trace.number, id));
  if (!found)
    return fail(Code::not_found, fmt::format("Assessment with ID '{}' not found for trace '{}'",
                                             printable(id.substr(0, 300)), trace.id));
  found->trace_id = trace.id;
  return std::move(*found);
}

Result<std::vector<Assessment>> assessments_of(db::Connection& c, const Trace& trace) {
  LATHE_TRY(auto out, db::all(c,
                              "SELECT " LATHE_ASSESSMENT_COLUMNS
                              " FROM trace_assessment a WHERE a.trace = $1 ORDER BY a.created_ms, a.id",
                              read_assessment, trace.number));
  for (auto& assessment : out) assessment.trace_id = trace.id;
  return out;
}

Result<Assessment> update_assessment(db::Connection& c, const Trace& trace, Assessment a,
                                     const AssessmentChange& change, Time now) {
  static constexpr auto kUpdate = R"sql(
    UPDATE trace_assessment
       SET name = $3, value = $4, value_text = $5, value_number = $6, rationale = $7, metadata = $8, updated_ms = $9
     WHERE trace = $1 AND id = $2)sql";
  a.name = change.name.value_or(a.name);
  a.value = change.value.value_or(a.value);
  a.rationale = change.rationale.value_or(a.rationale);
  if (change.metadata)
    for (const auto& member : *change.metadata) a.metadata[member.key()] = member.value();
  a.updated_ms = millis(now);
  LATHE_CHECK(check(a));
  const auto value = searched(a.value);
  LATHE_CHECK(db::run(c, kUpdate, trace.number, a.id, a.name, json::print(a.value), text_of(value), number_of(value),
                      a.rationale, json::print(a.metadata), a.updated_ms));
  return a;
}

Result<void> delete_assessment(db::Connection& c, const Trace& trace, const Assessment& assessment) {
  LATHE_CHECK(db::run(c, "DELETE FROM trace_assessment WHERE trace = $1 AND id = $2", trace.number, assessment.id));
  if (!assessment.overrides.empty()) LATHE_CHECK(set_valid(c, trace, assessment.overrides, true));
  return {};
}

}  // namespace lathe::traces
