#pragma once

#include "mlflow/message.h"
#include "storage/storage.h"
#include "traces/traces.h"

/// Traces and assessments in MLflow's JSON forms.
namespace lathe::mlflow {

/// TraceInfoV3
json::Object to_wire(const traces::Trace& trace);
json::Object to_wire(const traces::Assessment& assessment);

/// The same, read. Errors: `invalid`.
Result<traces::Trace> trace_of(const Message& info);
Result<traces::Assessment> assessment_of(const Message& fields);
/// The value of a "feedback" or "expectation" field.
Result<json::Object> value_of(const Message& fields, std::string_view kind);
/// A JSON object of texts.
Result<json::Object> texts_by_name(const Message& fields, std::string_view name);

/// traces.json: as the client uploaded it, else made of the spans that it sent. Errors: `not_found`.
Result<http::Response> trace_data(db::Database& db, storage::Storage& artifacts, const std::string& trace_id,
                                  std::optional<std::string_view> range);

}  // namespace lathe::mlflow
