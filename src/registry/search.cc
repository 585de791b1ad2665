#include <fmt/format.h>

#include "registry/rows.h"
#include "tracking/filter.h"

namespace lathe::registry {
namespace {

using tracking::Comparison;
using tracking::Op;
using tracking::Where;

bool is_tag(const Comparison& comparison) {
  return comparison.entity == "tag" || comparison.entity == "tags";
}

Result<void> check_entity(const std::string& entity) {
  if (entity.empty() || entity == "attribute" || entity == "attributes") return {};
  return fail(Code::invalid,
              fmt::format("Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')", entity));
}

Error bad_key(const std::string& key, std::string_view valid) {
  return {Code::invalid, fmt::format("Invalid attribute key '{}' specified. Valid keys are {}", key, valid), {}};
}

Result<std::string> model_condition(Where& where, const Comparison& comparison) {
  if (is_tag(comparison))
    return pair_condition(where, "registered_model_tag", "model", "m.name", comparison,
                          {Op::eq, Op::ne, Op::like, Op::ilike});
  LATHE_CHECK(check_entity(comparison.entity));
  if (comparison.key != "name") return fail(bad_key(comparison.key, "'name'"));
  return text_condition(where, "m.name", comparison, {Op::eq, Op::ne, Op::like, Op::ilike});
}

Result<std::string> version_condition(Where& where, const Comparison& comparison) {
  static constexpr auto kTexts = {Op::eq, Op::ne, Op::like, Op::ilike};
  if (is_tag(comparison)) {
    const auto key = where.bind(comparison.key);
    LATHE_TRY(const auto condition, text_condition(where, "x.value", comparison, kTexts));
    return fmt::format(
        "EXISTS (SELECT 1 FROM model_version_tag x WHERE x.model = v.model AND x.version = v.version AND x.key = {} "
        "AND {})",
        key, condition);
  }
  LATHE_CHECK(check_entity(comparison.entity));
  if (comparison.key == "name") return text_condition(where, "v.model", comparison, kTexts);
  if (comparison.key == "source_path") return text_condition(where, "v.source", comparison, kTexts);
  if (comparison.key == "version_number" || comparison.key == "version")
    return number_condition(where, "v.version", comparison);
  if (comparison.key == "run_id")
    return text_condition(where, "v.run_id", comparison, {Op::eq, Op::ne, Op::like, Op::ilike, Op::in});
  return fail(bad_key(comparison.key, "'name', 'version_number', 'run_id', 'source_path'"));
}

struct Column {
  std::string_view key;
  std::string_view sql;
};

template <std::size_t N>
Result<std::string> order_of(const std::vector<std::string>& order_by, const Column (&columns)[N],
                             std::string_view last) {
  std::string out;
  for (const auto& text : order_by) {
    LATHE_TRY(const auto term, tracking::parse_order(text));
    LATHE_CHECK(check_entity(term.entity));
    std::string_view sql;
    for (const auto& column : columns)
      if (column.key == term.key) sql = column.sql;
    if (sql.empty()) return fail(Code::invalid, fmt::format("Invalid order by key '{}' specified.", term.key));
    out += fmt::format("{} {}, ", sql, term.ascending ? "ASC" : "DESC");
  }
  return out + std::string(last);
}

/// Reads one page: `select` up to WHERE, then the gathered conditions and the order.
template <class T, class Read>
Result<Page<T>> read_page(db::Connection& c, std::string_view select, Where& where, const std::string& order,
                          const Search& search, std::size_t offset, Read read) {
  const auto sql = fmt::format("{} WHERE {} ORDER BY {} LIMIT {} OFFSET {}", select, where.sql(), order,
                               where.bind(static_cast<std::int64_t>(search.limit + 1)),
                               where.bind(static_cast<std::int64_t>(offset)));
  Page<T> page;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) { page.items.push_back(read(row)); }));
  if (page.items.size() > search.limit) {
    page.items.pop_back();
    page.next = tracking::make_page_token(offset + search.limit);
  }
  for (auto& item : page.items) LATHE_CHECK(load_details(c, item));
  return page;
}

Result<void> check_limit(std::size_t limit, std::size_t most) {
  if (limit > 0 && limit <= most) return {};
  return fail(Code::invalid,
              fmt::format("Invalid value for request parameter max_results. It must be at most {}, but got value {}",
                          most, limit));
}

}  // namespace

Result<Page<Model>> search_models(db::Connection& c, const Search& search) {
  static constexpr Column kColumns[] = {{"name", "m.name"},
                                        {"timestamp", "m.updated_us"},
                                        {"last_updated_timestamp", "m.updated_us"},
                                        {"creation_timestamp", "m.created_us"}};
  LATHE_CHECK(check_limit(search.limit, kMostModelsPerPage));
  LATHE_TRY(const auto offset, tracking::parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, tracking::parse_filter(search.filter));
  Where where;
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, model_condition(where, comparison));
    where.add(condition);
  }
  LATHE_TRY(const auto order, order_of(search.order_by, kColumns, "m.name"));
  return read_page<Model>(c, "SELECT " LATHE_MODEL_COLUMNS " FROM registered_model m", where, order, search, offset,
                          read_model);
}

Result<Page<Version>> search_versions(db::Connection& c, const Search& search) {
  static constexpr Column kColumns[] = {{"name", "v.model"},
                                        {"version_number", "v.version"},
                                        {"creation_timestamp", "v.created_us"},
                                        {"last_updated_timestamp", "v.updated_us"}};
  LATHE_CHECK(check_limit(search.limit, kMostVersionsPerPage));
  LATHE_TRY(const auto offset, tracking::parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, tracking::parse_filter(search.filter));
  Where where;
  where.add("v.archived = 0");
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, version_condition(where, comparison));
    where.add(condition);
  }
  LATHE_TRY(const auto order, order_of(search.order_by, kColumns,
                                       search.order_by.empty() ? "v.updated_us DESC, v.model, v.version DESC"
                                                               : "v.model, v.version DESC"));
  return read_page<Version>(c, "SELECT " LATHE_VERSION_COLUMNS " FROM model_version v", where, order, search, offset,
                            read_version);
}

}  // namespace lathe::registry
