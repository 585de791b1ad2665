#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/text.h"
#include "traces/rows.h"
#include "tracking/filter.h"

namespace lathe::traces {
namespace {

using tracking::Comparison;
using tracking::exists;
using tracking::exists_not;
using tracking::Literal;
using tracking::Op;
using tracking::Ops;
using tracking::Where;

constexpr std::size_t kMostExperiments = 10'000;
constexpr std::size_t kContentTextLimit = 250;
constexpr std::size_t kContentPatternLimit = 100;
constexpr Ops kContentOps = {Op::like, Op::ilike};
constexpr Ops kAssessmentOps = {Op::ne, Op::eq,   Op::gt,    Op::ge,      Op::lt,
                                Op::le, Op::like, Op::ilike, Op::is_null, Op::is_not_null};

enum class Entity : std::uint8_t { tag, metadata, attribute, span, feedback, expectation };

Result<Entity> entity_of(const std::string& name) {
  static constexpr std::pair<std::string_view, Entity> kNames[] = {{"", Entity::attribute},
                                                                   {"attribute", Entity::attribute},
                                                                   {"trace", Entity::attribute},
                                                                   {"attributes", Entity::attribute},
                                                                   {"tag", Entity::tag},
                                                                   {"tags", Entity::tag},
                                                                   {"span", Entity::span},
                                                                   {"request_metadata", Entity::metadata},
                                                                   {"metadata", Entity::metadata},
                                                                   {"feedback", Entity::feedback},
                                                                   {"expectation", Entity::expectation}};
  for (const auto& [known, entity] : kNames)
    if (known == name) return entity;
  return fail(
      Code::invalid,
      fmt::format("Invalid entity type '{}'. Valid values are {{'tag', 'request_metadata', 'attribute', 'span', "
                  "'feedback', 'expectation', 'tags', 'attributes', 'trace', 'metadata'}}",
                  printable(name)));
}

struct Attribute {
  std::string_view name;
  std::string_view column;
  bool number;
};
constexpr std::string_view kEnd = "(t.request_ms + COALESCE(t.duration_ms, 0))";
constexpr Attribute kAttributes[] = {{"request_id", "t.id", false},
                                     {"timestamp", "t.request_ms", true},
                                     {"timestamp_ms", "t.request_ms", true},
                                     {"execution_time", "t.duration_ms", true},
                                     {"execution_time_ms", "t.duration_ms", true},
                                     {"end_time", kEnd, true},
                                     {"end_time_ms", kEnd, true},
                                     {"status", "t.state", false},
                                     {"client_request_id", "t.client_request_id", false}};
// These stand for a tag, for metadata and links, and for what spans hold.
constexpr std::string_view kName = "name";
constexpr std::string_view kRun = "run_id";
constexpr std::string_view kText = "text";

const Attribute* find_attribute(std::string_view key) {
  const auto found =
      std::find_if(std::begin(kAttributes), std::end(kAttributes), [&](const auto& a) { return a.name == key; });
  return found == std::end(kAttributes) ? nullptr : &*found;
}

Error bad_attribute(const std::string& key) {
  return {
      Code::invalid,
      fmt::format("Invalid attribute key '{}' specified. Valid keys are '{{'request_id', 'timestamp', 'timestamp_ms', "
                  "'execution_time', 'execution_time_ms', 'end_time', 'end_time_ms', 'status', 'client_request_id', "
                  "'name', 'run_id', 'text'}}'",
                  printable(key)),
      {}};
}

/// RLIKE is left out: what a pattern costs to match could not be bounded.
Result<void> check_op(const Comparison& comparison, Ops allowed) {
  return tracking::check_op(
      comparison, allowed,
      fmt::format("Invalid comparator '{}' not one of '{}'", comparison.op_text, tracking::op_names(allowed)));
}

Result<std::string> in_pairs(Where& where, std::string_view table, const Comparison& comparison, std::string_view what,
                             Ops allowed = tracking::kTextOrNullOps) {
  LATHE_CHECK(check_op(comparison, allowed));
  return tracking::pair_condition(where, fmt::format("FROM {} x WHERE x.trace = t.number", table), comparison, what);
}

/// Traces made in the run, and those linked to it.
Result<std::string> run_condition(Where& where, Comparison comparison) {
  comparison.key = kSourceRun;
  LATHE_TRY(const auto made, in_pairs(where, "trace_metadata", comparison, "run_id", tracking::kTextOrListOps));
  if (comparison.op != Op::eq && comparison.op != Op::in) return made;
  LATHE_TRY(const auto linked, text_condition(where, "r.id", comparison, "Expected a quoted string value for run_id"));
  return fmt::format(
      "({} OR EXISTS (SELECT 1 FROM trace_run x JOIN run r ON r.number = x.run WHERE x.trace = t.number AND {}))", made,
      linked);
}

/// "%a%b%" -> {"a", "b"}: texts that follow each other, of which the first stands directly behind `before`.
/// nullopt: the pattern says more than that.
std::optional<std::vector<std::string>> texts_of(const std::string& before, std::string_view pattern) {
  const bool open = pattern.starts_with('%') && pattern.ends_with('%');
  if ((before.empty() && !open) || pattern.find('_') != std::string_view::npos) return std::nullopt;
  std::vector<std::string> out;
  if (!before.empty()) out.push_back(before + std::string(pattern.substr(0, pattern.find('%'))));
  if (!before.empty()) pattern.remove_prefix(std::min(pattern.find('%'), pattern.size()));
  for (const auto part : split(pattern, '%'))
    if (!part.empty()) out.emplace_back(part);
  return out;
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char byte) { return (byte & 0xc0) != 0x80; }));
}

/// What a span holds, behind the text `before` where that is given, as MLflow has it: "%" before "%". Spans may be
/// large, and LIKE costs their length times the pattern's where a text repeats itself. The common patterns are looked
/// for as texts, which costs a fiftieth of that; others may not be long.
Result<std::string> content_condition(Where& where, Comparison comparison, const std::string& before = {}) {
  LATHE_CHECK(check_op(comparison, kContentOps));
  auto& pattern = comparison.value.text;
  const auto texts = comparison.value.kind == Literal::Kind::text ? texts_of(before, pattern) : std::nullopt;
  const bool plain = texts && !texts->empty() && texts->size() <= 2;
  if (!before.empty()) pattern = fmt::format("%{}{}%", before, pattern);
  if (pattern.size() > (plain ? kContentTextLimit : kContentPatternLimit))
    return fail(Code::invalid,
                fmt::format("a pattern for what spans hold may be at most {} bytes long, and {} where it is "
                            "not of the form %text% or %text%text%",
                            kContentTextLimit, kContentPatternLimit));
  if (!plain) return text_condition(where, "x.content", comparison, "Expected a quoted string value for span");
  const bool folded = comparison.op == Op::ilike;
  const std::string content = folded ? "LOWER(x.content)" : "x.content";
  const auto bound = [&](const std::string& text) { return where.bind(folded ? to_lower(text) : text); };
  const auto first = fmt::format("strpos({}, {})", content, bound(texts->front()));
  if (texts->size() == 1) return first + " > 0";
  return fmt::format("CASE {0} WHEN 0 THEN FALSE ELSE strpos(substr({1}, {0} + {2}), {3}) > 0 END", first, content,
                     characters(texts->front()), bound(texts->back()));
}

Result<std::string> span_condition(Where& where, Comparison comparison) {
  constexpr std::string_view kAttribute = "attributes.";
  std::string condition;
  if (comparison.key.starts_with(kAttribute) && comparison.key.size() > kAttribute.size()) {
    const auto name = fmt::format("\"{}\"", comparison.key.substr(kAttribute.size()));
    LATHE_TRY(condition, content_condition(where, comparison, name));
  } else if (comparison.key == "content") {
    LATHE_TRY(condition, content_condition(where, comparison));
  } else if (comparison.key == "name" || comparison.key == "type" || comparison.key == "status") {
    LATHE_CHECK(check_op(comparison, tracking::kTextOrListOps));
    LATHE_TRY(condition,
              text_condition(where, "x." + comparison.key, comparison, "Expected a quoted string value for span"));
  } else {
    return fail(Code::invalid,
                fmt::format("Invalid span attribute '{}'. Supported attributes: content, name, status, type, "
                            "attributes.<attribute_name>.",
                            printable(comparison.key)));
  }
  return exists("FROM trace_span x WHERE x.trace = t.number AND " + condition);
}

Result<std::string> assessment_condition(Where& where, const Comparison& comparison, std::string_view kind) {
  LATHE_CHECK(check_op(comparison, kAssessmentOps));
  const auto rows = fmt::format(
      "FROM trace_assessment x WHERE x.trace = t.number AND x.kind = '{}' AND x.valid = 1 "
      "AND x.name = {}",
      kind, where.bind(comparison.key));
  if (comparison.op == Op::is_null) return exists_not(rows);
  if (comparison.op == Op::is_not_null) return exists(rows);
  const bool number = comparison.value.kind == Literal::Kind::number;
  const bool ordered =
      comparison.op == Op::gt || comparison.op == Op::ge || comparison.op == Op::lt || comparison.op == Op::le;
  if (number || ordered) {
    LATHE_CHECK(check_op(comparison, tracking::kNumberOps));
    LATHE_TRY(const auto condition, number_condition(where, "x.value_number", comparison,
                                                     fmt::format("Expected a numeric value for {}", kind)));
    return exists(fmt::format("{} AND {}", rows, condition));
  }
  LATHE_TRY(const auto condition, text_condition(where, "x.value_text", comparison,
                                                 fmt::format("Expected a quoted string value for {}", kind)));
  return exists(fmt::format("{} AND {}", rows, condition));
}

Result<std::string> attribute_condition(Where& where, Comparison comparison) {
  if (comparison.key == kName) {
    comparison.key = "mlflow.traceName";
    return in_pairs(where, "trace_tag", comparison, "name", tracking::kTextOrListOps);
  }
  if (comparison.key == kRun) return run_condition(where, std::move(comparison));
  if (comparison.key == kText) {
    comparison.key = "content";
    return span_condition(where, std::move(comparison));
  }
  const auto* attribute = find_attribute(comparison.key);
  if (attribute == nullptr) return fail(bad_attribute(comparison.key));
  const std::string column(attribute->column);
  if (attribute->number) {
    LATHE_CHECK(check_op(comparison, tracking::kNumberOps));
    return number_condition(where, column, comparison,
                            "Expected numeric value type for numeric attribute: " + comparison.key);
  }
  if (comparison.value.kind == Literal::Kind::number)
    return fail(Code::invalid,
                "Only the '{'timestamp_ms', 'execution_time_ms', 'end_time_ms'}' attributes support comparison "
                "with numeric values.");
  LATHE_CHECK(check_op(comparison, tracking::kTextOrListOps));
  return text_condition(where, column, comparison,
                        "Expected a quoted string value or a list of quoted string values for attributes");
}

Result<std::string> condition_of(Where& where, const Comparison& comparison) {
  LATHE_TRY(const auto entity, entity_of(comparison.entity));
  switch (entity) {
    case Entity::tag:
      return in_pairs(where, "trace_tag", comparison, "tag");
    case Entity::metadata:
      if (comparison.key == kSourceRun && comparison.op == Op::eq) return run_condition(where, comparison);
      return in_pairs(where, "trace_metadata", comparison, "request_metadata");
    case Entity::span:
      return span_condition(where, comparison);
    case Entity::feedback:
      return assessment_condition(where, comparison, "feedback");
    case Entity::expectation:
      return assessment_condition(where, comparison, "expectation");
    case Entity::attribute:
      break;
  }
  return attribute_condition(where, comparison);
}

struct Order {
  std::string joins;
  std::string terms;
};

/// Traces without the field come last, whichever the direction.
Result<Order> order_of(Where& where, const std::vector<std::string>& order_by) {
  Order out;
  std::set<std::string> seen;
  LATHE_TRY(const auto terms, tracking::parse_orders(order_by));
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const auto& term = terms[i];
    LATHE_TRY(const auto entity, entity_of(term.entity));
    std::string column;
    const bool attribute = entity == Entity::attribute;
    const bool tag = entity == Entity::tag || (attribute && term.key == kName);
    if (tag || entity == Entity::metadata || (attribute && term.key == kRun)) {
      const auto key = !attribute ? term.key : tag ? "mlflow.traceName" : std::string(kSourceRun);
      column = fmt::format("o{}.value", i);
      if (!seen.insert(fmt::format("{}.{}", tag, key)).second) return fail(tracking::repeated_order(order_by));
      out.joins += fmt::format(" LEFT JOIN {0} o{1} ON o{1}.trace = t.number AND o{1}.key = {2}",
                               tag ? "trace_tag" : "trace_metadata", i, where.bind(key));
    } else if (attribute) {
      const auto* found = find_attribute(term.key);
      if (found == nullptr && term.key != "experiment_id") return fail(bad_attribute(term.key));
      column = found == nullptr ? "t.experiment_id" : std::string(found->column);
      if (!seen.insert(column).second) return fail(tracking::repeated_order(order_by));
    } else {
      return fail(Code::invalid, fmt::format("Invalid identifier type '{}'", printable(term.entity)));
    }
    out.terms +=
        fmt::format("CASE WHEN {0} IS NULL THEN 1 ELSE 0 END, {0} {1}, ", column, term.ascending ? "ASC" : "DESC");
  }
  out.terms += "t.request_ms DESC, t.id";
  return out;
}

}  // namespace

Result<tracking::Page<Trace>> search_traces(db::Connection& c, const TraceSearch& search) {
  LATHE_CHECK(tracking::check_page_size(search.limit, kMostTracesPerPage));
  if (search.experiments.size() > kMostExperiments)
    return fail(Code::invalid, fmt::format("a search may name at most {} experiments", kMostExperiments));
  LATHE_TRY(const auto offset, tracking::parse_page_token(search.page_token));
  LATHE_TRY(const auto filter, tracking::parse_filter(search.filter));
  Where where;
  std::string experiments;
  for (const auto id : search.experiments) experiments += (experiments.empty() ? "" : ", ") + where.bind(id);
  where.add(fmt::format("t.experiment_id IN ({})", experiments.empty() ? "NULL" : experiments));
  LATHE_TRY(const auto order, order_of(where, search.order_by));
  for (const auto& comparison : filter) {
    LATHE_TRY(const auto condition, condition_of(where, comparison));
    where.add(condition);
  }
  const auto sql =
      fmt::format("SELECT " LATHE_TRACE_COLUMNS " FROM trace t{} WHERE {} ORDER BY {} LIMIT {} OFFSET {}", order.joins,
                  where.sql(), order.terms, where.bind(static_cast<std::int64_t>(search.limit + 1)),
                  where.bind(static_cast<std::int64_t>(offset)));
  tracking::Page<Trace> page;
  LATHE_CHECK(c.run(sql, where.params(), [&](const db::Row& row) { page.items.push_back(read_trace(row)); }));
  if (page.items.size() > search.limit) {
    page.items.pop_back();
    page.next = tracking::make_page_token(offset + search.limit);
  }
  for (auto& trace : page.items) {
    LATHE_TRY(trace, load_details(c, std::move(trace)));
  }
  return page;
}

}  // namespace lathe::traces
