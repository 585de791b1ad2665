#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "registry/rows.h"
#include "tracking/filter.h"

namespace lathe::registry {
namespace {

using tracking::Comparison;
using tracking::Literal;
using tracking::Op;
using tracking::Ops;
using tracking::Where;

constexpr Ops kVersionTextOps = {Op::ne, Op::eq, Op::like, Op::ilike, Op::in};

bool is_tag(const std::string& entity) {
  return entity == "tag" || entity == "tags";
}
bool is_prompt_tag(const Comparison& comparison) {
  return is_tag(comparison.entity) && comparison.key == kIsPrompt;
}

/// The first word on prompts decides: prompts are found only when they are asked for.
bool asks_for_prompts(const std::vector<Comparison>& filter) {
  const auto word = std::find_if(filter.begin(), filter.end(), is_prompt_tag);
  if (word == filter.end()) return false;
  const auto value = to_lower(word->value.text);
  return (word->op == Op::eq && value == "true") || (word->op == Op::ne && value == "false");
}

Result<void> check_entity(const std::string& entity) {
  if (entity.empty() || entity == "attribute" || is_tag(entity)) return {};
  return fail(Code::invalid, fmt::format("Invalid entity type '{}'. Valid entity types are ('attribute', 'tag', 'tags')",
                                         printable(entity)));
}

Error bad_key(const std::string& key, std::string_view valid) {
  return {Code::invalid,
          fmt::format("Invalid attribute key '{}' specified. Valid keys are '{}'", printable(key), valid),
          {}};
}

/// A comparison of a text column. `takes_list`: with a list, too.
Result<std::string> text_attribute(Where& where, const std::string& column, const Comparison& comparison,
                                   bool takes_list) {
  if (comparison.value.kind == Literal::Kind::list && !takes_list)
    return fail(Code::invalid, "Only the 'run_id' attribute supports comparison with a list of quoted string values.");
  LATHE_CHECK(tracking::check_op(comparison, takes_list ? kVersionTextOps : tracking::kTextOps,
                                 fmt::format("Invalid comparator for attribute: {}", comparison.op_text)));
  return text_condition(where, column, comparison,
                        "Expected a quoted string value or a list of quoted string values for attributes");
}

Result<std::string> tag_condition(Where& where, const std::string& rows, const Comparison& comparison) {
  LATHE_CHECK(tracking::check_op(comparison, tracking::kTextOps,
                                 fmt::format("Invalid comparator for tag: {}", comparison.op_text)));
  return pair_condition(where, rows, comparison, "tag");
}

Result<std::string> model_condition(Where& where, const Comparison& comparison) {
  LATHE_CHECK(check_entity(comparison.entity));
  if (is_tag(comparison.entity))
    return tag_condition(where, "FROM registered_model_tag x WHERE x.model = m.name", comparison);
  if (comparison.key != "name") return fail(bad_key(comparison.key, "{'name'}"));
  return text_attribute(where, "m.name", comparison, false);
}

/// MLflow's clients also quote the number.
Result<std::string> number_attribute(Where& where, Comparison comparison) {
  LATHE_CHECK(tracking::check_op(comparison, tracking::kNumberOps,
                                 fmt::format("Invalid comparator for attribute {}: {}", comparison.key,
                                             comparison.op_text)));
  auto& value = comparison.value;
  if (value.kind == Literal::Kind::text) {
    const auto quoted = tracking::parse_number(value.text);
    if (quoted) value = {Literal::Kind::number, value.text, *quoted, {}};
  }
  return whole_number_condition(where, "v.version", comparison,
                                "Expected numeric value type for numeric attribute: " + comparison.key);
}

Result<std::string> version_condition(Where& where, const Comparison& comparison) {
  LATHE_CHECK(check_entity(comparison.entity));
  if (is_tag(comparison.entity))
    return tag_condition(where, "FROM model_version_tag x WHERE x.model = v.model AND x.version = v.version",
                         comparison);
  if (comparison.key == "version_number") return number_attribute(where, comparison);
  const auto column = comparison.key == "name"          ? "v.model"
                      : comparison.key == "source_path" ? "v.source"
                      : comparison.key == "run_id"      ? "v.run_id"
                                                        : nullptr;
  if (column == nullptr)
    return fail(bad_key(comparison.key, "{'name', 'version_number', 'run_id', 'source_path'}"));
  if (comparison.value.kind == Literal::Kind::number)
    return fail(Code::invalid,
                "Only the '{'version_number', 'creation_timestamp', 'last_updated_timestamp'}' attributes support "
                "comparison with numeric values.");
  return text_attribute(where, column, comparison, comparison.key == "run_id");
}

struct Column {
  std::string_view key;
  std::string_view sql;
};

/// `kind`, `valid`: what MLflow calls a key, and how it lists them.
template <std::size_t N>
Result<std::string> order_of(const std::vector<std::string>& order_by, const Column (&columns)[N],
                             std::string_view kind, std::string_view valid, std::string_view last) {
  std::string out;
  LATHE_TRY(const auto terms, tracking::parse_orders(order_by));
  for (const auto& term : terms) {
    LATHE_CHECK(check_entity(term.entity));
    if (is_tag(term.entity)) return fail(Code::invalid, "Invalid order_by entity: tag");
    const auto column =
        std::find_if(std::begin(columns), std::end(columns), [&](const Column& c) { return c.key == term.key; });
    if (column == std::end(columns))
      return fail(Code::invalid, fmt::format("Invalid {} key '{}' specified. Valid keys are '{}'", kind,
                                             printable(term.key), valid));
    if (out.find(std::string(column->sql) + " ") != std::string::npos)
      return fail(tracking::repeated_order(order_by));
    out += fmt::format("{} {}, ", column->sql, term.ascending ? "ASC" : "DESC");
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
  if (limit == 0) return tracking::check_page_size(limit, most);
  if (limit <= most) return {};
  return fail(Code::invalid,
              fmt::format("Invalid value for request parameter max_results. It must be at most {}, but got value {}",
                          most, limit));
}

/// All comparisons. Unless prompts are asked for, what has the prompts' tag (`prompts`: the names of those) is left out,
/// and the word that says so is done with: what is no prompt has no such tag.
template <class Condition>
Result<void> add_filter(Where& where, const std::string& text, const std::string& name, std::string_view prompts,
                        Condition condition_of) {
  LATHE_TRY(const auto filter, tracking::parse_filter(text));
  const bool prompts_wanted = asks_for_prompts(filter);
  if (!prompts_wanted)
    where.add(fmt::format("{} NOT IN (SELECT t.model FROM {} t WHERE t.key = {} AND t.value = 'true')", name, prompts,
                          where.bind(std::string(kIsPrompt))));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison));
    if (prompts_wanted || !is_prompt_tag(comparison)) where.add(condition);
  }
  return {};
}

}  // namespace

Result<Page<Model>> search_models(db::Connection& c, const Search& search) {
  static constexpr Column kColumns[] = {
      {"name", "m.name"}, {"timestamp", "m.updated_us"}, {"last_updated_timestamp", "m.updated_us"}};
  LATHE_CHECK(check_limit(search.limit, kMostModelsPerPage));
  LATHE_TRY(const auto offset, tracking::parse_page_token(search.page_token));
  Where where;
  LATHE_CHECK(add_filter(where, search.filter, "m.name", "registered_model_tag", model_condition));
  LATHE_TRY(const auto order, order_of(search.order_by, kColumns, "order by", "{'name', 'timestamp'}", "m.name"));
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
  Where where;
  where.add("v.archived = 0");
  LATHE_CHECK(add_filter(where, search.filter, "v.model", "model_version_tag", version_condition));
  LATHE_TRY(const auto order,
            order_of(search.order_by, kColumns, "attribute",
                     "{'name', 'version_number', 'creation_timestamp', 'last_updated_timestamp'}",
                     search.order_by.empty() ? "v.updated_us DESC, v.model, v.version DESC"
                                             : "v.model, v.version DESC"));
  return read_page<Version>(c, "SELECT " LATHE_VERSION_COLUMNS " FROM model_version v", where, order, search, offset,
                            read_version);
}

}  // namespace lathe::registry
