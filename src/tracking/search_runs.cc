#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/text.h"
#include "tracking/filter.h"
#include "tracking/run_rows.h"
#include "tracking/search.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostExperiments = 10'000;

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

Result<std::string> metric_condition(Where& where, const Comparison& comparison) {
  // NaN equals nothing and is greater than nothing, but it is not equal to everything.
  LATHE_CHECK(check_op(comparison, kNumberOps));
  const auto key = where.bind(comparison.key);
  LATHE_TRY(const auto condition,
            number_condition(where, "x.value", comparison, "Expected numeric value type for metric"));
  return fmt::format("EXISTS (SELECT 1 FROM metric x WHERE x.run = r.number AND x.key = {} AND {})", key,
                     comparison.op == Op::ne ? fmt::format("(x.is_nan = 1 OR {})", condition)
                                             : fmt::format("x.is_nan = 0 AND {}", condition));
}

Result<std::string> dataset_condition(Where& where, const Comparison& comparison) {
  constexpr std::string_view kExpected = "Expected a quoted string value for dataset attributes";
  if (comparison.key != "name" && comparison.key != "digest" && comparison.key != "context")
    return fail(Code::invalid,
                fmt::format("Invalid dataset key '{}' specified. Valid keys are '{{'name', 'digest', 'context'}}'",
                            printable(comparison.key)));
  LATHE_CHECK(check_op(comparison, kTextOrListOps));
  if (comparison.key == "context") {
    LATHE_TRY(const auto condition, text_condition(where, "t.value", comparison, kExpected));
    return fmt::format(
        "EXISTS (SELECT 1 FROM run_dataset_tag t WHERE t.run = r.number AND t.key = 'mlflow.data.context' AND {})",
        condition);
  }
  LATHE_TRY(const auto condition, text_condition(where, "d." + comparison.key, comparison, kExpected));
  return fmt::format(
      "EXISTS (SELECT 1 FROM run_dataset rd JOIN dataset d ON d.id = rd.dataset WHERE rd.run = r.number AND {})",
      condition);
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

Result<std::string> condition_of(Where& where, const Comparison& comparison) {
  LATHE_TRY(const auto entity, entity_of(comparison.entity));
  switch (entity) {
    case Entity::metric:
      return metric_condition(where, comparison);
    case Entity::param:
      LATHE_CHECK(check_op(comparison, kTextOrNullOps));
      return pair_condition(where, "FROM run_param x WHERE x.run = r.number", comparison, "parameter");
    case Entity::tag:
      LATHE_CHECK(check_op(comparison, kTextOrNullOps));
      return pair_condition(where, "FROM run_tag x WHERE x.run = r.number", comparison, "tag");
    case Entity::dataset:
      return dataset_condition(where, comparison);
    case Entity::attribute:
      break;
  }
  return attribute_condition(where, comparison);
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
    const auto table = entity == Entity::metric ? "metric" : entity == Entity::param ? "run_param" : "run_tag";
    out.joins +=
        fmt::format(" LEFT JOIN {0} o{1} ON o{1}.run = r.number AND o{1}.key = {2}", table, i, where.bind(term.key));
    const auto nan = entity == Entity::metric ? fmt::format(" WHEN o{}.is_nan = 1 THEN 1", i) : "";
    out.terms += fmt::format("CASE WHEN o{0}.value IS NULL THEN 2{1} ELSE 0 END, o{0}.value {2}, ", i, nan, direction);
  }
  out.terms += "r.start_ms DESC, r.id";
  return out;
}

/// The statement's end, and its run.
Result<std::vector<RunInfo>> read_page(db::Connection& c, Where& where, const std::string& from,
                                       const std::string& order, std::size_t most, std::size_t offset) {
  const auto sql =
      fmt::format("SELECT " LATHE_RUN_COLUMNS " FROM {} WHERE {} ORDER BY {} LIMIT {} OFFSET {}", from, where.sql(),
                  order, where.bind(static_cast<std::int64_t>(most)), where.bind(static_cast<std::int64_t>(offset)));
  std::vector<RunInfo> out;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) { out.push_back(read_run_info(row)); }));
  return out;
}

Result<void> add_filter(Where& where, const RunSearch& search, const std::vector<Comparison>& filter) {
  where.add(stage_condition("r.stage", search.view));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison));
    where.add(condition);
  }
  return {};
}

/// Runs of one experiment that have a number for the metric, by walking the metric's index: no run is read that is not
/// on the page. Not for a filter, which may pass so few runs that the walk would be long. nullopt when another order or
/// more than one experiment is asked for.
Result<std::optional<std::vector<RunInfo>>> find_by_metric(db::Connection& c, const RunSearch& search, std::size_t most,
                                                           std::size_t offset) {
  if (search.experiments.size() != 1 || search.order_by.size() != 1) return std::nullopt;
  LATHE_TRY(const auto term, parse_order(search.order_by[0]));
  LATHE_TRY(const auto entity, entity_of(term.entity));
  if (entity != Entity::metric) return std::nullopt;
  Where where;
  where.add(fmt::format("o.experiment_id = {} AND o.key = {} AND o.is_nan = 0 AND r.number = o.run",
                        where.bind(search.experiments[0]), where.bind(term.key)));
  LATHE_CHECK(add_filter(where, search, {}));
  const auto order = fmt::format("o.value {}, r.start_ms DESC, r.id", term.ascending ? "ASC" : "DESC");
  LATHE_TRY(auto found, read_page(c, where, "metric o CROSS JOIN run r", order, most, offset));
  return found;
}

/// Reads `most` runs from `offset` on.
Result<std::vector<RunInfo>> find_runs(db::Connection& c, const RunSearch& search,
                                       const std::vector<Comparison>& filter, std::size_t most, std::size_t offset) {
  if (filter.empty()) {
    LATHE_TRY(auto by_metric, find_by_metric(c, search, most, offset));
    if (by_metric && by_metric->size() == most) return std::move(*by_metric);  // else runs without a number follow
  }
  Where where;
  std::string experiments;
  for (const auto id : search.experiments) experiments += (experiments.empty() ? "" : ", ") + where.bind(id);
  where.add(fmt::format("r.experiment_id IN ({})", experiments.empty() ? "NULL" : experiments));
  LATHE_TRY(const auto order, order_of(where, search.order_by));
  LATHE_CHECK(add_filter(where, search, filter));
  return read_page(c, where, "run r" + order.joins, order.terms, most, offset);
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
  LATHE_TRY(const auto offset, parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, parse_filter(search.filter));
  Page<Run> page;
  LATHE_TRY(auto found, find_runs(c, search, filter, search.limit + 1, offset));
  if (found.size() > search.limit) {
    found.pop_back();
    page.next = make_page_token(offset + search.limit);
  }
  for (auto& info : found) {
    LATHE_TRY(auto run, load_details(c, std::move(info)));
    page.items.push_back(std::move(run));
  }
  return page;
}

}  // namespace lathe::tracking
