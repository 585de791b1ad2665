#include "infer/log_settings.h"

#include <optional>

#include "base/log_level.h"
#include "base/text.h"
#include "infer/grpc/wire.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

using log::Level;

struct Wanted {
  std::optional<bool> info;
  std::optional<bool> warning;
  std::optional<std::int64_t> verbose;
};

/// A setting's value, of whichever type came.
struct Value {
  std::optional<bool> truth;
  std::optional<std::int64_t> number;
  std::optional<std::string> text;
};

Result<void> take(const std::string& name, const Value& value, Wanted& wanted) {
  const auto wrong = [&](const char* why) { return fail(Code::invalid, name + ": " + why); };
  if (name == "log_info" || name == "log_warning" || name == "log_error") {
    if (!value.truth) return wrong("must be true or false");
    if (name == "log_info") wanted.info = value.truth;
    if (name == "log_warning") wanted.warning = value.truth;
    if (name == "log_error" && !*value.truth) return wrong("errors are always written");
    return {};
  }
  if (name == "log_verbose_level") {
    if (!value.number || *value.number < 0) return wrong("must be a whole number from 0");
    wanted.verbose = value.number;
    return {};
  }
  if (name == "log_file")
    return value.text && value.text->empty() ? Result<void>()
                                             : wrong("the log goes where the server keeps it: leave it empty");
  if (name == "log_format")
    return value.text && *value.text == "ISO8601" ? Result<void>() : wrong("the log is written as ISO8601 alone");
  return fail(Code::invalid, "there is no setting " + printable(name) +
                                 " of the log: log_info, log_warning, log_error and log_verbose_level can be changed");
}

void apply(const Wanted& wanted) {
  const auto now = log::level();
  const bool verbose = wanted.verbose ? *wanted.verbose > 0 : now == Level::debug;
  const bool info = wanted.info.value_or(now <= Level::info);
  const bool warning = wanted.warning.value_or(now <= Level::warn);
  log::set_level(verbose ? Level::debug : info ? Level::info : warning ? Level::warn : Level::error);
}

/// Of a SettingValue.
Value read_value(std::string_view message) {
  Value out;
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field)) {
    if (field.number == 1) out.truth = field.flag();
    if (field.number == 2) out.number = field.integer();
    if (field.number == 3) out.text = std::string(field.bytes);
  }
  return out;
}

void put_setting(std::string& out, std::string_view name, std::uint32_t field, std::uint64_t value) {
  std::string setting;
  wire::put_tag(setting, field, wire::Type::varint);
  wire::put_varint(setting, value);
  wire::put_entry(out, 1, name, setting);
}

void put_setting(std::string& out, std::string_view name, std::string_view text) {
  std::string setting;
  wire::put_bytes(setting, 3, text);
  wire::put_entry(out, 1, name, setting);
}

}  // namespace

Result<void> change_log(std::string_view text) {
  if (trim(text).empty()) return {};
  LATHE_TRY(const auto document, json::parse_object(text));
  Wanted wanted;
  for (const auto& member : document) {
    const auto& given = member.value();
    Value value;
    if (given.is_bool()) value.truth = given.get_bool();
    if (given.is_int64()) value.number = given.get_int64();
    if (given.is_string()) value.text = std::string(json::view(given.get_string()));
    LATHE_CHECK(take(std::string(member.key().data(), member.key().size()), value, wanted));
  }
  apply(wanted);
  return {};
}

Result<void> change_log_by_message(std::string_view message) {
  Wanted wanted;
  wire::Reader reader(message);
  wire::Field field;
  while (reader.next(field)) {
    if (field.number != 1) continue;
    std::string name;
    Value value;
    wire::Reader entry(field.bytes);
    wire::Field part;
    while (entry.next(part)) {
      if (part.number == 1) name = part.bytes;
      if (part.number == 2) value = read_value(part.bytes);
    }
    if (!entry.good()) return fail(Code::invalid, "a setting is not a message of the protocol");
    LATHE_CHECK(take(name, value, wanted));
  }
  if (!reader.good()) return fail(Code::invalid, "the request is not a message of the protocol");
  apply(wanted);
  return {};
}

std::string log_json() {
  const auto now = log::level();
  return json::print(json::Object{{"log_file", ""},
                                  {"log_info", now <= Level::info},
                                  {"log_warning", now <= Level::warn},
                                  {"log_error", true},
                                  {"log_verbose_level", now == Level::debug ? 1 : 0},
                                  {"log_format", "ISO8601"}});
}

std::string log_message() {
  const auto now = log::level();
  std::string out;
  put_setting(out, "log_file", "");
  put_setting(out, "log_info", 1, now <= Level::info ? 1 : 0);
  put_setting(out, "log_warning", 1, now <= Level::warn ? 1 : 0);
  put_setting(out, "log_error", 1, 1);
  put_setting(out, "log_verbose_level", 2, now == Level::debug ? 1 : 0);
  put_setting(out, "log_format", "ISO8601");
  return out;
}

}  // namespace lathe::infer
