#include "tracking/routes.h"

#include <fmt/format.h>

#include <charconv>

#include "base/text.h"
#include "tracking/series.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

Result<std::optional<std::int64_t>> whole_number(const http::Call& call, std::string_view name) {
  const auto text = call.query(name);
  if (!text) return std::nullopt;
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), out);
  if (error == std::errc{} && end == text->data() + text->size()) return out;
  return fail(Code::invalid,
              fmt::format("{} must be a whole number, not \"{}\"", name, printable(text->substr(0, 100))));
}

Result<SeriesAnswer> series(db::Database& db, const http::Call& call) {
  SeriesQuery query;
  query.runs = call.query_all("run");
  query.runs.insert(query.runs.begin(), std::string(call.param("id")));
  query.keys = call.query_all("key");
  for (const auto* list : {&query.runs, &query.keys})
    for (const auto& text : *list) LATHE_CHECK(check_text(list == &query.keys ? "key" : "run", text));
  LATHE_TRY(const auto points, whole_number(call, "points"));
  if (points) query.points = *points < 0 ? 0 : static_cast<std::size_t>(*points);
  LATHE_TRY(query.from, whole_number(call, "from"));
  LATHE_TRY(query.to, whole_number(call, "to"));
  const auto by = call.query("by").value_or("step");
  if (by != "step" && by != "time") return fail(Code::invalid, "by must be step or time");
  query.by = by == "time" ? Axis::time : Axis::step;
  return db.read([&](db::Connection& c) { return read_series(c, query); });
}

}  // namespace

void add_routes(http::Router& router, db::Database& db) {
  router.add_json({.id = "run_series",
                   .method = http::Method::get,
                   .path = "/api/v1/runs/{id}/series",
                   .right = http::Right::read,
                   .summary = "Metrics of a run, and of others beside it, as few points for a chart.",
                   .jobs = true,
                   .queries = {{.name = "key", .doc = "a metric", .repeated = true, .required = true},
                               {.name = "run", .doc = "a further run", .repeated = true},
                               {.name = "points",
                                .doc = "at most so many of each metric: 10 to 10,000, else 1000",
                                .type = "integer"},
                               {.name = "by", .doc = "the axis: step (default) or time"},
                               {.name = "from", .doc = "first step, or time in milliseconds", .type = "integer"},
                               {.name = "to", .doc = "last step, or time in milliseconds", .type = "integer"}}},
                  [&db](http::Call& call) { return series(db, call); });
}

}  // namespace lathe::tracking
