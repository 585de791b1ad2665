#include "traces/otlp.h"

#include "base/text.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

// Where OpenTelemetry's exporters, and MLflow's clients from 3.4 on, send spans.
namespace lathe::mlflow {
namespace {

constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

Result<http::Response> take_spans(db::Database& db, http::Call& call) {
  const auto header = call.header("content-type").value_or("");
  const auto type = to_lower(trim(header.substr(0, header.find(';'))));
  if (type != kProtobuf && type != kJson)
    return fail(Code::invalid, "Content-Type must be application/x-protobuf or application/json");
  const auto experiment = call.header("x-mlflow-experiment-id").value_or("");
  if (experiment.empty())
    return fail(Code::invalid,
                "the header x-mlflow-experiment-id is missing: it names the experiment that the spans go to");
  LATHE_TRY(const auto experiment_id, tracking::parse_experiment_id(experiment));
  LATHE_TRY(const auto body,
            traces::unpacked(std::move(call.body), to_lower(trim(call.header("content-encoding").value_or("")))));
  LATHE_TRY(const auto spans, type == kJson ? traces::read_otlp_json(body) : traces::read_otlp_protobuf(body));
  if (spans.empty()) return fail(Code::invalid, "the request holds no spans");
  LATHE_CHECK(db.write([&](db::Connection& c) { return traces::log_spans(c, call.principal, experiment_id, spans); }));
  http::Response out;  // an ExportTraceServiceResponse without a word: all were taken
  out.type = type;
  out.body = type == kJson ? "{}" : "";
  return out;
}

}  // namespace

void add_otlp_route(http::Router& router, db::Database& db) {
  http::Route route;
  route.id = "mlflow_otlp_traces";
  route.method = http::Method::post;
  route.path = "/v1/traces";
  route.right = http::Right::track;
  route.summary = "Take spans by OTLP.";
  route.jobs = true;
  route.errors = http::ErrorShape::mlflow;
  route.body_limit = traces::kMostOtlpBytes;
  route.in_openapi = false;  // OpenTelemetry's
  router.add(std::move(route), [&db](http::Call& call) { return take_spans(db, call); });
}

}  // namespace lathe::mlflow
