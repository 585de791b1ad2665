#include "mlflow/message.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/utf8.h"
#include "json/hot.h"

namespace lathe::mlflow {
namespace {

constexpr std::string_view kSeeDocs = " See the API docs for more information about request parameters.";
constexpr std::size_t kShownLimit = 300;
const json::Object kNothing;

json::Object fields_of_query(const http::Call& call) {
  json::Object out;
  for (const auto& [name, value] : call.queries) {
    if (auto* before = out.if_contains(name)) {
      if (!before->is_array()) *before = json::Array{*before};
      before->get_array().emplace_back(boost::json::string_view(value));
    } else {
      out[name] = boost::json::string_view(value);
    }
  }
  return out;
}

Result<json::Object> fields_of_body(const http::Call& call) {
  if (trim(call.body).empty() && call.method != http::Method::post) return json::Object{};
  const auto header = call.header("content-type");
  if (!header) return fail(Code::invalid, "Bad Request. Content-Type header is missing.");
  // Also the guard against forged cross-site posts: a browser cannot send this type without asking first.
  if (to_lower(trim(header->substr(0, header->find(';')))) != "application/json")
    return fail(Code::invalid, "Bad Request. Content-Type must be one of ['application/json'].");
  if (trim(call.body).empty()) return json::Object{};
  LATHE_TRY(auto value, json::parse_to_read(call.body));
  if (value.is_string()) {  // old clients send their JSON as a JSON string
    const std::string inner(json::view(value.get_string()));
    LATHE_TRY(value, json::parse(inner));
  }
  if (value.is_null()) return json::Object{};
  if (!value.is_object())
    return fail(Code::invalid, fmt::format("the body must be a JSON object, not {}", json::kind_name(value)));
  return std::move(value.get_object());
}

}  // namespace

Result<Message> Message::read(const http::Call& call) {
  const bool asks = call.method == http::Method::get || call.method == http::Method::head;
  if (asks && (!call.queries.empty() || trim(call.body).empty())) return Message(fields_of_query(call));
  LATHE_TRY(auto fields, fields_of_body(call));
  Message out(std::move(fields));
  out.size_bytes_ = call.body.size();
  return out;
}

std::string Message::path() const {
  if (name_.empty()) return {};
  return index_ ? fmt::format("{}{}[{}].", outer_path_, name_, *index_) : fmt::format("{}{}.", outer_path_, name_);
}

Error Message::missing(std::string_view name) const {
  return {Code::invalid, fmt::format("Missing value for required parameter '{}{}'.{}", path(), name, kSeeDocs), {}};
}

Error Message::wrong(std::string_view name, const json::Value& value, std::string_view expected) const {
  auto shown = json::print(value);
  if (shown.size() > kShownLimit) shown = shown.substr(0, kShownLimit) + "...";
  return {Code::invalid,
          fmt::format("Invalid value {} for parameter '{}{}' supplied. It must be {}.{}", printable(shown), path(),
                      name, expected, kSeeDocs),
          {}};
}

Result<std::string> Message::text(std::string_view name) const {
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return std::string{};
  if (value->is_int64() && name == "experiment_id") return fmt::to_string(value->get_int64());
  if (!value->is_string()) return fail(wrong(name, *value, "a string"));
  return checked(name, *value);
}

/// A text that the store can hold: a query may be anything, and JSON may hold NUL.
Result<std::string> Message::checked(std::string_view name, const json::Value& value) const {
  const auto text = json::view(value.get_string());
  if (text.find('\0') != std::string_view::npos || !is_utf8(text)) return fail(wrong(name, value, "UTF-8 without NUL"));
  return std::string(text);
}

Result<std::string> Message::need(std::string_view name) const {
  LATHE_TRY(auto value, text(name));
  if (value.empty()) return fail(missing(name));
  return value;
}

Result<std::string> Message::run_id() const {
  if (!has("run_id") && has("run_uuid")) return need("run_uuid");
  return need("run_id");
}

Result<std::optional<std::int64_t>> Message::integer(std::string_view name) const {
  auto value = json::get_int(*fields_, name);
  if (!value) return fail(wrong(name, *json::find(*fields_, name), "a whole number"));
  return value;
}

Result<std::optional<double>> Message::number(std::string_view name) const {
  auto value = json::get_double(*fields_, name);
  if (!value) return fail(wrong(name, *json::find(*fields_, name), "a number"));
  return value;
}

Result<bool> Message::flag(std::string_view name, bool absent) const {
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return absent;
  if (value->is_bool()) return value->get_bool();
  const auto word = value->is_string() ? to_lower(json::view(value->get_string())) : "";  // in a query
  if (word == "true") return true;
  if (word == "false") return false;
  return fail(wrong(name, *value, "true or false"));
}

Result<std::vector<std::string>> Message::texts(std::string_view name) const {
  std::vector<std::string> out;
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return out;
  if (value->is_string()) {  // in a query, a list of one looks so
    LATHE_TRY(auto text, checked(name, *value));
    out.push_back(std::move(text));
    return out;
  }
  if (!value->is_array()) return fail(wrong(name, *value, "a list of strings"));
  for (const auto& item : value->get_array()) {
    if (item.is_int64() && name == "experiment_ids") {
      out.push_back(fmt::to_string(item.get_int64()));
      continue;
    }
    if (!item.is_string()) return fail(wrong(name, *value, "a list of strings"));
    LATHE_TRY(auto text, checked(name, item));
    out.push_back(std::move(text));
  }
  return out;
}

Result<std::optional<std::size_t>> Message::choice(std::string_view name,
                                                   std::initializer_list<std::string_view> names) const {
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return std::nullopt;
  const auto refuse = [&] {
    return fail(wrong(name, *value, fmt::format("one of {}", fmt::join(names.begin(), names.end(), ", "))));
  };
  if (const auto* text = value->if_string(); text != nullptr) {
    if (text->empty()) return std::nullopt;
    const auto found = std::find(names.begin(), names.end(), json::view(*text));
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin()) + 1;
  }
  const auto number = json::get_int(*fields_, name);
  if (!number || !*number || **number < 1 || **number > static_cast<std::int64_t>(names.size())) return refuse();
  return static_cast<std::size_t>(**number);
}

Result<void> Message::check_there(std::string_view name) const {
  if (!has(name)) return fail(missing(name));
  return {};
}

Result<std::vector<Message>> Message::list(std::string_view name) const {
  std::vector<Message> out;
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return out;
  if (!value->is_array()) return fail(wrong(name, *value, "a list of objects"));
  out.reserve(value->get_array().size());
  for (const auto& item : value->get_array()) {
    if (!item.is_object()) return fail(wrong(name, *value, "a list of objects"));
    out.push_back(Message(&item.get_object(), *this, name, out.size()));
  }
  return out;
}

Result<Message> Message::object(std::string_view name) const {
  const auto* value = json::find(*fields_, name);
  if (value == nullptr) return Message(&kNothing, *this, name);
  if (!value->is_object()) return fail(wrong(name, *value, "an object"));
  return Message(&value->get_object(), *this, name);
}

Result<std::vector<Pair>> Message::pairs(std::string_view name) const {
  LATHE_TRY(const auto items, list(name));
  std::vector<Pair> out;
  for (const auto& item : items) {
    LATHE_TRY(auto key, item.need("key"));
    LATHE_TRY(auto value, item.text("value"));
    out.push_back({std::move(key), std::move(value)});
  }
  return out;
}

}  // namespace lathe::mlflow
