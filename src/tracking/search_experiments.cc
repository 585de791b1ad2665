#include <fmt/format.h>

#include "base/text.h"
#include "tracking/filter.h"
#include "tracking/search.h"

namespace lathe::tracking {
namespace {

bool is_tag(const std::string& entity) {
  return entity == "tag" || entity == "tags";
}

/// The column of an attribute. `to_order`: also what can only be ordered by.
Result<std::string> column_of(const std::string& entity, const std::string& key, bool to_order) {
  if (!entity.empty() && entity != "attribute")
    return fail(Code::invalid,
                fmt::format("Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')",
                            printable(entity)));
  if (key == "name") return "e.name";
  if (key == "experiment_id" && to_order) return "e.id";
  if (key == "creation_time") return "e.created_us / 1000";
  if (key == "last_update_time") return "e.updated_us / 1000";
  return fail(Code::invalid,
              fmt::format("Invalid attribute key '{}' specified. Valid keys are '{{'name', {}'creation_time', "
                          "'last_update_time'}}'",
                          printable(key), to_order ? "'experiment_id', " : ""));
}

Result<std::string> condition_of(Where& where, const Comparison& comparison) {
  const auto refusal = [&](std::string_view what) {
    return fmt::format("Invalid comparator for {}: {}", what, comparison.op_text);
  };
  if (is_tag(comparison.entity)) {
    LATHE_CHECK(check_op(comparison, kTextOrNullOps, refusal("tag")));
    return pair_condition(where, "FROM experiment_tag x WHERE x.experiment_id = e.id", comparison, "tag");
  }
  LATHE_TRY(const auto column, column_of(comparison.entity, comparison.key, false));
  if (comparison.key == "name") {
    if (comparison.value.kind == Literal::Kind::list)
      return fail(Code::invalid,
                  "Only the 'run_id' attribute supports comparison with a list of quoted string values.");
    LATHE_CHECK(check_op(comparison, kTextOps, refusal("string attribute")));
    return text_condition(where, column, comparison, "Expected a quoted string value for attributes");
  }
  LATHE_CHECK(check_op(comparison, kNumberOps, refusal("numeric attribute")));
  return whole_number_condition(where, column, comparison,
                                "Expected numeric value type for numeric attribute: " + comparison.key);
}

/// Newest first, unless asked for otherwise.
Result<std::string> order_of(const std::vector<std::string>& order_by) {
  std::string out;
  LATHE_TRY(const auto terms, parse_orders(order_by));
  for (const auto& term : terms) {
    if (is_tag(term.entity)) return fail(Code::invalid, "Invalid order_by entity: tag");
    LATHE_TRY(const auto column, column_of(term.entity, term.key, true));
    out += fmt::format("{} {}, ", column, term.ascending ? "ASC" : "DESC");
  }
  return (out.empty() ? "e.created_us DESC, " : out) + "e.id DESC";
}

}  // namespace

Result<Page<Experiment>> search_experiments(db::Connection& c, const ExperimentSearch& search) {
  LATHE_CHECK(check_page_size(search.limit, kMostExperimentsPerPage));
  LATHE_TRY(const auto offset, parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, parse_filter(search.filter));
  Where where;
  where.add(stage_condition("e.stage", search.view));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison));
    where.add(condition);
  }
  LATHE_TRY(const auto order, order_of(search.order_by));
  const auto sql = fmt::format(
      "SELECT e.id, e.name, e.artifact_location, e.stage, e.created_by, e.created_us, e.updated_us FROM experiment e "
      "WHERE {} "
      "ORDER BY {} LIMIT {} OFFSET {}",
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
