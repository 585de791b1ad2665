#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "tracking/filter.h"
#include "tracking/logged_model_rows.h"

namespace lathe::tracking {
namespace {

constexpr std::size_t kMostModelsPerPage = 50'000;

struct Attribute {
  std::string_view name;
  std::string_view column;
  bool number;
};
constexpr Attribute kAttributes[] = {{"name", "m.name", false},
                                     {"model_id", "m.id", false},
                                     {"model_type", "m.model_type", false},
                                     {"status", "m.status", false},
                                     {"source_run_id", "m.source_run_id", false},
                                     {"creation_timestamp", "m.created_ms", true},
                                     {"creation_timestamp_ms", "m.created_ms", true},
                                     {"creation_time", "m.created_ms", true},
                                     {"last_updated_timestamp", "m.updated_ms", true},
                                     {"last_updated_timestamp_ms", "m.updated_ms", true},
                                     {"last_updated_time", "m.updated_ms", true}};

const Attribute* find_attribute(std::string_view key) {
  const auto found =
      std::find_if(std::begin(kAttributes), std::end(kAttributes), [&](const auto& a) { return a.name == key; });
  return found == std::end(kAttributes) ? nullptr : &*found;
}

Result<void> check_op(const Comparison& comparison, Ops allowed) {
  constexpr std::string_view kExpected = "('=', '!=', 'LIKE', 'ILIKE', 'IN', 'NOT IN')";
  const auto entity = comparison.entity.empty() ? std::string("attributes") : comparison.entity;
  return check_op(comparison, allowed,
                  fmt::format("Invalid comparison operator for {}.{}: '{}'. Expected one of {}.", entity,
                              printable(comparison.key), comparison.op_text, kExpected));
}

/// The condition that a row x of metrics is of one of the data sets; all are when none is named.
std::string of_datasets(Where& where, const std::vector<ModelDataset>& datasets) {
  std::string out;
  for (const auto& dataset : datasets) {
    out += (out.empty() ? "" : " OR ") + fmt::format("(x.dataset_name = {}", where.bind(dataset.name));
    if (!dataset.digest.empty()) out += fmt::format(" AND x.dataset_digest = {}", where.bind(dataset.digest));
    out += ")";
  }
  return out.empty() ? "TRUE" : "(" + out + ")";
}

Result<std::string> metric_condition(Where& where, const Comparison& comparison,
                                     const std::vector<ModelDataset>& datasets) {
  LATHE_CHECK(check_op(comparison, kNumberOps));
  const auto key = where.bind(comparison.key);
  LATHE_TRY(const auto condition,
            number_condition(where, "x.value", comparison, "Expected numeric value type for metric"));
  return exists(fmt::format("FROM logged_model_metric x WHERE x.model = m.id AND x.key = {} AND {} AND {}", key,
                            comparison.op == Op::ne ? fmt::format("(x.is_nan = 1 OR {})", condition)
                                                    : fmt::format("x.is_nan = 0 AND {}", condition),
                            of_datasets(where, datasets)));
}

Result<std::string> condition_of(Where& where, const Comparison& comparison,
                                 const std::vector<ModelDataset>& datasets) {
  const auto& entity = comparison.entity;
  if (entity == "metrics") return metric_condition(where, comparison, datasets);
  if (entity == "params" || entity == "tags") {
    LATHE_CHECK(check_op(comparison, kTextOrListOps));
    const auto rows = fmt::format("FROM logged_model_{} x WHERE x.model = m.id", entity.substr(0, entity.size() - 1));
    return pair_condition(where, rows, comparison, entity);
  }
  if (!entity.empty() && entity != "attributes")
    return fail(Code::invalid,
                fmt::format("Invalid entity type: '{}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
                            printable(entity)));
  const auto* attribute = find_attribute(comparison.key);
  if (attribute == nullptr)
    return fail(Code::invalid,
                fmt::format("Invalid attribute key '{}' specified. Valid keys are '{{'name', 'model_id', 'model_type', "
                            "'status', 'source_run_id', 'creation_timestamp', 'last_updated_timestamp'}}'",
                            printable(comparison.key)));
  const std::string column(attribute->column);
  if (attribute->number) {
    LATHE_CHECK(check_op(comparison, kNumberOps));
    return whole_number_condition(where, column, comparison,
                                  "Expected numeric value type for numeric attribute: " + comparison.key);
  }
  LATHE_CHECK(check_op(comparison, kTextOrListOps));
  return text_condition(where, column, comparison, "Expected a quoted string value for attributes");
}

/// By the latest value of a metric: numbers, then NaN, then models without it.
std::string metric_order(Where& where, const ModelOrder& order) {
  auto rows = fmt::format("FROM logged_model_metric x WHERE x.model = m.id AND x.key = {}",
                          where.bind(order.field.substr(order.field.find('.') + 1)));
  if (!order.dataset_name.empty()) rows += fmt::format(" AND x.dataset_name = {}", where.bind(order.dataset_name));
  if (!order.dataset_digest.empty())
    rows += fmt::format(" AND x.dataset_digest = {}", where.bind(order.dataset_digest));
  rows += " ORDER BY x.timestamp_ms DESC, x.step DESC LIMIT 1";
  return fmt::format("COALESCE((SELECT x.is_nan {0}), 2), (SELECT x.value {0}) {1}", rows,
                     order.ascending ? "ASC" : "DESC");
}

Result<std::string> order_of(Where& where, const std::vector<ModelOrder>& order_by) {
  std::string out;
  for (const auto& order : order_by) {
    if (!order.dataset_digest.empty() && order.dataset_name.empty())
      return fail(Code::invalid, "`dataset_digest` can only be specified if `dataset_name` is also specified.");
    const auto field = printable(order.field.substr(0, 300));
    if (order.field.starts_with("metrics.")) {
      out += metric_order(where, order) + ", ";
      continue;
    }
    if (order.field.find('.') != std::string::npos)
      return fail(Code::invalid, fmt::format("Invalid order by field name: {}. Only metrics are supported.", field));
    const auto* attribute = find_attribute(order.field);
    if (attribute == nullptr) return fail(Code::invalid, fmt::format("Invalid order by field name: {}", field));
    if (!attribute->number) out += fmt::format("CASE WHEN {} = '' THEN 1 ELSE 0 END, ", attribute->column);
    out += fmt::format("{} {}, ", attribute->column, order.ascending ? "ASC" : "DESC");
  }
  return out + "m.created_ms DESC, m.id";
}

/// Data sets without a filter on metrics: models that have any metric on one of them.
Result<void> add_datasets(Where& where, const ModelSearch& search, const std::vector<Comparison>& filter) {
  for (const auto& dataset : search.datasets)
    if (dataset.name.empty()) return fail(Code::invalid, "`dataset_name` in the `datasets` clause must be specified.");
  const bool measured =
      std::any_of(filter.begin(), filter.end(), [](const Comparison& c) { return c.entity == "metrics"; });
  if (search.datasets.empty() || measured) return {};
  where.add(exists("FROM logged_model_metric x WHERE x.model = m.id AND " + of_datasets(where, search.datasets)));
  return {};
}

}  // namespace

Result<Page<LoggedModel>> search_logged_models(db::Connection& c, const ModelSearch& search) {
  LATHE_CHECK(check_page_size(search.limit, kMostModelsPerPage));
  LATHE_TRY(const auto offset, parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, parse_filter(search.filter));
  Where where;
  std::string experiments;
  for (const auto id : search.experiments) experiments += (experiments.empty() ? "" : ", ") + where.bind(id);
  where.add(fmt::format("m.experiment_id IN ({}) AND m.stage = 'active'", experiments.empty() ? "NULL" : experiments));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison, search.datasets));
    where.add(condition);
  }
  LATHE_CHECK(add_datasets(where, search, filter));
  LATHE_TRY(const auto order, order_of(where, search.order_by));
  const auto sql = fmt::format(
      "SELECT " LATHE_LOGGED_MODEL_COLUMNS " FROM logged_model m WHERE {} ORDER BY {} LIMIT {} OFFSET {}", where.sql(),
      order, where.bind(static_cast<std::int64_t>(search.limit + 1)), where.bind(static_cast<std::int64_t>(offset)));
  Page<LoggedModel> page;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) { page.items.push_back(read_logged_model(row)); }));
  if (page.items.size() > search.limit) {
    page.items.pop_back();
    page.next = make_page_token(offset + search.limit);
  }
  for (auto& model : page.items) LATHE_CHECK(load_details(c, model));
  return page;
}

}  // namespace lathe::tracking
