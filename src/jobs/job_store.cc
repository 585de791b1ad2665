#include "jobs/job_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"

namespace lathe::jobs {
namespace {

constexpr std::string_view kColumns =
    "name, number, experiment_id, experiment_name, display_name, description, compute, state, attempt, nodes, "
    "document, plan, report, error, "
    "exit_code, archived, created_by, created_us, prepared_us, started_us, user_code_us, ended_us, winner, losses";

std::optional<Time> optional_time(const db::Row& row, int column) {
  return row.is_null(column) ? std::nullopt : std::optional{from_micros(row.integer(column))};
}

std::optional<std::int64_t> optional_micros(const std::optional<Time>& time) {
  return time ? std::optional{micros(*time)} : std::nullopt;
}

/// "c-0", or with GPUs "c-0:0,1"; several nodes with spaces between them.
std::string print_nodes(const std::vector<compute::NodeGiven>& nodes) {
  std::vector<std::string> out;
  for (const auto& node : nodes)
    out.push_back(node.gpus.empty() ? node.name : fmt::format("{}:{}", node.name, fmt::join(node.gpus, ",")));
  return fmt::format("{}", fmt::join(out, " "));
}

std::vector<compute::NodeGiven> parse_nodes(std::string_view text) {
  std::vector<compute::NodeGiven> out;
  for (const auto one : split(text, ' ')) {
    const auto colon = std::min(one.find(':'), one.size());
    auto& node = out.emplace_back(compute::NodeGiven{std::string(one.substr(0, colon)), {}});
    for (const auto number : split(one.substr(std::min(colon + 1, one.size())), ','))
      node.gpus.push_back(std::atoi(std::string(number).c_str()));
  }
  return out;
}

Job read_job(const db::Row& row) {
  Job job;
  job.name = row.text(0);
  job.number = row.integer(1);
  job.experiment_id = row.integer(2);
  job.experiment_name = row.text(3);
  job.display_name = row.text(4);
  job.description = row.text(5);
  job.compute = row.text(6);
  job.state = parse_state(row.text_view(7)).value_or(State::failed);
  job.attempt = row.integer(8);
  job.nodes = parse_nodes(row.text_view(9));
  job.document_json = row.text(10);
  job.plan_json = row.text(11);
  job.report_json = row.text(12);
  job.error = row.text(13);
  job.exit_code = row.optional_integer(14);
  job.archived = row.integer(15) != 0;
  job.created_by = row.text(16);
  job.created = from_micros(row.integer(17));
  job.prepared = optional_time(row, 18);
  job.started = optional_time(row, 19);
  job.user_code = optional_time(row, 20);
  job.ended = optional_time(row, 21);
  job.winner = row.text(22);
  job.losses = row.integer(23);
  return job;
}

}  // namespace

Result<void> insert_job(db::Connection& c, Job& job) {
  LATHE_TRY(const auto number, db::first(c, "SELECT COALESCE(MAX(number), 0) + 1 FROM job", [](const db::Row& row) { return row.integer(0); }));
  job.number = *number;
  LATHE_CHECK(db::run(c,
                      "INSERT INTO job (name, number, experiment_id, experiment_name, display_name, description, "
                      "compute, state, attempt, node, "
                      "nodes, document, plan, report, error, archived, created_by, created_us, updated_us) "
                      "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, '', 0, $15, $16, $16)",
                      job.name, job.number, job.experiment_id, job.experiment_name, job.display_name, job.description,
                      job.compute, name_of(job.state), job.attempt, job.node(), print_nodes(job.nodes),
                      job.document_json, job.plan_json, job.report_json, job.created_by, micros(job.created)));
  return {};
}

Result<Job> find_job(db::Connection& c, const std::string& name) {
  static const std::string kSql = fmt::format("SELECT {} FROM job WHERE name = $1", kColumns);
  LATHE_TRY(auto job, db::first(c, kSql, read_job, name));
  if (!job) return fail(Code::not_found, fmt::format("no job named \"{}\"; `lathe job list` shows the jobs", name));
  return std::move(*job);
}

Result<std::vector<Job>> list_jobs(db::Connection& c, const Wanted& wanted) {
  static const std::string kSql = fmt::format(
      "SELECT {} FROM job WHERE number < $1 AND archived <= $2 AND ($3 = '' OR state = $3) AND ($4 = '' OR experiment_name = $4) "
      "ORDER BY number DESC LIMIT $5",
      kColumns);
  return db::all(c, kSql, read_job, wanted.below.value_or(INT64_MAX), wanted.with_archived ? 1 : 0, wanted.state, wanted.experiment_name,
                 wanted.limit);
}

Result<std::vector<Job>> unfinished_jobs(db::Connection& c) {
  static const std::string kSql = fmt::format(
      "SELECT {} FROM job WHERE state IN ('Queued', 'Preparing', 'Running', 'CancelRequested') ORDER BY number", kColumns);
  return db::all(c, kSql, read_job);
}

Result<bool> move_job(db::Connection& c, const Job& job, State to) {
  LATHE_TRY(const auto changed,
            db::run(c,
                    "UPDATE job SET state = $3, attempt = $4, node = $5, error = $6, exit_code = $7, prepared_us = $8, "
                    "started_us = $9, "
                    "user_code_us = $10, ended_us = $11, updated_us = $12, nodes = $13, losses = $14, winner = CASE WHEN $3 = 'Queued' THEN '' ELSE winner END "
                    "WHERE name = $1 AND state = $2 AND attempt <= $4",
                    job.name, name_of(job.state), name_of(to), job.attempt, job.node(), job.error, job.exit_code,
                    optional_micros(job.prepared), optional_micros(job.started), optional_micros(job.user_code),
                    optional_micros(job.ended), micros(now()), print_nodes(job.nodes), job.losses));
  return changed == 1;
}

Result<void> add_to_report(db::Connection& c, const std::string& name, const json::FieldReport& entry) {
  LATHE_TRY(const auto job, find_job(c, name));
  LATHE_TRY(const auto value, json::parse(job.report_json));
  LATHE_TRY(auto report, json::from_json<json::Report>(value));
  report.push_back(entry);
  LATHE_CHECK(db::run(c, "UPDATE job SET report = $2 WHERE name = $1", name, json::print(json::to_json(report))));
  return {};
}

Result<bool> set_winner(db::Connection& c, const std::string& name, const std::string& winner) {
  LATHE_TRY(const auto changed,
            db::run(c, "UPDATE job SET winner = $2 WHERE name = $1 AND winner = '' AND state IN ('Queued', 'Preparing', 'Running')", name, winner));
  return changed == 1;
}

Result<std::vector<Job>> ended_jobs(db::Connection& c, Time since, std::int64_t limit) {
  static const std::string kSql = fmt::format("SELECT {} FROM job WHERE ended_us >= $1 ORDER BY ended_us DESC LIMIT $2", kColumns);
  LATHE_TRY(auto jobs, db::all(c, kSql, read_job, micros(since), limit));
  std::reverse(jobs.begin(), jobs.end());
  return jobs;
}

Result<void> set_archived(db::Connection& c, const std::string& name, bool archived) {
  LATHE_CHECK(find_job(c, name));
  LATHE_CHECK(db::run(c, "UPDATE job SET archived = $2 WHERE name = $1", name, archived));
  return {};
}

}  // namespace lathe::jobs
