#include <fmt/format.h>

#include "base/digest.h"
#include "base/hex.h"
#include "base/text.h"
#include "traces/span.h"

namespace lathe::traces {
namespace {

Error wrong(std::string_view field, std::string_view expected) {
  return {Code::invalid, fmt::format("\"{}\" of a span must be {}", field, expected), {}};
}

Result<std::string> id_of(const json::Object& span, std::string_view field) {
  LATHE_TRY(const auto text, json::get_string(span, field));
  auto out = from_hex(text.value_or(""));
  if (!out) return fail(wrong(field, "hex digits"));
  return std::move(*out);
}

Result<std::uint64_t> time_of(const json::Object& object, std::string_view field) {
  LATHE_TRY(const auto value, json::get_int(object, field));
  if (value.value_or(0) < 0) return fail(wrong(field, "nanoseconds since 1970"));
  return static_cast<std::uint64_t>(value.value_or(0));
}

Result<std::string> text_of(const json::Object& object, std::string_view field) {
  LATHE_TRY(auto text, json::get_string(object, field));
  return std::move(text).value_or("");
}

/// Calls `work` with each object of a list.
template <class Work>
Result<void> each(const json::Object& object, std::string_view field, Work work) {
  LATHE_TRY(const auto* list, json::get_array(object, field));
  if (list == nullptr) return {};
  for (const auto& item : *list) {
    if (!item.is_object()) return fail(wrong(field, "a list of objects"));
    LATHE_CHECK(work(item.get_object()));
  }
  return {};
}

class Reader {
 public:
  Result<std::vector<Span>> request(const json::Object& body) {
    LATHE_CHECK(each(body, "resourceSpans", [&](const json::Object& resource) {
      return each(resource, "scopeSpans", [&](const json::Object& scope) {
        return each(scope, "spans", [&](const json::Object& span) { return read(span); });
      });
    }));
    return std::move(spans_);
  }

 private:
  Result<void> read(const json::Object& span) {
    LATHE_CHECK(budget_.take_span());
    SentSpan out;
    LATHE_TRY(out.trace_id, id_of(span, "traceId"));
    LATHE_TRY(out.span_id, id_of(span, "spanId"));
    LATHE_TRY(out.parent_id, id_of(span, "parentSpanId"));
    LATHE_TRY(out.name, text_of(span, "name"));
    LATHE_TRY(out.start_ns, time_of(span, "startTimeUnixNano"));
    LATHE_TRY(out.end_ns, time_of(span, "endTimeUnixNano"));
    LATHE_TRY(out.attributes, pairs(span, "attributes"));
    LATHE_TRY(const auto* status, json::get_object(span, "status"));
    if (status != nullptr) {
      LATHE_TRY(const auto code, json::get_int(*status, "code"));
      LATHE_TRY(out.status_message, text_of(*status, "message"));
      out.status = code.value_or(0);
    }
    LATHE_CHECK(each(span, "events", [&](const json::Object& event) -> Result<void> {
      LATHE_CHECK(budget_.take_value());
      auto& made = out.events.emplace_back();
      LATHE_TRY(made.at_ns, time_of(event, "timeUnixNano"));
      LATHE_TRY(made.name, text_of(event, "name"));
      LATHE_TRY(made.attributes, pairs(event, "attributes"));
      return {};
    }));
    LATHE_CHECK(each(span, "links", [&](const json::Object& link) -> Result<void> {
      LATHE_CHECK(budget_.take_value());
      auto& made = out.links.emplace_back();
      LATHE_TRY(made.trace_id, id_of(link, "traceId"));
      LATHE_TRY(made.span_id, id_of(link, "spanId"));
      LATHE_TRY(made.attributes, pairs(link, "attributes"));
      return {};
    }));
    LATHE_TRY(auto made, make_span(out));
    spans_.push_back(std::move(made));
    return {};
  }

  /// A list of {"key", "value"}.
  Result<json::Object> pairs(const json::Object& object, std::string_view field) {
    json::Object out;
    LATHE_CHECK(each(object, field, [&](const json::Object& pair) -> Result<void> {
      LATHE_CHECK(budget_.take_value());
      LATHE_TRY(const auto key, text_of(pair, "key"));
      LATHE_TRY(const auto* value, json::get_object(pair, "value"));
      LATHE_TRY(auto read, value == nullptr ? Result<json::Value>(nullptr) : any_value(*value));
      out[key] = std::move(read);
      return {};
    }));
    return out;
  }

  /// {"stringValue": "a"}, {"intValue": "5"}, ...
  Result<json::Value> any_value(const json::Object& value) {
    for (const std::string_view plain : {"stringValue", "boolValue"})
      if (const auto* found = json::find(value, plain); found != nullptr) {
        if (plain == "boolValue" ? !found->is_bool() : !found->is_string())
          return fail(wrong(plain, plain == "boolValue" ? "true or false" : "a text"));
        return *found;
      }
    if (json::find(value, "intValue") != nullptr) {
      LATHE_TRY(const auto number, json::get_int(value, "intValue"));
      return json::Value(number.value_or(0));
    }
    if (json::find(value, "doubleValue") != nullptr) {
      LATHE_TRY(const auto number, json::get_double(value, "doubleValue"));
      return json::Value(number.value_or(0));
    }
    if (json::find(value, "bytesValue") != nullptr) {
      LATHE_TRY(auto text, text_of(value, "bytesValue"));
      return json::Value(boost::json::string_view(text));
    }
    LATHE_TRY(const auto* list, json::get_object(value, "arrayValue"));
    if (list != nullptr) {
      json::Array items;
      LATHE_CHECK(each(*list, "values", [&](const json::Object& item) -> Result<void> {
        LATHE_CHECK(budget_.take_value());
        LATHE_TRY(auto read, any_value(item));
        items.push_back(std::move(read));
        return {};
      }));
      return json::Value(std::move(items));
    }
    LATHE_TRY(const auto* members, json::get_object(value, "kvlistValue"));
    if (members == nullptr) return json::Value(nullptr);
    LATHE_TRY(auto object, pairs(*members, "values"));
    return json::Value(std::move(object));
  }

  Budget budget_;
  std::vector<Span> spans_;
};

}  // namespace

Result<std::vector<Span>> read_otlp_json(std::string_view body) {
  LATHE_TRY(const auto object, json::parse_object(body));
  return Reader().request(object);
}

}  // namespace lathe::traces
