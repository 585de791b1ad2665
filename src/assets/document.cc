#include <algorithm>

#include "assets/assets.h"
#include "base/text.h"

namespace lathe::assets {
namespace {

json::Value sorted(const json::Value& value) {
  if (const auto* array = value.if_array()) {
    json::Array out;
    for (const auto& item : *array) out.push_back(sorted(item));
    return out;
  }
  const auto* object = value.if_object();
  if (object == nullptr) return value;
  std::vector<std::string> keys;
  for (const auto& member : *object) keys.emplace_back(member.key().data(), member.key().size());
  std::sort(keys.begin(), keys.end());
  json::Object out;
  for (const auto& key : keys) out[key] = sorted(object->at(key));
  return out;
}

}  // namespace

std::string canonical_json(const json::Value& value) { return json::print(sorted(value)); }

Result<std::map<std::string, std::string>> read_tags(const json::Object& document) {
  LATHE_TRY(const auto* tags, json::get_object(document, "tags"));
  std::map<std::string, std::string> out;
  if (tags == nullptr) return out;
  for (const auto& member : *tags) {
    const std::string key(member.key().data(), member.key().size());
    const auto& value = member.value();
    if (value.is_object() || value.is_array())
      return fail(Code::invalid, "tags." + key + ": must be a text or a number, not " + std::string(json::kind_name(value)));
    out[key] = value.is_string() ? std::string(json::view(value.get_string())) : value.is_null() ? "" : json::print(value);
  }
  return out;
}

Result<void> check_fields(const json::Object& document, const std::vector<std::string>& known,
                          const std::vector<IgnoredField>& ignored, json::Report& report) {
  for (const auto& member : document) {
    const std::string key(member.key().data(), member.key().size());
    if (key == "$schema" || std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto passed = std::find_if(ignored.begin(), ignored.end(), [&](const auto& field) { return field.name == key; });
    if (passed == ignored.end()) return fail(Code::invalid, printable(key) + ": " + unknown_name("field", key, known));
    report.push_back({key, "ignored", std::string(passed->why)});
  }
  return {};
}

}  // namespace lathe::assets
