#include <fmt/format.h>

#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

Result<std::int64_t> experiment_id(const Message& fields) {
  LATHE_TRY(const auto text, fields.need("experiment_id"));
  return tracking::parse_experiment_id(text);
}

Result<json::Object> create(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("name"));
  LATHE_TRY(const auto location, asked.fields.text("artifact_location"));
  LATHE_TRY(auto tags, asked.fields.pairs("tags"));
  if (!location.empty())
    return fail(Code::invalid,
                "'artifact_location' cannot be chosen here: leave it out, and this server keeps the artifacts");
  LATHE_TRY(const auto id,
            tracking::create_experiment(c, name, "", tags_of(std::move(tags)), asked.who().user, asked.now));
  return json::Object{{"experiment_id", fmt::to_string(id)}};
}

Result<json::Object> with_tags(db::Connection& c, tracking::Experiment experiment) {
  LATHE_TRY(experiment.tags, tracking::experiment_tags(c, experiment.id));
  return json::Object{{"experiment", to_wire(experiment)}};
}

Result<json::Object> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, experiment_id(asked.fields));
  LATHE_TRY(auto experiment, tracking::find_experiment(c, id));
  return with_tags(c, std::move(experiment));
}

Result<json::Object> get_by_name(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("experiment_name"));
  LATHE_TRY(auto experiment, tracking::find_experiment_by_name(c, name));
  if (!experiment) return fail(Code::not_found, fmt::format("Could not find experiment with name '{}'", name));
  return with_tags(c, std::move(*experiment));
}

Result<json::Object> search(db::Connection& c, const Asked& asked) {
  tracking::ExperimentSearch search;
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.view, view_of(asked.fields, "view_type"));
  LATHE_TRY(search.limit, limit_of(asked.fields, search.limit));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, tracking::search_experiments(c, search));
  json::Array experiments;
  for (const auto& experiment : page.items) experiments.push_back(to_wire(experiment));
  json::Object out;
  if (!experiments.empty()) out["experiments"] = std::move(experiments);
  if (!page.next.empty()) out["next_page_token"] = page.next;
  return out;
}

/// A handler that names one experiment and answers {}.
template <class Work>
auto on_experiment(Work work) {
  return [work](db::Connection& c, const Asked& asked) -> Result<json::Object> {
    LATHE_TRY(const auto id, experiment_id(asked.fields));
    LATHE_CHECK(work(c, id, asked));
    return json::Object{};
  };
}

Result<void> rename(db::Connection& c, std::int64_t id, const Asked& asked) {
  LATHE_TRY(const auto name, asked.fields.need("new_name"));
  return tracking::rename_experiment(c, id, name, asked.now);
}

Result<void> set_tag(db::Connection& c, std::int64_t id, const Asked& asked) {
  LATHE_TRY(auto key, asked.fields.need("key"));
  LATHE_TRY(auto value, asked.fields.text("value"));
  return tracking::set_experiment_tag(c, id, {std::move(key), std::move(value)}, asked.now);
}

Result<void> delete_tag(db::Connection& c, std::int64_t id, const Asked& asked) {
  LATHE_TRY(const auto key, asked.fields.need("key"));
  return tracking::delete_experiment_tag(c, id, key, asked.now);
}

}  // namespace

void add_experiment_routes(Table& table) {
  table.write("experiment_create", Method::post, "/mlflow/experiments/create", Right::write, "Make an experiment.",
              create);
  table.read("experiment_get", Method::get, "/mlflow/experiments/get", "One experiment by id.", get);
  table.read("experiment_get_by_name", Method::get, "/mlflow/experiments/get-by-name", "One experiment by name.",
             get_by_name);
  for (const auto method : {Method::get, Method::post})
    table.read("experiment_search", method, "/mlflow/experiments/search", "Experiments that match a filter.", search);
  table.write("experiment_update", Method::post, "/mlflow/experiments/update", Right::write, "Rename an experiment.",
              on_experiment(rename));
  table.write("experiment_delete", Method::post, "/mlflow/experiments/delete", Right::write,
              "Mark an experiment and its runs as deleted.",
              on_experiment([](db::Connection& c, std::int64_t id, const Asked& asked) {
                return tracking::delete_experiment(c, id, asked.now);
              }));
  table.write("experiment_restore", Method::post, "/mlflow/experiments/restore", Right::write, "Take a deletion back.",
              on_experiment([](db::Connection& c, std::int64_t id, const Asked& asked) {
                return tracking::restore_experiment(c, id, asked.now);
              }));
  table.write("experiment_set_tag", Method::post, "/mlflow/experiments/set-experiment-tag", Right::write, "Set a tag.",
              on_experiment(set_tag));
  table.write("experiment_delete_tag", Method::post, "/mlflow/experiments/delete-experiment-tag", Right::write,
              "Remove a tag.", on_experiment(delete_tag));
}

}  // namespace lathe::mlflow
