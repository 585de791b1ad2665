#include <fmt/format.h>

#include "tracking/filter.h"
#include "tracking/search.h"

namespace lathe::tracking {
namespace {

Result<std::string> column_of(const std::string& key) {
  if (key == "name") return "e.name";
  if (key == "experiment_id") return "e.id";
  if (key == "creation_time") return "e.created_us / 1000";
  if (key == "last_update_time") return "e.updated_us / 1000";
  return fail(
      Code::invalid,
      fmt::format("Invalid attribute key '{}' specified. Valid keys are 'name', 'creation_time', 'last_update_time'",
                  key));
}

Result<std::string> condition_of(Where& where, const Comparison& comparison) {
  if (comparison.entity == "tag" || comparison.entity == "tags")
    return pair_condition(where, "experiment_tag", "experiment_id", "e.id", comparison,
                          {Op::eq, Op::ne, Op::like, Op::ilike, Op::is_null, Op::is_not_null});
  if (!comparison.entity.empty() && comparison.entity != "attribute" && comparison.entity != "attributes")
    return fail(Code::invalid,
                fmt::format("Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')",
                            comparison.entity));
  LATHE_TRY(const auto column, column_of(comparison.key));
  if (comparison.key == "experiment_id") return fail(Code::invalid, "Invalid attribute key 'experiment_id' specified");
  if (comparison.key == "name") return text_condition(where, column, comparison, {Op::eq, Op::ne, Op::like, Op::ilike});
  return number_condition(where, column, comparison);
}

}  // namespace

Result<Page<Experiment>> search_experiments(db::Connection& c, const ExperimentSearch& search) {
  if (search.limit == 0 || search.limit > kMostExperimentsPerPage)
    return fail(Code::invalid,
                fmt::format("Invalid value {} for parameter 'max_results' supplied. It must be at most {}",
                            search.limit, kMostExperimentsPerPage));
  LATHE_TRY(const auto offset, parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, parse_filter(search.filter));
  Where where;
  where.add(stage_condition("e.stage", search.view));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison));
    where.add(condition);
  }
  std::string order;
  for (const auto& text : search.order_by) {
    LATHE_TRY(const auto term, parse_order(text));
    if (!term.entity.empty() && term.entity != "attribute")
      return fail(Code::invalid, fmt::format("Invalid order_by entity: {}", term.entity));
    LATHE_TRY(const auto column, column_of(term.key));
    order += fmt::format("{} {}, ", column, term.ascending ? "ASC" : "DESC");
  }
  if (order.empty()) order = "e.created_us DESC, ";
  const auto sql = fmt::format(
      "SELECT e.id, e.name, e.artifact_location, e.stage, e.created_by, e.created_us, e.updated_us FROM experiment e "
      "WHERE {} "
      "ORDER BY {}e.id DESC LIMIT {} OFFSET {}",
      where.sql(), order, where.bind(static_cast<std::int64_t>(search.limit + 1)),
      where.bind(static_cast<std::int64_t>(offset)));

  Page<Experiment> page;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) {
    page.items.push_back({row.integer(0),
                          row.text(1),
                          row.text(2),
                          row.text_view(3) == "active" ? Stage::active : Stage::deleted,
                          row.text(4),
                          row.integer(5),
                          row.integer(6),
                          {}});
  }));
  if (page.items.size() > search.limit) {
    page.items.pop_back();
    page.next = make_page_token(offset + search.limit);
  }
  for (auto& experiment : page.items) {
    LATHE_TRY(experiment.tags, experiment_tags(c, experiment.id));
  }
  return page;
}

}  // namespace lathe::tracking
