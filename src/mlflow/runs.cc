#include <fmt/format.h>

#include "json/hot.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Method;
using http::Right;

http::Response answer(const tracking::Run& run, const tracking::RunLineage& lineage) {
  http::Response out;
  out.body = R"({"run":)";
  append(out.body, run, lineage);
  out.body += '}';
  return out;
}

Result<tracking::RunSpec> parse_create(const Message& fields) {
  tracking::RunSpec spec;
  LATHE_TRY(const auto experiment, fields.text("experiment_id"));
  if (!experiment.empty()) {
    LATHE_TRY(spec.experiment_id, tracking::parse_experiment_id(experiment));
  }
  LATHE_TRY(spec.run_name, fields.text("run_name"));
  LATHE_TRY(spec.user, fields.text("user_id"));
  LATHE_TRY(const auto start, fields.integer("start_time"));
  spec.start_ms = start.value_or(millis(now()));
  LATHE_TRY(auto tags, fields.pairs("tags"));
  spec.tags = tags_of(std::move(tags));
  return spec;
}

Result<http::Response> create(db::Connection& c, const http::Principal& who, const tracking::RunSpec& asked) {
  auto spec = asked;
  spec.created_by = who.user;
  spec.owner = who.run;
  LATHE_TRY(const auto run, tracking::create_run(c, std::move(spec)));
  return answer(run, {});
}

struct Update {
  std::string run_id;
  tracking::RunChange change;
};

Result<Update> parse_update(const Message& fields) {
  Update out;
  LATHE_TRY(out.run_id, fields.run_id());
  LATHE_TRY(const auto status, fields.choice("status", {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}));
  if (status) out.change.status = static_cast<tracking::RunStatus>(*status - 1);  // in the same order
  LATHE_TRY(out.change.end_ms, fields.integer("end_time"));
  LATHE_TRY(const auto name, fields.text("run_name"));
  if (!name.empty()) out.change.run_name = name;
  return out;
}

Result<json::Object> update(db::Connection& c, const http::Principal& who, const Update& asked) {
  LATHE_TRY(auto run, tracking::writable_run(c, who, asked.run_id));
  LATHE_TRY(const auto updated, tracking::update_run(c, std::move(run), asked.change));
  return json::Object{{"run_info", to_wire(updated)}};
}

Result<http::Response> get(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, asked.fields.run_id());
  LATHE_CHECK(tracking::check_run_id(id));
  LATHE_TRY(auto info, tracking::find_run(c, id));
  LATHE_TRY(const auto lineage, tracking::load_lineage(c, info));
  LATHE_TRY(const auto run, tracking::load_details(c, std::move(info)));
  return answer(run, lineage);
}

Result<http::Response> search(db::Connection& c, const Asked& asked) {
  tracking::RunSearch search;
  LATHE_TRY(const auto experiments, asked.fields.texts("experiment_ids"));
  for (const auto& text : experiments) {
    const auto id = tracking::parse_experiment_id(text);
    if (!id && id.error().code == Code::invalid) return fail(id.error());
    if (id) search.experiments.push_back(*id);  // one that does not exist has no runs
  }
  LATHE_TRY(search.filter, asked.fields.text("filter"));
  LATHE_TRY(search.view, view_of(asked.fields, "run_view_type"));
  LATHE_TRY(search.limit, limit_of(asked.fields, search.limit));
  LATHE_TRY(search.order_by, asked.fields.texts("order_by"));
  LATHE_TRY(search.page_token, asked.fields.text("page_token"));
  LATHE_TRY(const auto page, tracking::search_runs(c, search));
  LATHE_TRY(auto lineages, tracking::load_lineages(c, page.items));
  http::Response out;
  for (const auto& run : page.items) {
    out.body += out.body.empty() ? R"({"runs":[)" : ",";
    append(out.body, run, lineages[run.info.number]);
  }
  out.body += page.items.empty() ? "{" : "]";
  if (!page.next.empty()) {
    out.body += R"(,"next_page_token":)";
    json::append(out.body, page.next);
  }
  out.body += '}';
  return out;
}

Result<json::Object> remove(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, asked.fields.run_id());
  LATHE_TRY(const auto run, tracking::find_run(c, id));
  LATHE_CHECK(tracking::delete_run(c, run, asked.now));
  return json::Object{};
}

Result<json::Object> restore(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, asked.fields.run_id());
  LATHE_TRY(const auto run, tracking::find_run(c, id));
  LATHE_CHECK(tracking::restore_run(c, run));
  return json::Object{};
}

Result<json::Object> log_inputs(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, asked.fields.run_id());
  LATHE_TRY(const auto items, asked.fields.list("datasets"));
  if (items.size() > 1000)
    return fail(Code::invalid, fmt::format("at most 1000 datasets go into one request, not {}", items.size()));
  std::vector<tracking::DatasetInput> datasets;
  for (const auto& item : items) {
    LATHE_TRY(auto dataset, dataset_of(item));
    datasets.push_back(std::move(dataset));
  }
  LATHE_TRY(const auto models, links_of(asked.fields, "models"));
  LATHE_TRY(const auto run, tracking::writable_run(c, asked.who(), id));
  LATHE_CHECK(tracking::log_datasets(c, run, datasets));
  LATHE_CHECK(tracking::log_run_models(c, run, tracking::ModelRole::input, models));
  return json::Object{};
}

Result<json::Object> log_outputs(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto id, asked.fields.run_id());
  LATHE_CHECK(asked.fields.check_there("models"));
  LATHE_TRY(const auto models, links_of(asked.fields, "models"));
  LATHE_TRY(const auto run, tracking::writable_run(c, asked.who(), id));
  LATHE_CHECK(tracking::log_run_models(c, run, tracking::ModelRole::output, models));
  return json::Object{};
}

}  // namespace

Result<tracking::DatasetInput> dataset_of(const Message& item) {
  tracking::DatasetInput out;
  LATHE_TRY(auto tags, item.pairs("tags"));
  out.tags = tags_of(std::move(tags));
  LATHE_TRY(const auto dataset, item.object("dataset"));
  LATHE_TRY(out.dataset.name, dataset.need("name"));
  LATHE_TRY(out.dataset.digest, dataset.need("digest"));
  LATHE_TRY(out.dataset.source_type, dataset.need("source_type"));
  LATHE_TRY(out.dataset.source, dataset.need("source"));
  for (const auto& [name, to] :
       {std::pair{"schema", &out.dataset.schema}, std::pair{"profile", &out.dataset.profile}}) {
    LATHE_TRY(auto text, dataset.text(name));
    if (!text.empty()) *to = std::move(text);
  }
  return out;
}

Result<std::vector<tracking::ModelLink>> links_of(const Message& fields, std::string_view name) {
  LATHE_TRY(const auto items, fields.list(name));
  std::vector<tracking::ModelLink> out;
  for (const auto& item : items) {
    LATHE_TRY(auto model_id, item.need("model_id"));
    LATHE_TRY(const auto step, item.integer("step"));
    out.push_back({std::move(model_id), step.value_or(0)});
  }
  return out;
}

void add_run_routes(Table& table) {
  table.commit("run_create", "/mlflow/runs/create", "Make a run.", parse_create, create);
  table.commit("run_update", "/mlflow/runs/update",
               "Change a run's status, end or name. The status of a job's run stays as its process made it.",
               parse_update, update);
  table.read("run_get", Method::get, "/mlflow/runs/get", "One run with its latest metrics, parameters and tags.", get);
  table.read("run_search", Method::post, "/mlflow/runs/search", "Runs that match a filter.", search);
  table.write("run_delete", Method::post, "/mlflow/runs/delete", Right::write, "Mark a run as deleted.", remove);
  table.write("run_restore", Method::post, "/mlflow/runs/restore", Right::write, "Take a deletion back.", restore);
  table.write("run_log_inputs", Method::post, "/mlflow/runs/log-inputs", Right::track,
              "Note the data sets and models that a run read.", log_inputs);
  table.write("run_log_outputs", Method::post, "/mlflow/runs/outputs", Right::track, "Note the models that a run made.",
              log_outputs);
}

}  // namespace lathe::mlflow
