#include "tracking/lineage.h"

#include <set>

#include <fmt/format.h>

#include "base/text.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

Result<void> check_dataset(const DatasetInput& input) {
  const auto& d = input.dataset;
  for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>{"name", d.name},
                                    {"digest", d.digest},
                                    {"source_type", d.source_type},
                                    {"source", d.source}}) {
    if (value.empty()) return fail(Code::invalid, fmt::format("Dataset {} cannot be empty", name));
    LATHE_CHECK(check_text(name, value));
  }
  LATHE_CHECK(check_length("name", d.name, 500));
  LATHE_CHECK(check_length("digest", d.digest, 36));
  LATHE_CHECK(check_length("source", d.source, 65'535));
  LATHE_CHECK(check_length("schema", d.schema.value_or(""), 1'048'575));
  LATHE_CHECK(check_length("profile", d.profile.value_or(""), 16'777'215));
  LATHE_CHECK(check_text("schema", d.schema.value_or("")));
  LATHE_CHECK(check_text("profile", d.profile.value_or("")));
  for (const auto& tag : input.tags) {
    LATHE_CHECK(check_text("tag", tag.key));
    LATHE_CHECK(check_text("tag", tag.value));
    LATHE_CHECK(check_length("key", tag.key, 255));
    LATHE_CHECK(check_length("value", tag.value, 500));
  }
  return {};
}

Result<std::int64_t> dataset_id(db::Connection& c, std::int64_t experiment, const Dataset& d) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO dataset (id, experiment_id, name, digest, source_type, source, schema_text, profile)
    SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM dataset WHERE TRUE
        ON CONFLICT (experiment_id, name, digest) DO NOTHING)sql";
  static constexpr auto kFind = "SELECT id FROM dataset WHERE experiment_id = $1 AND name = $2 AND digest = $3";
  LATHE_CHECK(db::run(c, kInsert, experiment, d.name, d.digest, d.source_type, d.source, d.schema, d.profile));
  LATHE_TRY(const auto id,
            db::first(
                c, kFind, [](const db::Row& row) { return row.integer(0); }, experiment, d.name, d.digest));
  return id.value_or(0);
}

}  // namespace

Result<void> log_datasets(db::Connection& c, const RunInfo& run, const std::vector<DatasetInput>& inputs) {
  static constexpr auto kLink = "INSERT INTO run_dataset (run, dataset) VALUES ($1, $2) ON CONFLICT DO NOTHING";
  static constexpr auto kTag =
      "INSERT INTO run_dataset_tag (run, dataset, key, value) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
  for (const auto& input : inputs) {
    LATHE_CHECK(check_dataset(input));
    LATHE_TRY(const auto id, dataset_id(c, run.experiment_id, input.dataset));
    LATHE_CHECK(db::run(c, kLink, run.number, id));
    for (const auto& tag : input.tags) LATHE_CHECK(db::run(c, kTag, run.number, id, tag.key, tag.value));
  }
  return {};
}

Result<void> log_run_models(db::Connection& c, const RunInfo& run, ModelRole role,
                            const std::vector<ModelLink>& models) {
  static constexpr auto kSql = R"sql(
    INSERT INTO run_model (run, model, role, step) VALUES ($1, $2, $3, $4)
        ON CONFLICT (run, model, role) DO UPDATE SET step = excluded.step)sql";
  for (const auto& model : models) {
    LATHE_CHECK(find_logged_model(c, model.model_id));
    LATHE_CHECK(
        db::run(c, kSql, run.number, model.model_id, role == ModelRole::input ? "input" : "output", model.step));
  }
  return {};
}

Result<RunLineage> load_lineage(db::Connection& c, const RunInfo& run) {
  static constexpr auto kDatasets = R"sql(
    SELECT d.id, d.name, d.digest, d.source_type, d.source, d.schema_text, d.profile
      FROM run_dataset rd JOIN dataset d ON d.id = rd.dataset WHERE rd.run = $1 ORDER BY d.id)sql";
  static constexpr auto kTags = "SELECT dataset, key, value FROM run_dataset_tag WHERE run = $1 ORDER BY dataset, key";
  static constexpr auto kModels = "SELECT model, step, role FROM run_model WHERE run = $1 ORDER BY step, model";
  RunLineage out;
  std::map<std::int64_t, std::size_t> places;
  LATHE_CHECK(db::each(
      c, kDatasets,
      [&](const db::Row& row) {
        places[row.integer(0)] = out.datasets.size();
        out.datasets.push_back(
            {{row.text(1), row.text(2), row.text(3), row.text(4), row.optional_text(5), row.optional_text(6)}, {}});
      },
      run.number));
  if (!places.empty())
    LATHE_CHECK(db::each(
        c, kTags,
        [&](const db::Row& row) {
          out.datasets[places[row.integer(0)]].tags.push_back({row.text(1), row.text(2)});
        },
        run.number));
  LATHE_CHECK(db::each(
      c, kModels,
      [&](const db::Row& row) {
        (row.text_view(2) == "input" ? out.model_inputs : out.model_outputs).push_back({row.text(0), row.integer(1)});
      },
      run.number));
  return out;
}

Result<std::map<std::int64_t, RunLineage>> load_lineages(db::Connection& c, const std::vector<Run>& runs) {
  std::vector<std::int64_t> numbers;
  for (const auto& run : runs) numbers.push_back(run.info.number);
  std::set<std::int64_t> with;  // few runs have any
  for (const auto* sql :
       {"SELECT run FROM run_dataset WHERE run = ANY($1)", "SELECT run FROM run_model WHERE run = ANY($1)"})
    LATHE_CHECK(db::each(
        c, sql, [&](const db::Row& row) { with.insert(row.integer(0)); }, numbers));
  std::map<std::int64_t, RunLineage> out;
  for (const auto& run : runs) {
    if (!with.contains(run.info.number)) continue;
    LATHE_TRY(auto lineage, load_lineage(c, run.info));
    out.emplace(run.info.number, std::move(lineage));
  }
  return out;
}

Result<std::vector<DatasetSummary>> datasets_of(db::Connection& c, std::int64_t experiment_id) {
  static constexpr auto kSql = R"sql(
    SELECT DISTINCT d.id, d.name, d.digest, t.value
      FROM dataset d JOIN run_dataset rd ON rd.dataset = d.id
      LEFT JOIN run_dataset_tag t ON t.run = rd.run AND t.dataset = d.id AND t.key = 'mlflow.data.context'
     WHERE d.experiment_id = $1
     ORDER BY d.id DESC LIMIT 1000)sql";
  return db::all(
      c, kSql,
      [](const db::Row& row) {
        return DatasetSummary{row.text(1), row.text(2), row.optional_text(3)};
      },
      experiment_id);
}

}  // namespace lathe::tracking
