#include "tracking/run_walk.h"

#include <fmt/format.h>

#include <tuple>

#include "base/digest.h"
#include "json/json.h"
#include "tracking/run_rows.h"
#include "tracking/validation.h"

namespace lathe::tracking {
namespace {

using Part = Place::Part;

constexpr int kValueColumn = 13;  // after LATHE_RUN_COLUMNS

/// One of the parts of an order as a statement.
struct Statement {
  Where where;
  std::string from = "run r";
  std::string_view run = "r.number";
  std::string value = "0";  ///< what it is ordered by first, if anything
  std::string order = "r.start_ms DESC, r.id";
};

Result<std::vector<Placed>> run_statement(db::Connection& c, Statement& statement, const RunOrder& order, Part part,
                                          std::size_t most) {
  auto& where = statement.where;
  const auto sql =
      fmt::format("SELECT " LATHE_RUN_COLUMNS ", {} FROM {} WHERE {} ORDER BY {} LIMIT {}", statement.value,
                  statement.from, where.sql(), statement.order, where.bind(static_cast<std::int64_t>(most)));
  std::vector<Placed> out;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) {
    auto run = read_run_info(row);
    Place place{.part = part, .start_ms = run.start_ms, .id = run.run_id};
    if (part == Part::valued && order.field == RunField::metric)
      place.number = row.real(kValueColumn);
    else if (part == Part::valued)
      place.text = row.text(kValueColumn);
    out.push_back({std::move(run), std::move(place)});
  }));
  return out;
}

/// That a run comes after `place` among those that are equal otherwise.
std::string after_start(Where& where, const Place& place, bool ascending) {
  const auto start = where.bind(place.start_ms);
  return fmt::format("(r.start_ms {0} {1} OR (r.start_ms = {1} AND r.id > {2}))", ascending ? '>' : '<', start,
                     where.bind(place.id));
}

/// Runs that have a value, or NaN, by the index over the values.
Statement valued(std::int64_t experiment, const RunOrder& order, bool nan, const Place* after) {
  Statement out;
  auto& where = out.where;
  const bool metric = order.field == RunField::metric;
  out.from = fmt::format("{} o CROSS JOIN run r", table_of(order.field));
  out.run = "o.run";
  where.add(fmt::format("r.number = o.run AND o.experiment_id = {} AND o.key = {}", where.bind(experiment),
                        where.bind(order.key)));
  if (metric) where.add(nan ? "o.is_nan = 1" : "o.is_nan = 0");
  if (nan) {
    if (after != nullptr) where.add(after_start(where, *after, false));
    return out;
  }
  out.value = metric ? "o.value" : "o.beginning";
  out.order =
      fmt::format("{} {}, {}.start_ms DESC, r.id", out.value, order.ascending ? "ASC" : "DESC", metric ? 'r' : 'o');
  if (after != nullptr) {
    const auto value = metric ? where.bind(after->number) : where.bind(after->text);
    where.add(fmt::format("{0} {1}= {2} AND ({0} {1} {2} OR {3})", out.value, order.ascending ? '>' : '<', value,
                          after_start(where, *after, false)));
  }
  return out;
}

/// Runs in the order of their start: all, or those without a value.
Statement by_start(std::int64_t experiment, const RunOrder& order, const std::optional<Through>& through,
                   const Place* after) {
  Statement out;
  auto& where = out.where;
  std::string start = "r.start_ms";
  if (through) {
    out.from = fmt::format("{} d CROSS JOIN run r", table_of(through->field));
    out.run = "d.run";
    where.add("r.number = d.run AND " + text_is(where, experiment, through->key, through->value));
    start = "d.start_ms";  // the index has it
  } else {
    where.add("r.experiment_id = " + where.bind(experiment));
  }
  const bool ascending = order.field == RunField::start && order.ascending;
  out.order = fmt::format("{} {}, r.id", start, ascending ? "ASC" : "DESC");
  if (order.field != RunField::start)
    where.add(fmt::format("NOT EXISTS (SELECT 1 FROM {} x WHERE x.run = r.number AND x.key = {})",
                          table_of(order.field), where.bind(order.key)));
  if (after != nullptr)
    where.add(fmt::format("{} {}= {} AND {}", start, ascending ? '>' : '<', where.bind(after->start_ms),
                          after_start(where, *after, ascending)));
  return out;
}

}  // namespace

std::string_view table_of(RunField field) {
  return field == RunField::metric ? "metric" : field == RunField::param ? "run_param" : "run_tag";
}

bool before(const Place& a, const Place& b, const RunOrder& order) {
  if (a.part != b.part) return a.part < b.part;
  const auto rank = [](const Place& place) { return std::tie(place.number, place.text); };
  if (rank(a) != rank(b)) return order.ascending ? rank(a) < rank(b) : rank(a) > rank(b);
  if (a.start_ms != b.start_ms)
    return order.field == RunField::start && order.ascending ? a.start_ms < b.start_ms : a.start_ms > b.start_ms;
  return a.id < b.id;
}

std::string text_is(Where& where, std::int64_t experiment, const std::string& key, const std::string& value) {
  const auto beginning = first_characters(value, kIndexedCharacters);
  auto out = fmt::format("d.experiment_id = {} AND d.key = {} AND d.beginning = {}", where.bind(experiment),
                         where.bind(key), where.bind(std::string(beginning)));
  if (count_characters(value) >= kIndexedCharacters) out += " AND d.value = " + where.bind(value);
  return out;
}

Result<std::vector<Placed>> walk_runs(db::Connection& c, std::int64_t experiment, const RunOrder& order,
                                      const std::optional<Through>& through, const Filter& filter,
                                      const std::optional<Place>& after, std::size_t most) {
  std::vector<Placed> out;
  for (const auto part : {Part::valued, Part::nan, Part::others}) {
    if (order.field == RunField::start && part != Part::others) continue;
    if (order.field != RunField::metric && part == Part::nan) continue;
    if (out.size() == most || (after && part < after->part)) continue;
    const auto* place = after && after->part == part ? &*after : nullptr;
    auto statement = part == Part::others ? by_start(experiment, order, through, place)
                                          : valued(experiment, order, part == Part::nan, place);
    LATHE_CHECK(filter(statement.where, statement.run));
    LATHE_TRY(auto found, run_statement(c, statement, order, part, most - out.size()));
    std::move(found.begin(), found.end(), std::back_inserter(out));
  }
  return out;
}

std::string make_page_token(std::size_t offset, const Place& place) {
  json::Value value(place.number);
  if (!place.text.empty()) value = place.text;
  const json::Array after{static_cast<std::int64_t>(place.part), std::move(value), place.start_ms, place.id};
  return base64_encode(json::print(json::Object{{"offset", static_cast<std::int64_t>(offset)}, {"after", after}}));
}

Result<std::optional<Place>> place_of(std::string_view page_token) {
  if (page_token.empty()) return std::nullopt;
  LATHE_CHECK(parse_page_token(page_token));
  const auto object = json::parse_object(*base64_decode(page_token));  // it was read before
  const auto list = json::get_array(*object, "after");
  if (!list || *list == nullptr) return std::nullopt;
  const auto& items = **list;
  const auto bad = [] { return fail(Code::invalid, "Invalid page token: it is not one that this server gave"); };
  if (items.size() != 4 || !items[0].is_int64() || items[0].get_int64() < 0 || items[0].get_int64() > 2 ||
      !(items[1].is_double() || items[1].is_string()) || !items[2].is_int64() || !items[3].is_string())
    return bad();
  Place out;
  out.part = static_cast<Part>(items[0].get_int64());
  if (items[1].is_double())
    out.number = items[1].get_double();
  else
    out.text = json::view(items[1].get_string());
  out.start_ms = items[2].get_int64();
  out.id = json::view(items[3].get_string());
  if (!check_text("page_token", out.text) || !check_text("page_token", out.id)) return bad();
  return out;
}

}  // namespace lathe::tracking
