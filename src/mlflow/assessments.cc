#include "base/text.h"
#include "mlflow/table.h"
#include "mlflow/trace_wire.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

std::string param(const Asked& asked, std::string_view name) {
  return std::string(asked.call.param(name));
}

json::Object answer(const traces::Assessment& assessment) {
  return {{"assessment", to_wire(assessment)}};
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace, traces::writable_trace(c, asked.who(), param(asked, "trace_id")));
  LATHE_CHECK(asked.fields.check_there("assessment"));
  LATHE_TRY(const auto fields, asked.fields.object("assessment"));
  LATHE_TRY(auto assessment, assessment_of(fields));
  LATHE_TRY(const auto made, traces::create_assessment(c, trace, std::move(assessment), asked.who().user, asked.now));
  return answer(made);
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace, traces::find_trace(c, param(asked, "trace_id")));
  LATHE_TRY(const auto found, traces::find_assessment(c, trace, param(asked, "assessment_id")));
  return answer(found);
}

/// The fields that "update_mask" names, which protobuf writes as "assessmentName,feedback".
Result<traces::AssessmentChange> change_of(const Message& fields, const Message& sent,
                                           const traces::Assessment& before) {
  traces::AssessmentChange out;
  LATHE_TRY(const auto mask, fields.need("update_mask"));
  for (const auto path : split(mask, ',')) {
    const auto name = trim(path);
    if (name == "assessmentName" || name == "assessment_name") {
      LATHE_TRY(out.name, sent.need("assessment_name"));
    } else if (name == "rationale") {
      LATHE_TRY(out.rationale, sent.text("rationale"));
    } else if (name == "metadata") {
      LATHE_TRY(out.metadata, texts_by_name(sent, "metadata"));
    } else if (name == "feedback" || name == "expectation") {
      if (name != before.kind)
        return fail(Code::invalid,
                    "Cannot update " + std::string(name) + " value on an assessment that is a " + before.kind + ".");
      LATHE_TRY(out.value, value_of(sent, name));
    } else {
      return fail(Code::invalid,
                  "update_mask may name assessment_name, feedback, expectation, rationale and metadata, not \"" +
                      printable(name.substr(0, 100)) + "\"");
    }
  }
  return out;
}

Result<json::Object> update(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace, traces::writable_trace(c, asked.who(), param(asked, "trace_id")));
  LATHE_TRY(auto before, traces::find_assessment(c, trace, param(asked, "assessment_id")));
  LATHE_TRY(const auto sent, asked.fields.object("assessment"));
  LATHE_TRY(const auto change, change_of(asked.fields, sent, before));
  LATHE_TRY(const auto after, traces::update_assessment(c, trace, std::move(before), change, asked.now));
  return answer(after);
}

/// One that is not there is gone already.
Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto trace, traces::writable_trace(c, asked.who(), param(asked, "trace_id")));
  const auto found = traces::find_assessment(c, trace, param(asked, "assessment_id"));
  if (!found && found.error().code != Code::not_found) return fail(found.error());
  if (found) LATHE_CHECK(traces::delete_assessment(c, trace, *found));
  return json::Object{};
}

}  // namespace

void add_assessment_routes(Table& table) {
  const std::string all = "/mlflow/traces/{trace_id}/assessments";
  const auto one = all + "/{assessment_id}";
  table.write("assessment_create", Method::post, all, Right::track, "Say something of a trace.", create);
  table.read("assessment_get", Method::get, one, "What was said of a trace.", get);
  table.write("assessment_update", Method::patch, one, Right::track, "Change what was said of a trace.", update);
  table.write("assessment_delete", Method::del, one, Right::track, "Take back what was said of a trace.", remove);
}

}  // namespace lathe::mlflow
