#include <fmt/format.h>

#include "base/text.h"
#include "cli/handlers.h"
#include "cli/session.h"
#include "cli/set_path.h"

/// Experiments and runs by MLflow's REST, whose answers wrap what they hold.
namespace lathe::cli {
namespace {

const json::Value kNothing = json::Array{};

const json::Value& member(const json::Value& answer, std::string_view path) {
  const auto* found = find_field(answer, path);
  return found != nullptr ? *found : kNothing;
}

Result<json::Value> experiment_by_name(Session& session, const std::string& name) {
  LATHE_TRY(const auto answer,
            session.call("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=" + url_encode(name)));
  return member(answer, "experiment");
}

json::Value max_results(const Session& session) {
  const auto text = session.arguments.get("--max-results");
  const auto value = text ? json::Value(std::atoll(text->c_str())) : json::Value(1000);
  return value;
}

}  // namespace

Result<int> run_experiment_list(Session& session) {
  const json::Value body = json::Object{{"max_results", max_results(session)}};
  LATHE_TRY(const auto answer, session.call("POST", std::string(session.verb.path), &body));
  return session.print(member(answer, "experiments"), session.group.columns);
}

Result<int> run_experiment_show(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  LATHE_TRY(const auto experiment, experiment_by_name(session, name));
  return session.print(experiment);
}

Result<int> run_run_list(Session& session) {
  json::Array ids;
  if (const auto name = session.arguments.get("--experiment-name")) {
    LATHE_TRY(const auto experiment, experiment_by_name(session, *name));
    ids.push_back(member(experiment, "experiment_id"));
  } else {
    const json::Value all = json::Object{{"max_results", 1000}};
    LATHE_TRY(const auto answer, session.call("POST", "/api/2.0/mlflow/experiments/search", &all));
    const auto& experiments = member(answer, "experiments");
    if (experiments.is_array())
      for (const auto& experiment : experiments.get_array()) ids.push_back(member(experiment, "experiment_id"));
  }
  json::Array order;
  for (const auto& text : session.arguments.all("--order-by"))
    order.push_back(json::Value(boost::json::string_view(text)));
  const json::Value body = json::Object{{"experiment_ids", std::move(ids)},
                                        {"filter", session.arguments.get_or("--filter", "")},
                                        {"order_by", std::move(order)},
                                        {"max_results", max_results(session)}};
  LATHE_TRY(const auto answer, session.call("POST", std::string(session.verb.path), &body));
  return session.print(member(answer, "runs"), session.group.columns);
}

Result<int> run_run_show(Session& session) {
  LATHE_TRY(const auto name, session.need("--name"));
  LATHE_TRY(const auto answer, session.call("GET", fmt::format("{}?run_id={}", session.verb.path, url_encode(name))));
  return session.print(member(answer, "run"));
}

}  // namespace lathe::cli
