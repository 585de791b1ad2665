// The points of metrics. Their answers are written straight into the body: of 100,000 points, values of JSON would cost
// several times what the store does.
#include "tracking/history.h"

#include <fmt/format.h>

#include <algorithm>

#include "json/hot.h"
#include "mlflow/table.h"
#include "tracking/validation.h"

namespace lathe::mlflow {
namespace {

using http::Method;

constexpr std::size_t kHistoryPage = 100'000;  // what one answer holds when the client names no limit
constexpr std::size_t kBulkPage = 25'000;
constexpr std::size_t kMostRuns = 100;
constexpr std::size_t kMostSampled = 2500;

/// {"metrics": [...]} with one key, in one piece of memory.
class PointsBody {
 public:
  PointsBody(std::string_view key, std::size_t points) {
    key_ = R"({"key":)";
    json::append(key_, key);
    key_ += R"(,"value":)";
    body_.reserve((key_.size() + 128) * points + 256);
    body_ = kBegin;
  }

  /// `run_id` empty: not said.
  void add(const std::vector<tracking::Point>& points, std::string_view run_id = {}) {
    std::string end = "}";
    if (!run_id.empty()) {
      end = R"(,"run_id":)";
      json::append(end, run_id);
      end += '}';
    }
    for (const auto& point : points) {
      if (body_.size() > kBegin.size()) body_ += ',';
      body_ += key_;
      json::append(body_, point.value);
      body_ += R"(,"timestamp":)";
      json::append(body_, point.timestamp_ms);
      body_ += R"(,"step":)";
      json::append(body_, point.step);
      body_ += end;
    }
  }

  /// `always`: the list is there though it is empty.
  http::Response response(bool always, std::string_view next_page = {}) && {
    http::Response out;
    out.body = std::move(body_);
    if (out.body.size() == kBegin.size() && !always)
      out.body = "{";
    else
      out.body += ']';
    if (!next_page.empty()) {
      out.body += R"(,"next_page_token":)";
      json::append(out.body, next_page);
    }
    out.body += '}';
    return out;
  }

 private:
  static constexpr std::string_view kBegin = R"({"metrics":[)";
  std::string key_;
  std::string body_;
};

std::size_t count(const std::vector<tracking::RunPoints>& runs) {
  std::size_t out = 0;
  for (const auto& run : runs) out += run.points.size();
  return out;
}

Result<http::Response> history(db::Database& db, const http::Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto id, fields.run_id());
  LATHE_TRY(const auto key, fields.need("metric_key"));
  LATHE_TRY(const auto limit, limit_of(fields, kHistoryPage));
  LATHE_TRY(const auto token, fields.text("page_token"));
  LATHE_TRY(const auto page, db.read([&](db::Connection& c) -> Result<tracking::HistoryPage> {
    LATHE_TRY(const auto run, tracking::find_run(c, id));
    return tracking::metric_history(c, run, key, std::min(limit, kHistoryPage), token);
  }));
  PointsBody body(key, page.points.size());
  body.add(page.points);
  return std::move(body).response(false, page.next);
}

Result<void> check_run_ids(const std::vector<std::string>& runs) {
  for (const auto& id : runs) LATHE_CHECK(tracking::check_run_id(id));
  return {};
}

Result<http::Response> bulk(db::Database& db, const http::Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto runs, fields.texts("run_id"));
  if (runs.empty()) return fail(Code::invalid, "GetMetricHistoryBulk request must specify at least one run_id.");
  if (runs.size() > kMostRuns)
    return fail(Code::invalid, fmt::format("GetMetricHistoryBulk request cannot specify more than {} run_ids. Received "
                                           "{} run_ids.",
                                           kMostRuns, runs.size()));
  if (!fields.has("metric_key")) return fail(Code::invalid, "GetMetricHistoryBulk request must specify a metric_key.");
  LATHE_TRY(const auto key, fields.text("metric_key"));
  LATHE_TRY(const auto limit, limit_of(fields, kBulkPage));
  LATHE_CHECK(check_run_ids(runs));
  LATHE_TRY(const auto found, db.read([&](db::Connection& c) {
    return tracking::bulk_history(c, runs, key, std::min(limit, kBulkPage));
  }));
  PointsBody body(key, count(found));
  for (const auto& run : found) body.add(run.points, run.run_id);
  return std::move(body).response(true);
}

Result<std::optional<tracking::StepRange>> steps_of(const Message& fields) {
  LATHE_TRY(const auto first, fields.integer("start_step"));
  LATHE_TRY(const auto last, fields.integer("end_step"));
  if (first.has_value() != last.has_value())
    return fail(Code::invalid, "If either start step or end step are specified, both must be specified.");
  if (!first) return std::nullopt;
  if (*first > *last)
    return fail(Code::invalid, fmt::format("end_step must be greater than start_step. Found start_step={} and "
                                           "end_step={}.",
                                           *first, *last));
  return tracking::StepRange{*first, *last};
}

Result<http::Response> interval(db::Database& db, const http::Call& call) {
  LATHE_TRY(const auto fields, Message::read(call));
  LATHE_TRY(const auto runs, fields.texts("run_ids"));
  if (runs.empty()) LATHE_CHECK(Message(json::Object{}).check_there("run_ids"));
  if (runs.size() > kMostRuns)
    return fail(Code::invalid, fmt::format("GetMetricHistoryBulkInterval request must specify at most {} run_ids. "
                                           "Received {} run_ids.",
                                           kMostRuns, runs.size()));
  LATHE_CHECK(check_run_ids(runs));
  std::vector<std::string> each;  // named twice, a run is still given once
  for (const auto& run : runs)
    if (std::find(each.begin(), each.end(), run) == each.end()) each.push_back(run);
  LATHE_TRY(const auto key, fields.need("metric_key"));
  LATHE_TRY(const auto range, steps_of(fields));
  LATHE_TRY(const auto most, fields.integer("max_results"));
  if (most && (*most < 1 || *most > static_cast<std::int64_t>(kMostSampled)))
    return fail(Code::invalid, fmt::format("max_results must be between 1 and {}.", kMostSampled));
  const auto limit = most ? static_cast<std::size_t>(*most) : kMostSampled;
  LATHE_TRY(const auto found,
            db.read([&](db::Connection& c) { return tracking::sampled_history(c, each, key, range, limit); }));
  PointsBody body(key, count(found));
  for (const auto& run : found) body.add(run.points, run.run_id);
  return std::move(body).response(false);
}

}  // namespace

void add_history_routes(Table& table) {
  auto& db = table.db();
  const auto add = [&](std::string id, const std::string& path, std::string summary, auto handler) {
    table.add(std::move(id), Method::get, path, http::Right::read, std::move(summary),
              [&db, handler](http::Call& call) { return handler(db, call); });
  };
  add("metric_history", "/mlflow/metrics/get-history", "All points of one metric, page by page.", history);
  add("metric_history_bulk", "/mlflow/metrics/get-history-bulk", "The points of one metric of several runs.", bulk);
  add("metric_history_interval", "/mlflow/metrics/get-history-bulk-interval",
      "The points of one metric of several runs, at evenly spread steps.", interval);
}

}  // namespace lathe::mlflow
