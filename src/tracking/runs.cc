#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/ids.h"
#include "base/text.h"
#include "tracking/run_rows.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

constexpr std::string_view kRunName = "mlflow.runName";
constexpr std::string_view kParent = "mlflow.parentRunId";

constexpr std::pair<RunStatus, std::string_view> kStatuses[] = {{RunStatus::running, "RUNNING"},
                                                                {RunStatus::scheduled, "SCHEDULED"},
                                                                {RunStatus::finished, "FINISHED"},
                                                                {RunStatus::failed, "FAILED"},
                                                                {RunStatus::killed, "KILLED"}};

/// "brave-otter-381", as MLflow names runs.
std::string random_run_name() {
  const std::string name = random_name();
  const auto parts = split(name, '_');
  unsigned number = 0;
  for (const char c : parts.back()) number = number * 31 + static_cast<unsigned char>(c);
  return fmt::format("{}-{}-{}", parts[0], parts[1], number % 1000);
}

const Tag* find_tag(const std::vector<Tag>& tags, std::string_view key) {
  const auto found = std::find_if(tags.begin(), tags.end(), [&](const Tag& tag) { return tag.key == key; });
  return found == tags.end() ? nullptr : &*found;
}

/// The run's name from the spec and the tag that also carries it, which must not disagree.
Result<void> settle_name(RunSpec& spec) {
  const auto* tag = find_tag(spec.tags, kRunName);
  const std::string tagged = tag == nullptr ? "" : tag->value;
  if (!spec.run_name.empty() && !tagged.empty() && spec.run_name != tagged)
    return fail(
        Code::invalid,
        fmt::format("Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                    "(run_name='{}', mlflow.runName='{}').",
                    spec.run_name, tagged));
  if (spec.run_name.empty()) spec.run_name = tagged.empty() ? random_run_name() : tagged;
  if (tagged.empty()) {
    std::erase_if(spec.tags, [](const Tag& t) { return t.key == kRunName; });
    spec.tags.push_back({std::string(kRunName), spec.run_name});
  }
  return {};
}

/// A run that a job makes is the job's child: of the run that the client names, or else of the job itself.
Result<void> settle_parent(db::Connection& c, RunSpec& spec) {
  if (!spec.owner) return {};
  const auto* parent = find_tag(spec.tags, kParent);
  if (parent == nullptr) {
    spec.tags.push_back({std::string(kParent), *spec.owner});
    return {};
  }
  LATHE_TRY(const auto run, find_run(c, parent->value));
  if (run.run_id == *spec.owner || run.owner == spec.owner) return {};
  return fail(Code::forbidden,
              fmt::format("a job's token makes child runs of its own run {} only, not of {}", *spec.owner, run.run_id));
}

}  // namespace

std::string_view status_name(RunStatus status) {
  for (const auto& [value, name] : kStatuses)
    if (value == status) return name;
  return "RUNNING";
}

std::optional<RunStatus> parse_status(std::string_view name) {
  for (const auto& [value, known] : kStatuses)
    if (known == name) return value;
  return std::nullopt;
}

RunInfo read_run_info(const db::Row& row) {
  RunInfo out;
  out.number = row.integer(0);
  out.run_id = row.text(1);
  out.experiment_id = row.integer(2);
  out.run_name = row.text(3);
  out.user = row.text(4);
  out.status = parse_status(row.text_view(5)).value_or(RunStatus::running);
  out.start_ms = row.integer(6);
  out.end_ms = row.optional_integer(7);
  out.stage = row.text_view(8) == "active" ? Stage::active : Stage::deleted;
  out.artifact_uri = row.text(9);
  out.job = row.integer(10) != 0;
  out.owner = row.optional_text(11);
  out.created_by = row.text(12);
  return out;
}

Result<Run> create_run(db::Connection& c, RunSpec spec) {
  if (spec.run_id.empty()) spec.run_id = random_hex(16);
  LATHE_CHECK(check_run_id(spec.run_id));
  LATHE_TRY(const auto experiment, find_experiment(c, spec.experiment_id));
  if (experiment.stage != Stage::active)
    return fail(Code::invalid, fmt::format("The experiment {} must be in the 'active' state. Current state is deleted.",
                                           experiment.id));
  LATHE_CHECK(settle_name(spec));
  LATHE_CHECK(settle_parent(c, spec));
  LATHE_CHECK(check_text("run_name", spec.run_name));
  LATHE_CHECK(check_text("user_id", spec.user));

  RunInfo run;
  run.run_id = std::move(spec.run_id);
  run.experiment_id = spec.experiment_id;
  run.run_name = std::move(spec.run_name);
  run.user = spec.user.empty() ? spec.created_by : std::move(spec.user);
  run.status = spec.status;
  run.start_ms = spec.start_ms;
  run.artifact_uri = fmt::format("{}/{}/artifacts", experiment.artifact_location, run.run_id);
  run.job = spec.job;
  run.owner = std::move(spec.owner);
  run.created_by = std::move(spec.created_by);
  static constexpr auto kInsert = R"sql(
    INSERT INTO run (number, id, experiment_id, name, user_name, status, start_ms, stage, artifact_uri, job, owner,
                     created_by)
    SELECT COALESCE(MAX(number), 0) + 1, $1, $2, $3, $4, $5, $6, 'active', $7, $8, $9, $10 FROM run WHERE TRUE
        ON CONFLICT (id) DO NOTHING
 RETURNING number)sql";
  LATHE_TRY(const auto number, db::first(
                                   c, kInsert, [](const db::Row& row) { return row.integer(0); }, run.run_id,
                                   run.experiment_id, run.run_name, run.user, status_name(run.status), run.start_ms,
                                   run.artifact_uri, run.job, run.owner, run.created_by));
  if (!number) return fail(Code::conflict, fmt::format("Run with id={} already exists.", run.run_id));
  run.number = *number;
  LATHE_TRY(auto tags, write_tags(c, run, spec.tags));
  return Run{std::move(run), {}, {}, std::move(tags)};
}

Result<void> no_run(std::string_view run_id) {
  return fail(Code::not_found, fmt::format("Run with id={} not found", printable(run_id)));
}

Result<RunInfo> find_run(db::Connection& c, std::string_view run_id) {
  static constexpr auto kSql = "SELECT " LATHE_RUN_COLUMNS " FROM run r WHERE r.id = $1 AND r.stage <> 'removing'";
  LATHE_TRY(auto found, db::first(c, kSql, read_run_info, run_id));
  if (!found) return fail(no_run(run_id).error());
  return std::move(*found);
}

Result<Run> load_run(db::Connection& c, std::string_view run_id) {
  LATHE_TRY(auto info, find_run(c, run_id));
  return load_details(c, std::move(info));
}

Result<std::vector<Run>> load_details(db::Connection& c, std::vector<RunInfo> infos) {
  static constexpr auto kMetrics =
      "SELECT key, value, timestamp_ms, step, is_nan, run FROM metric WHERE run = ANY($1) ORDER BY run, key";
  static constexpr auto kParams = "SELECT run, key, value FROM run_param WHERE run = ANY($1) ORDER BY run, key";
  static constexpr auto kTags = "SELECT run, key, value FROM run_tag WHERE run = ANY($1) ORDER BY run, key";
  std::vector<Run> out;
  std::vector<std::int64_t> numbers;
  std::unordered_map<std::int64_t, std::size_t> places;
  for (auto& info : infos) {
    numbers.push_back(info.number);
    places.emplace(info.number, out.size());
    out.push_back({std::move(info), {}, {}, {}});
  }
  const auto run_of = [&](std::int64_t number) -> Run& { return out[places.at(number)]; };
  LATHE_CHECK(db::each(
      c, kMetrics, [&](const db::Row& row) { run_of(row.integer(5)).metrics.push_back(read_metric(row)); }, numbers));
  LATHE_CHECK(db::each(
      c, kParams,
      [&](const db::Row& row) {
        run_of(row.integer(0)).params.push_back({row.text(1), row.text(2)});
      },
      numbers));
  LATHE_CHECK(db::each(
      c, kTags,
      [&](const db::Row& row) {
        run_of(row.integer(0)).tags.push_back({row.text(1), row.text(2)});
      },
      numbers));
  return out;
}

Result<Run> load_details(db::Connection& c, RunInfo info) {
  std::vector<RunInfo> one;
  one.push_back(std::move(info));
  LATHE_TRY(auto runs, load_details(c, std::move(one)));
  return std::move(runs.front());
}

Result<void> check_may_write(const http::Principal& who, const RunInfo& run) {
  if (!who.run || run.run_id == *who.run || run.owner == who.run) return {};
  return fail(Code::forbidden,
              fmt::format("this job's token writes its own run {} and the runs it made, not {}", *who.run, run.run_id));
}

Result<RunInfo> writable_run(db::Connection& c, const http::Principal& who, std::string_view run_id) {
  LATHE_CHECK(check_run_id(run_id));
  LATHE_TRY(auto run, find_run(c, run_id));
  LATHE_CHECK(check_writable(who, run));
  return run;
}

Result<void> check_writable(const http::Principal& who, const RunInfo& run) {
  LATHE_CHECK(check_may_write(who, run));
  if (run.stage == Stage::active) return {};
  return fail(Code::invalid,
              fmt::format("The run {} must be in the 'active' state. Current state is deleted.", run.run_id));
}

Result<RunInfo> update_run(db::Connection& c, RunInfo run, const RunChange& change) {
  if (change.run_name && !change.run_name->empty()) {
    LATHE_CHECK(set_tags(c, run, {{std::string(kRunName), *change.run_name}}));
    run.run_name = *change.run_name;
  }
  if (run.job) return run;  // what its process does is the truth
  if (change.status) run.status = *change.status;
  if (change.end_ms) run.end_ms = change.end_ms;
  LATHE_CHECK(db::run(c, "UPDATE run SET status = $2, end_ms = $3 WHERE number = $1", run.number,
                      status_name(run.status), run.end_ms));
  return run;
}

Result<void> set_run_status(db::Connection& c, const std::string& run_id, RunStatus status,
                            std::optional<std::int64_t> end_ms) {
  LATHE_TRY(const auto changed,
            db::run(c, "UPDATE run SET status = $2, end_ms = $3 WHERE id = $1", run_id, status_name(status), end_ms));
  if (changed == 0) return fail(Code::not_found, fmt::format("Run with id={} not found", run_id));
  return {};
}

Result<void> check_job_ended(const RunInfo& run) {
  if (!run.job || (run.status != RunStatus::running && run.status != RunStatus::scheduled)) return {};
  return fail(Code::conflict, fmt::format("the job {} has not ended: cancel it, or wait for its end, before its run is "
                                          "deleted",
                                          run.run_id));
}

Result<void> delete_run(db::Connection& c, const RunInfo& run, Time now) {
  LATHE_CHECK(check_job_ended(run));
  LATHE_CHECK(
      db::run(c, "UPDATE run SET stage = 'deleted', deleted_us = $2 WHERE number = $1", run.number, micros(now)));
  return {};
}

Result<void> restore_run(db::Connection& c, const RunInfo& run) {
  LATHE_CHECK(db::run(c, "UPDATE run SET stage = 'active', deleted_us = NULL WHERE number = $1", run.number));
  return {};
}

}  // namespace lathe::tracking
