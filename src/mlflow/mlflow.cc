#include "mlflow/mlflow.h"

#include "mlflow/table.h"

namespace lathe::mlflow {
namespace {

// What we say to be: MLflow's clients ask before they use newer calls. From 3.4 on they send spans by OTLP; below it they
// keep traces as artifacts. No client asks for more yet, and what is not said is not asked for.
constexpr const char* kSpokenVersion = "3.4.0";

http::Route open_route(const char* id, const char* path, const char* summary) {
  http::Route route;
  route.id = id;
  route.method = http::Method::get;
  route.path = path;
  route.right = http::Right::open;
  route.summary = summary;
  route.errors = http::ErrorShape::mlflow;
  return route;
}

}  // namespace

void add_routes(http::Router& router, db::Database& db, storage::Storage& artifacts) {
  router.add(open_route("mlflow_health", "/health", "OK when the server answers, as MLflow's clients ask."),
             [](http::Call&) -> Result<http::Response> { return http::text_response("OK"); });
  router.add(open_route("mlflow_version", "/version", "The version of MLflow's API that is spoken here."),
             [](http::Call&) -> Result<http::Response> { return http::text_response(kSpokenVersion); });

  Table table(router, db);
  table.read("server_info", http::Method::get, "/mlflow/server-info", "What kind of server this is.",
             [](db::Connection&, const Asked&) -> Result<json::Object> {
               return json::Object{{"store_type", "SqlStore"}, {"workspaces_enabled", false}};
             });
  add_experiment_routes(table);
  add_run_routes(table);
  add_logging_routes(table);
  add_history_routes(table);
  add_logged_model_routes(table, artifacts);
  add_registered_model_routes(table);
  add_model_version_routes(table);
  add_artifact_routes(table, artifacts);
  add_direct_routes(table, artifacts);
  add_web_app_routes(table, artifacts);
  add_import_routes(table, artifacts);
  add_trace_routes(table, artifacts);
  add_assessment_routes(table);
  add_otlp_route(router, db);
}

}  // namespace lathe::mlflow
