#include <fmt/format.h>

#include <algorithm>

#include "base/ids.h"
#include "base/text.h"
#include "tracking/logged_model_rows.h"
#include "tracking/run_rows.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

Result<void> check_name(const std::string& name) {
  LATHE_CHECK(check_text("name", name));
  if (name.empty() || name.find_first_of("/:.%\"'") != std::string::npos || name.find('\n') != std::string::npos || printable(name) != name)
    return fail(
        Code::invalid,
        fmt::format(
            "Invalid model name ({}) provided. Model name must be a non-empty string and cannot contain the following "
            "characters: ('/', ':', '.', '%', '\"', \"'\")",
            printable(name)));
  return check_length("name", name, 500);
}

Result<void> touch(db::Connection& c, const std::string& model_id, Time now) {
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET updated_ms = $2 WHERE id = $1", model_id, millis(now)));
  return {};
}

}  // namespace

LoggedModel read_logged_model(const db::Row& row) {
  LoggedModel out;
  out.model_id = row.text(0);
  out.experiment_id = row.integer(1);
  out.name = row.text(2);
  out.artifact_uri = row.text(3);
  out.status = row.text(4);
  out.model_type = row.text(5);
  out.source_run_id = row.text(6);
  out.created_by = row.text(7);
  out.created_ms = row.integer(8);
  out.updated_ms = row.integer(9);
  return out;
}

Result<void> load_details(db::Connection& c, LoggedModel& model) {
  static constexpr auto kMetrics = R"sql(
    SELECT key, value, timestamp_ms, step, is_nan, dataset_name, dataset_digest, run_id
      FROM logged_model_metric WHERE model = $1 ORDER BY key, dataset_name, dataset_digest, run_id)sql";
  LATHE_TRY(model.params, db::all(
                              c, "SELECT key, value FROM logged_model_param WHERE model = $1 ORDER BY key",
                              [](const db::Row& row) {
                                return Param{row.text(0), row.text(1)};
                              },
                              model.model_id));
  LATHE_TRY(model.tags, db::all(
                            c, "SELECT key, value FROM logged_model_tag WHERE model = $1 ORDER BY key",
                            [](const db::Row& row) {
                              return Tag{row.text(0), row.text(1)};
                            },
                            model.model_id));
  LATHE_TRY(model.metrics, db::all(
                               c, kMetrics,
                               [&](const db::Row& row) {
                                 LoggedModel::Point point{read_metric(row), row.text(7)};
                                 point.metric.model_id = model.model_id;
                                 point.metric.dataset_name = row.text(5);
                                 point.metric.dataset_digest = row.text(6);
                                 return point;
                               },
                               model.model_id));
  return {};
}

Result<LoggedModel> create_logged_model(db::Connection& c, const LoggedModelSpec& spec, Time now) {
  static constexpr auto kInsert = R"sql(
    INSERT INTO logged_model (id, experiment_id, name, artifact_uri, status, model_type, source_run_id, created_by,
                              created_ms, updated_ms, stage)
    VALUES ($1, $2, $3, $4, 'LOGGED_MODEL_PENDING', $5, $6, $7, $8, $8, 'active'))sql";
  LATHE_TRY(const auto experiment, find_experiment(c, spec.experiment_id));
  if (experiment.stage != Stage::active)
    return fail(Code::invalid, fmt::format("The experiment {} must be in the 'active' state. Current state is deleted.",
                                           experiment.id));
  if (!spec.source_run_id.empty()) LATHE_CHECK(check_run_id(spec.source_run_id));  // it may be another server's
  auto name = spec.name;
  if (name.empty()) {
    name = random_name();
    std::replace(name.begin(), name.end(), '_', '-');
  }
  LATHE_CHECK(check_name(name));
  LATHE_CHECK(check_text("model_type", spec.model_type));
  LATHE_CHECK(check_length("model_type", spec.model_type, 500));
  const auto id = "m-" + random_hex(16);
  const auto uri = fmt::format("{}/models/{}/artifacts", experiment.artifact_location, id);
  LATHE_CHECK(db::run(c, kInsert, id, spec.experiment_id, name, uri, spec.model_type, spec.source_run_id,
                      spec.created_by, millis(now)));
  LATHE_CHECK(log_model_params(c, id, spec.params));
  LATHE_CHECK(set_model_tags(c, id, spec.tags, now));
  return find_logged_model(c, id);
}

Result<LoggedModel> find_logged_model(db::Connection& c, const std::string& model_id) {
  static constexpr auto kSql =
      "SELECT " LATHE_LOGGED_MODEL_COLUMNS " FROM logged_model m WHERE m.id = $1 AND m.stage = 'active'";
  LATHE_TRY(auto found, db::first(c, kSql, read_logged_model, model_id));
  if (!found) return fail(Code::not_found, fmt::format("Logged model with ID '{}' not found.", printable(model_id)));
  LATHE_CHECK(load_details(c, *found));
  return std::move(*found);
}

Result<LoggedModel> writable_logged_model(db::Connection& c, const http::Principal& who, const std::string& model_id) {
  LATHE_TRY(auto model, find_logged_model(c, model_id));
  if (!who.run) return model;
  if (model.source_run_id.empty())
    return fail(Code::forbidden, "this job's token changes the logged models of its own runs only");
  LATHE_TRY(const auto run, find_run(c, model.source_run_id));
  LATHE_CHECK(check_may_write(who, run));
  return model;
}

Result<void> finalize_logged_model(db::Connection& c, const std::string& model_id, const std::string& status,
                                   Time now) {
  if (status != "LOGGED_MODEL_READY" && status != "LOGGED_MODEL_UPLOAD_FAILED" && status != "LOGGED_MODEL_PENDING")
    return fail(
        Code::invalid,
        fmt::format("Invalid model status: {}. Expected statuses: LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED",
                    printable(status)));
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET status = $2 WHERE id = $1", model_id, status));
  return touch(c, model_id, now);
}

Result<void> delete_logged_model(db::Connection& c, const std::string& model_id, Time now) {
  LATHE_CHECK(db::run(c, "UPDATE logged_model SET stage = 'deleted' WHERE id = $1", model_id));
  return touch(c, model_id, now);
}

Result<void> log_model_params(db::Connection& c, const std::string& model_id, const std::vector<Param>& params) {
  static constexpr auto kInsert =
      "INSERT INTO logged_model_param (model, key, value) VALUES ($1, $2, $3) ON CONFLICT (model, key) DO NOTHING";
  for (const auto& param : params) {
    LATHE_CHECK(check_key("parameter", param.key));
    LATHE_CHECK(check_text("parameter", param.value));
    const auto value = first_characters(param.value, kParamValueLimit);
    LATHE_TRY(const auto added, db::run(c, kInsert, model_id, param.key, value));
    if (added == 1) continue;
    LATHE_TRY(const auto before, db::first(
                                     c, "SELECT value FROM logged_model_param WHERE model = $1 AND key = $2",
                                     [](const db::Row& row) { return row.text(0); }, model_id, param.key));
    if (before != value)
      return fail(Code::invalid, fmt::format("Changing param values is not allowed. Param with key='{}' was already "
                                             "logged with value='{}' for logged model "
                                             "ID='{}'.",
                                             param.key, before.value_or(""), model_id));
  }
  return {};
}

Result<void> set_model_tags(db::Connection& c, const std::string& model_id, const std::vector<Tag>& tags, Time now) {
  static constexpr auto kSql = R"sql(
    INSERT INTO logged_model_tag (model, key, value) VALUES ($1, $2, $3)
        ON CONFLICT (model, key) DO UPDATE SET value = excluded.value)sql";
  for (const auto& tag : tags) {
    LATHE_CHECK(check_key("tag", tag.key));
    LATHE_CHECK(check_text("tag", tag.value));
    LATHE_CHECK(db::run(c, kSql, model_id, tag.key, first_characters(tag.value, kTagValueLimit)));
  }
  return touch(c, model_id, now);
}

Result<void> delete_model_tag(db::Connection& c, const std::string& model_id, const std::string& key, Time now) {
  LATHE_TRY(const auto gone, db::run(c, "DELETE FROM logged_model_tag WHERE model = $1 AND key = $2", model_id, key));
  if (gone == 0)
    return fail(Code::not_found,
                fmt::format("No tag with key '{}' found for model with ID '{}'.", printable(key), model_id));
  return touch(c, model_id, now);
}

}  // namespace lathe::tracking
