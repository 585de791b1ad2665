#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/text.h"
#include "tracking/filter.h"
#include "tracking/run_rows.h"
#include "tracking/run_walk.h"
#include "tracking/search.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostExperiments = 10'000;
constexpr std::size_t kMostWalks = 16;       ///< experiments whose runs are merged from walks
constexpr std::size_t kMostSorted = 20'000;  ///< runs that are rather found by a filter and sorted than walked past

enum class Entity : std::uint8_t { metric, param, tag, attribute, dataset };

struct Attribute {
  std::string_view name;
  std::string_view column;
  bool number;
};
constexpr std::array kAttributes = {
    Attribute{"run_id", "r.id", false},          Attribute{"run_name", "r.name", false},
    Attribute{"Run name", "r.name", false},      Attribute{"run name", "r.name", false},
    Attribute{"Run Name", "r.name", false},      Attribute{"user_id", "r.user_name", false},
    Attribute{"status", "r.status", false},      Attribute{"artifact_uri", "r.artifact_uri", false},
    Attribute{"start_time", "r.start_ms", true}, Attribute{"end_time", "r.end_ms", true},
    Attribute{"created", "r.start_ms", true},    Attribute{"Created", "r.start_ms", true},
};

Result<Entity> entity_of(const std::string& name) {
  static constexpr std::pair<std::string_view, Entity> kNames[] = {{"metric", Entity::metric},
                                                                   {"metrics", Entity::metric},
                                                                   {"param", Entity::param},
                                                                   {"params", Entity::param},
                                                                   {"parameter", Entity::param},
                                                                   {"parameters", Entity::param},
                                                                   {"tag", Entity::tag},
                                                                   {"tags", Entity::tag},
                                                                   {"", Entity::attribute},
                                                                   {"attribute", Entity::attribute},
                                                                   {"attributes", Entity::attribute},
                                                                   {"attr", Entity::attribute},
                                                                   {"run", Entity::attribute},
                                                                   {"dataset", Entity::dataset},
                                                                   {"datasets", Entity::dataset}};
  for (const auto& [known, entity] : kNames)
    if (known == name) return entity;
  return fail(
      Code::invalid,
      fmt::format("Invalid entity type '{}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
                  printable(name)));
}

Error bad_attribute(const std::string& key) {
  return {Code::invalid,
          fmt::format("Invalid attribute key '{}' specified. Valid keys are '{{'run_id', 'run_name', 'user_id', "
                      "'status', 'artifact_uri', 'start_time', 'end_time', 'created'}}'",
                      printable(key)),
          {}};
}

Result<Attribute> attribute_of(const std::string& key) {
  for (const auto& attribute : kAttributes)
    if (attribute.name == key) return attribute;
  return fail(bad_attribute(key));
}

Result<void> check_op(const Comparison& comparison, Ops allowed) {
  return check_op(comparison, allowed,
                  fmt::format("Invalid comparator '{}' not one of '{}'", comparison.op_text, op_names(allowed)));
}

Result<std::string> metric_condition(Where& where, std::string_view run, const Comparison& comparison) {
  // NaN equals nothing and is greater than nothing, but it is not equal to everything.
  LATHE_CHECK(check_op(comparison, kNumberOps));
  const auto key = where.bind(comparison.key);
  LATHE_TRY(const auto condition,
            number_condition(where, "x.value", comparison, "Expected numeric value type for metric"));
  return exists(fmt::format("FROM metric x WHERE x.run = {} AND x.key = {} AND {}", run, key,
                            comparison.op == Op::ne ? fmt::format("(x.is_nan = 1 OR {})", condition)
                                                    : fmt::format("x.is_nan = 0 AND {}", condition)));
}

Result<std::string> dataset_condition(Where& where, std::string_view run, const Comparison& comparison) {
  constexpr std::string_view kExpected = "Expected a quoted string value for dataset attributes";
  if (comparison.key != "name" && comparison.key != "digest" && comparison.key != "context")
    return fail(Code::invalid,
                fmt::format("Invalid dataset key '{}' specified. Valid keys are '{{'name', 'digest', 'context'}}'",
                            printable(comparison.key)));
  LATHE_CHECK(check_op(comparison, kTextOrListOps));
  if (comparison.key == "context") {
    LATHE_TRY(const auto condition, text_condition(where, "t.value", comparison, kExpected));
    return exists(fmt::format("FROM run_dataset_tag t WHERE t.run = {} AND t.key = 'mlflow.data.context' AND {}", run,
                              condition));
  }
  LATHE_TRY(const auto condition, text_condition(where, "s." + comparison.key, comparison, kExpected));
  return exists(
      fmt::format("FROM run_dataset rd JOIN dataset s ON s.id = rd.dataset WHERE rd.run = {} AND {}", run, condition));
}

Result<std::string> attribute_condition(Where& where, const Comparison& comparison) {
  LATHE_TRY(const auto attribute, attribute_of(comparison.key));
  const std::string column(attribute.column);
  if (attribute.number) {
    LATHE_CHECK(check_op(comparison, kNumberOps));
    return whole_number_condition(where, column, comparison,
                                  "Expected numeric value type for numeric attribute: " + comparison.key);
  }
  if (comparison.value.kind == Literal::Kind::list && attribute.name != "run_id")
    return fail(Code::invalid, "Only the 'run_id' attribute supports comparison with a list of quoted string values.");
  LATHE_CHECK(check_op(comparison, kTextOrListOps));
  return text_condition(where, column, comparison, "Expected a quoted string value for attributes");
}

/// `run`: the column that holds the run's number, of the outermost table, so that what fails is not joined first.
Result<std::string> condition_of(Where& where, std::string_view run, const Comparison& comparison) {
  LATHE_TRY(const auto entity, entity_of(comparison.entity));
  switch (entity) {
    case Entity::metric:
      return metric_condition(where, run, comparison);
    case Entity::param:
      LATHE_CHECK(check_op(comparison, kTextOrNullOps));
      return pair_condition(where, fmt::format("FROM run_param x WHERE x.run = {}", run), comparison, "parameter");
    case Entity::tag:
      LATHE_CHECK(check_op(comparison, kTextOrNullOps));
      return pair_condition(where, fmt::format("FROM run_tag x WHERE x.run = {}", run), comparison, "tag");
    case Entity::dataset:
      return dataset_condition(where, run, comparison);
    case Entity::attribute:
      break;
  }
  return attribute_condition(where, comparison);
}

RunField field_of(Entity entity) {
  return entity == Entity::metric ? RunField::metric : entity == Entity::param ? RunField::param : RunField::tag;
}

struct Order {
  std::string joins;
  std::string terms;
};

/// Runs without the value come last, whichever the direction; of metrics, NaN just before them.
Result<Order> order_of(Where& where, const std::vector<std::string>& order_by) {
  Order out;
  std::set<std::string> seen;
  LATHE_TRY(const auto terms, parse_orders(order_by));
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const auto& term = terms[i];
    LATHE_TRY(const auto entity, entity_of(term.entity));
    const auto direction = term.ascending ? "ASC" : "DESC";
    if (entity == Entity::dataset) return fail(Code::invalid, "Invalid identifier type 'dataset'");
    if (entity == Entity::attribute && term.key.find(' ') != std::string::npos) return fail(bad_attribute(term.key));
    std::string field = fmt::format("{}.{}", static_cast<int>(entity), term.key);
    if (entity == Entity::attribute) {
      LATHE_TRY(const auto attribute, attribute_of(term.key));
      field = attribute.column;  // one column may have two names
    }
    if (!seen.insert(field).second) return fail(repeated_order(order_by));
    if (entity == Entity::attribute) {
      LATHE_TRY(const auto attribute, attribute_of(term.key));
      out.terms += attribute.column == "r.end_ms" ? "CASE WHEN r.end_ms IS NULL THEN 1 ELSE 0 END, " : "";
      out.terms += fmt::format("{} {}, ", attribute.column, direction);
      continue;
    }
    const auto table = fmt::format("o{}", i);
    const bool metric = entity == Entity::metric;
    out.joins += fmt::format(" LEFT JOIN {0} {1} ON {1}.run = r.number AND {1}.key = {2}", table_of(field_of(entity)),
                             table, where.bind(term.key));
    out.terms += fmt::format("CASE WHEN {0}.value IS NULL THEN 2{1} ELSE 0 END, {2} {3}, ", table,
                             metric ? fmt::format(" WHEN {}.is_nan = 1 THEN 1", table) : "",
                             table + (metric ? ".value" : ".beginning"), direction);
  }
  out.terms += "r.start_ms DESC, r.id";
  return out;
}

/// The order when an index has it; nullopt: the runs must be sorted. The order was checked.
Result<std::optional<RunOrder>> walkable(const std::vector<std::string>& order_by) {
  if (order_by.empty()) return RunOrder{};
  LATHE_TRY(const auto terms, parse_orders(order_by));
  if (terms.size() != 1) return std::nullopt;
  const auto& term = terms.front();
  LATHE_TRY(const auto entity, entity_of(term.entity));
  if (entity != Entity::attribute) return RunOrder{field_of(entity), term.key, term.ascending};
  LATHE_TRY(const auto attribute, attribute_of(term.key));
  if (attribute.column != "r.start_ms") return std::nullopt;
  return RunOrder{RunField::start, {}, term.ascending};
}

/// A comparison that an index over values can find the runs of.
struct Finder {
  std::size_t place = 0;  ///< of the comparison in the filter
  Entity entity = Entity::attribute;
  std::size_t count = 0;  ///< how many runs it finds, at most kMostSorted + 1

  bool one_text() const { return entity != Entity::metric; }
};

bool can_find(Entity entity, const Comparison& comparison) {
  if (entity == Entity::metric)
    return comparison.value.kind == Literal::Kind::number && comparison.op <= Op::ge && comparison.op != Op::ne;
  return (entity == Entity::param || entity == Entity::tag) && comparison.op == Op::eq &&
         comparison.value.kind == Literal::Kind::text;
}

/// That d, a row of the entity's table, is one that the comparison finds.
Result<std::string> finding(Where& where, std::int64_t experiment, Entity entity, const Comparison& comparison) {
  if (entity != Entity::metric) return text_is(where, experiment, comparison.key, comparison.value.text);
  const auto rows = fmt::format("d.experiment_id = {} AND d.key = {} AND d.is_nan = 0", where.bind(experiment),
                                where.bind(comparison.key));
  LATHE_TRY(const auto condition, number_condition(where, "d.value", comparison, ""));
  return rows + " AND " + condition;
}

/// The comparison that finds the fewest runs, by counting a bounded number of index entries; nullopt: none can find
/// any, or the runs are named by their ids, which is better still.
Result<std::optional<Finder>> best_finder(db::Connection& c, std::int64_t experiment,
                                          const std::vector<Comparison>& filter) {
  std::vector<Finder> finders;
  for (std::size_t i = 0; i < filter.size(); ++i) {
    LATHE_TRY(const auto entity, entity_of(filter[i].entity));
    if (entity == Entity::attribute && filter[i].key == "run_id" && (filter[i].op == Op::eq || filter[i].op == Op::in))
      return std::nullopt;
    if (can_find(entity, filter[i])) finders.push_back({i, entity, kMostSorted + 1});
  }
  // Texts first: fewer runs share one than lie in a range of numbers, and what was counted bounds what is still
  // counted.
  std::stable_partition(finders.begin(), finders.end(), [](const Finder& finder) { return finder.one_text(); });
  std::optional<Finder> best;
  for (auto& finder : finders) {
    Where where;
    LATHE_TRY(const auto condition, finding(where, experiment, finder.entity, filter[finder.place]));
    const auto most = static_cast<std::int64_t>(best ? best->count : finder.count);
    const auto sql = fmt::format("SELECT COUNT(*) FROM (SELECT 1 FROM {} d WHERE {} LIMIT {}) found",
                                 table_of(field_of(finder.entity)), condition, where.bind(most));
    LATHE_CHECK(c.run(sql, where.params(),
                      [&](const db::Row& row) { finder.count = static_cast<std::size_t>(row.integer(0)); }));
    if (!best || finder.count < best->count) best = finder;
  }
  return best;
}

/// `but`: the place of the comparison that is met already.
Result<void> add_filter(Where& where, std::string_view run, const RunSearch& search,
                        const std::vector<Comparison>& filter, std::optional<std::size_t> but = std::nullopt) {
  where.add(stage_condition("r.stage", search.view));
  for (std::size_t i = 0; i < filter.size(); ++i) {
    if (but == i) continue;
    LATHE_TRY(const auto condition, condition_of(where, run, filter[i]));
    where.add(condition);
  }
  return {};
}

struct FoundRuns {
  std::vector<RunInfo> runs;
  std::string next;
};

/// By walking the order's index in each experiment, from where the last page ended.
Result<FoundRuns> find_walking(db::Connection& c, const RunSearch& search, const std::vector<Comparison>& filter,
                               const RunOrder& order, const std::optional<Finder>& finder,
                               const std::optional<Place>& after, std::size_t offset) {
  std::optional<Through> through;
  if (finder) {
    const auto& comparison = filter[finder->place];
    through = Through{field_of(finder->entity), comparison.key, comparison.value.text};
  }
  const auto add = [&](Where& where, std::string_view run) {
    return add_filter(where, run, search, filter, finder ? std::optional{finder->place} : std::nullopt);
  };
  std::vector<Placed> found;
  for (const auto experiment : search.experiments) {
    LATHE_TRY(auto more, walk_runs(c, experiment, order, through, add, after, search.limit + 1));
    std::move(more.begin(), more.end(), std::back_inserter(found));
  }
  if (search.experiments.size() > 1)
    std::sort(found.begin(), found.end(),
              [&](const Placed& a, const Placed& b) { return before(a.place, b.place, order); });
  FoundRuns out;
  if (found.size() > search.limit) {
    found.resize(search.limit);
    out.next = make_page_token(offset + search.limit, found.back().place);
  }
  for (auto& one : found) out.runs.push_back(std::move(one.run));
  return out;
}

/// By sorting all that the filter leaves.
Result<FoundRuns> find_sorting(db::Connection& c, const RunSearch& search, const std::vector<Comparison>& filter,
                               const std::optional<Finder>& finder, std::size_t offset) {
  Where where;
  std::string from = "run r";
  if (finder) {
    from = fmt::format("{} d CROSS JOIN run r", table_of(field_of(finder->entity)));
    LATHE_TRY(const auto condition, finding(where, search.experiments.front(), finder->entity, filter[finder->place]));
    where.add("r.number = d.run AND " + condition);
  }
  std::string experiments;
  for (const auto id : search.experiments) experiments += (experiments.empty() ? "" : ", ") + where.bind(id);
  where.add(fmt::format("r.experiment_id IN ({})", experiments.empty() ? "NULL" : experiments));
  LATHE_TRY(const auto order, order_of(where, search.order_by));
  LATHE_CHECK(add_filter(where, finder ? "d.run" : "r.number", search, filter,
                         finder ? std::optional{finder->place} : std::nullopt));
  const auto sql =
      fmt::format("SELECT " LATHE_RUN_COLUMNS " FROM {}{} WHERE {} ORDER BY {} LIMIT {} OFFSET {}", from, order.joins,
                  where.sql(), order.terms, where.bind(static_cast<std::int64_t>(search.limit + 1)),
                  where.bind(static_cast<std::int64_t>(offset)));
  FoundRuns out;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) { out.runs.push_back(read_run_info(row)); }));
  if (out.runs.size() > search.limit) {
    out.runs.pop_back();
    out.next = make_page_token(offset + search.limit);
  }
  return out;
}

/// Chooses how the runs are found, so that a search costs about what it gives.
Result<FoundRuns> find_runs(db::Connection& c, const RunSearch& search, const std::vector<Comparison>& filter) {
  Where checked;
  LATHE_CHECK(order_of(checked, search.order_by));
  LATHE_CHECK(add_filter(checked, "r.number", search, filter));
  LATHE_TRY(const auto offset, parse_page_token(search.page_token));
  LATHE_TRY(const auto after, place_of(search.page_token));
  if (search.experiments.empty()) return FoundRuns{};
  LATHE_TRY(const auto order, walkable(search.order_by));
  std::optional<Finder> finder;
  if (search.experiments.size() == 1) {
    LATHE_TRY(finder, best_finder(c, search.experiments.front(), filter));
  }
  const bool goes_on = after.has_value() || offset == 0;  // else: a token of a sorted search, or not ours
  if (order && goes_on && search.experiments.size() <= kMostWalks) {
    const bool newest_first = order->field == RunField::start && !order->ascending;
    if (newest_first && finder && finder->one_text())
      return find_walking(c, search, filter, *order, finder, after, offset);
    if (after || !finder || finder->count > kMostSorted)
      return find_walking(c, search, filter, *order, std::nullopt, after, offset);
  }
  return find_sorting(c, search, filter, finder, offset);
}

}  // namespace

std::string stage_condition(const std::string& column, View view) {
  if (view == View::all) return column + " <> 'removing'";
  return fmt::format("{} = '{}'", column, view == View::active_only ? "active" : "deleted");
}

Result<Page<Run>> search_runs(db::Connection& c, const RunSearch& search) {
  LATHE_CHECK(check_page_size(search.limit, kMostRunsPerPage));
  if (search.experiments.size() > kMostExperiments)
    return fail(Code::invalid, fmt::format("a search may name at most {} experiments", kMostExperiments));
  LATHE_TRY(const auto filter, parse_filter(search.filter));
  LATHE_TRY(auto found, find_runs(c, search, filter));
  Page<Run> page;
  page.next = std::move(found.next);
  LATHE_TRY(page.items, load_details(c, std::move(found.runs)));
  return page;
}

}  // namespace lathe::tracking
