#include "base/digest.h"
#include "base/hex.h"
#include "traces/span.h"

namespace lathe::traces {
namespace {

json::Object any_value(const json::Value& value);

json::Array pairs(const json::Object& members) {
  json::Array out;
  for (const auto& member : members)
    out.push_back(json::Object{{"key", member.key()}, {"value", any_value(member.value())}});
  return out;
}

json::Object any_value(const json::Value& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      break;
    case boost::json::kind::bool_:
      return {{"bool_value", value}};
    case boost::json::kind::int64:
      return {{"int_value", value}};
    case boost::json::kind::uint64:
      return {{"double_value", static_cast<double>(value.get_uint64())}};
    case boost::json::kind::double_:
      return {{"double_value", value}};
    case boost::json::kind::string:
      return {{"string_value", value}};
    case boost::json::kind::array: {
      json::Array values;
      for (const auto& item : value.get_array()) values.push_back(any_value(item));
      return {{"array_value", json::Object{{"values", std::move(values)}}}};
    }
    case boost::json::kind::object:
      return {{"kvlist_value", json::Object{{"values", pairs(value.get_object())}}}};
  }
  return {};
}

/// Attributes are kept as the text of their JSON.
json::Object read_back(const json::Object& dumped) {
  json::Object out;
  for (const auto& member : dumped) {
    auto value = json::parse(member.value().is_string() ? json::view(member.value().get_string()) : "");
    out[member.key()] = value ? std::move(*value) : member.value();
  }
  return out;
}

const json::Object& object_in(const json::Object& object, std::string_view key) {
  static const json::Object kNone;
  const auto* found = json::find(object, key);
  return found != nullptr && found->is_object() ? found->get_object() : kNone;
}

/// Calls `work` with each object of a list.
template <class Work>
void each(const json::Object& object, std::string_view key, Work work) {
  const auto* found = json::find(object, key);
  if (found == nullptr || !found->is_array()) return;
  for (const auto& item : found->get_array())
    if (item.is_object()) work(item.get_object());
}

/// "tr-<hex>" or "<hex>" as base64.
std::string id_of(const json::Object& link, std::string_view key) {
  const auto* found = json::find(link, key);
  auto text = found != nullptr && found->is_string() ? json::view(found->get_string()) : std::string_view{};
  if (text.starts_with("tr-")) text.remove_prefix(3);
  return base64_encode(from_hex(text).value_or(""));
}

}  // namespace

json::Object otlp_of(std::string_view content) {
  auto span = json::parse_object(content);
  if (!span) return {};
  json::Object out;
  for (const std::string_view key :
       {"trace_id", "span_id", "parent_span_id", "name", "start_time_unix_nano", "end_time_unix_nano", "status"})
    if (const auto* value = json::find(*span, key); value != nullptr) out[key] = *value;
  out["attributes"] = pairs(read_back(object_in(*span, "attributes")));
  json::Array events;
  each(*span, "events", [&](const json::Object& event) {
    auto one = event;
    one["attributes"] = pairs(object_in(event, "attributes"));
    events.push_back(std::move(one));
  });
  if (!events.empty()) out["events"] = std::move(events);
  json::Array links;
  each(*span, "links", [&](const json::Object& link) {
    links.push_back(json::Object{{"trace_id", id_of(link, "trace_id")},
                                 {"span_id", id_of(link, "span_id")},
                                 {"attributes", pairs(object_in(link, "attributes"))}});
  });
  if (!links.empty()) out["links"] = std::move(links);
  return out;
}

}  // namespace lathe::traces
