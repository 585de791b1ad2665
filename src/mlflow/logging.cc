#include <fmt/format.h>

#include <algorithm>

#include "db/gather.h"
#include "mlflow/table.h"

namespace lathe::mlflow {
namespace {

using tracking::Metric;
using tracking::Param;
using tracking::Tag;

constexpr std::string_view kLoggedModels = "mlflow.log-model.history";

/// What one request logs to one run.
struct Entries {
  std::string run_id;
  std::vector<Metric> metrics;
  std::vector<Param> params;
  std::vector<Tag> tags;
};

Result<Entries> parse_metric(const Message& fields) {
  Entries out;
  LATHE_TRY(out.run_id, fields.run_id());
  LATHE_TRY(auto metric, metric_of(fields, true));
  out.metrics.push_back(std::move(metric));
  return out;
}

Result<Entries> parse_param(const Message& fields) {
  Entries out;
  LATHE_TRY(out.run_id, fields.run_id());
  LATHE_TRY(auto key, fields.need("key"));
  LATHE_TRY(auto value, fields.text("value"));
  out.params.push_back({std::move(key), std::move(value)});
  return out;
}

Result<Entries> parse_tag(const Message& fields) {
  Entries out;
  LATHE_TRY(out.run_id, fields.run_id());
  LATHE_TRY(auto key, fields.need("key"));
  LATHE_TRY(auto value, fields.text("value"));
  out.tags.push_back({std::move(key), std::move(value)});
  return out;
}

Result<void> check_count(std::string_view what, std::size_t count, std::size_t most) {
  if (count <= most) return {};
  return fail(
      Code::invalid,
      fmt::format(
          "A batch logging request can contain at most {0} {1}. Got {2} {1}. Please split up {1} across multiple "
          "requests and try again.",
          most, what, count));
}

Result<Entries> parse_batch(const Message& fields) {
  Entries out;
  constexpr std::size_t kMostBytes = 1'000'000;
  if (fields.size_bytes() > kMostBytes)
    return fail(Code::invalid,
                fmt::format("Batched logging API requests must be at most {} bytes, got a request of size {}.",
                            kMostBytes, fields.size_bytes()));
  LATHE_TRY(out.run_id, fields.run_id());
  LATHE_TRY(const auto metrics, fields.list("metrics"));
  LATHE_TRY(auto params, fields.pairs("params"));
  LATHE_TRY(auto tags, fields.pairs("tags"));
  LATHE_CHECK(check_count("metrics", metrics.size(), tracking::kMostMetricsPerBatch));
  LATHE_CHECK(check_count("params", params.size(), tracking::kMostParamsPerBatch));
  LATHE_CHECK(check_count("tags", tags.size(), tracking::kMostTagsPerBatch));
  LATHE_CHECK(check_count("metrics, params, and tags", metrics.size() + params.size() + tags.size(),
                          tracking::kMostEntitiesPerBatch));
  out.metrics.reserve(metrics.size());
  for (const auto& item : metrics) {
    LATHE_TRY(auto metric, metric_of(item, true));
    out.metrics.push_back(std::move(metric));
  }
  for (auto& param : params) out.params.push_back({std::move(param.key), std::move(param.value)});
  out.tags = tags_of(std::move(tags));
  return out;
}

Result<void> log(db::Connection& c, const http::Principal& who, const Entries& entries) {
  LATHE_TRY(const auto run, tracking::writable_run(c, who, entries.run_id));
  LATHE_CHECK(tracking::log_params(c, run, entries.params));
  LATHE_CHECK(tracking::log_metrics(c, run, entries.metrics));
  return tracking::set_tags(c, run, entries.tags);
}

/// Where all that is logged goes in.
class Logger {
 public:
  explicit Logger(db::Database& db)
      : db_(db), points_(std::make_shared<db::Gather<tracking::PointsToLog>>(db, tracking::log_together)) {}

  void submit(Entries entries, http::Principal who, http::Reply reply) const {
    const auto answer = [reply = std::move(reply)](Result<void> done) {
      if (done)
        reply(http::json_response(json::Object{}));
      else
        reply(fail(std::move(done).error()));
    };
    const bool points_alone =
        entries.params.empty() && entries.tags.empty() && !entries.metrics.empty() &&
        std::all_of(entries.metrics.begin(), entries.metrics.end(), [](const Metric& m) { return m.model_id.empty(); });
    if (points_alone)
      return points_->submit({std::move(entries.run_id), std::move(who), std::move(entries.metrics)}, answer);
    const auto work = [who = std::move(who), entries = std::move(entries)](db::Connection& c) {
      return log(c, who, entries);
    };
    db_.submit(work, answer);
  }

 private:
  db::Database& db_;
  std::shared_ptr<db::Gather<tracking::PointsToLog>> points_;
};

Result<Tag> parse_run_tag(const Message& fields) {
  LATHE_TRY(auto run_id, fields.run_id());
  LATHE_TRY(auto key, fields.need("key"));
  return Tag{std::move(run_id), std::move(key)};
}

Result<json::Object> delete_tag(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto tag, parse_run_tag(asked.fields));
  LATHE_TRY(const auto run, tracking::writable_run(c, asked.who(), tag.key));
  LATHE_CHECK(tracking::delete_tag(c, run, tag.value));
  return json::Object{};
}

/// What clients before 3.0 call after logging a model: its description is gathered in a tag of the run.
Result<json::Object> log_model(db::Connection& c, const Asked& asked) {
  LATHE_TRY(const auto run_id, asked.fields.run_id());
  LATHE_TRY(const auto text, asked.fields.need("model_json"));
  auto model = json::parse_object(text);
  if (!model)
    return fail(Code::invalid, fmt::format("Malformed model info. \n {} \n is not a valid JSON.", text.substr(0, 300)));
  for (const auto* key : {"artifact_path", "flavors", "utc_time_created", "run_id"})
    if (!model->contains(key))
      return fail(Code::invalid, fmt::format("Model json is missing mandatory fields: ['{}']", key));
  LATHE_TRY(const auto run, tracking::writable_run(c, asked.who(), run_id));
  LATHE_TRY(const auto before, tracking::find_tag(c, run, kLoggedModels));
  auto list = before ? json::parse(*before) : json::Value(json::Array{});
  if (!list || !list->is_array()) list = json::Value(json::Array{});  // a person wrote over the tag
  list->get_array().push_back(std::move(*model));
  LATHE_CHECK(tracking::set_tags(c, run, {{std::string(kLoggedModels), json::print(*list)}}));
  return json::Object{};
}

}  // namespace

Result<tracking::Metric> metric_of(const Message& fields, bool timestamp_needed) {
  Metric out;
  LATHE_TRY(out.key, fields.need("key"));
  LATHE_TRY(const auto value, fields.number("value"));
  if (!value) LATHE_CHECK(fields.need("value"));
  LATHE_TRY(const auto timestamp, fields.integer("timestamp"));
  if (!timestamp && timestamp_needed) LATHE_CHECK(fields.need("timestamp"));
  LATHE_TRY(const auto step, fields.integer("step"));
  out.value = *value;
  out.timestamp_ms = timestamp.value_or(0);
  out.step = step.value_or(0);
  LATHE_TRY(out.model_id, fields.text("model_id"));
  LATHE_TRY(out.dataset_name, fields.text("dataset_name"));
  LATHE_TRY(out.dataset_digest, fields.text("dataset_digest"));
  return out;
}

void add_logging_routes(Table& table) {
  const Logger logger(table.db());
  const auto log = [logger](Entries entries, http::Principal who, http::Reply reply) {
    logger.submit(std::move(entries), std::move(who), std::move(reply));
  };
  table.submit("log_metric", "/mlflow/runs/log-metric", "Log one point of a metric.", parse_metric, log);
  table.submit("log_param", "/mlflow/runs/log-parameter", "Log a parameter; it does not change any more.", parse_param,
               log);
  table.submit("set_tag", "/mlflow/runs/set-tag", "Set a tag.", parse_tag, log);
  table.submit("log_batch", "/mlflow/runs/log-batch",
               "Log up to 1000 points, 100 parameters and 100 tags, all or none.", parse_batch, log);
  table.write("delete_tag", http::Method::post, "/mlflow/runs/delete-tag", http::Right::track, "Remove a tag.",
              delete_tag);
  table.write("log_model", http::Method::post, "/mlflow/runs/log-model", http::Right::track,
              "Note that a model was logged.", log_model);
}

}  // namespace lathe::mlflow
