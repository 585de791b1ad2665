#include "infer/capture/records.h"

#include <algorithm>
#include <optional>

#include "base/digest.h"
#include "base/utf8.h"
#include "infer/protocols/tensor_json.h"
#include "json/json.h"

namespace lathe::infer {
namespace {

/// The rows that all tensors share; nullopt: they share none.
std::optional<std::size_t> shared_rows(std::span<const Tensor> tensors) {
  std::optional<std::size_t> rows;
  for (const auto& each : tensors) {
    if (each.shape.empty() || each.shape.front() < 0) return std::nullopt;
    const auto own = static_cast<std::size_t>(each.shape.front());
    if (rows && *rows != own) return std::nullopt;
    rows = own;
  }
  return rows;
}

/// The elements [from, from + count) as a tensor of this shape.
Tensor slice(const Tensor& tensor, std::size_t from, std::size_t count, Shape shape) {
  Tensor out{{}, tensor.type, std::move(shape), {}, {}};
  const auto at = [](const auto& list, std::size_t index) { return list.begin() + static_cast<std::ptrdiff_t>(index); };
  if (tensor.type == DataType::bytes) {
    for (auto i = from; i < from + count; ++i) out.texts.push_back(as_utf8(tensor.texts[i]));
    return out;
  }
  const auto size = size_of(tensor.type);
  out.data.assign(at(tensor.data, from * size), at(tensor.data, (from + count) * size));
  return out;
}

void append_member(std::string& out, std::string_view name, const Tensor& value) {
  if (out.back() != '{') out += ',';
  append_text(out, as_utf8(std::string(name)));
  out += ':';
  if (value.count() != 1 || value.shape.size() > 1 || (value.shape.size() == 1 && value.shape.front() != 1))
    return append_nested(out, value);
  const auto begin = out.size();
  append_flat(out, value);  // "[1]"
  out.pop_back();
  out.erase(begin, 1);
}

json::Value records_of(const json::Array& columns, const json::Array& rows) {
  json::Array out;
  for (const auto& row : rows) {
    if (!row.is_array() || row.get_array().size() != columns.size()) return rows;
    json::Object record;
    for (std::size_t i = 0; i < columns.size(); ++i)
      record[columns[i].is_string() ? json::view(columns[i].get_string()) : json::print(columns[i])] =
          row.get_array()[i];
    out.push_back(std::move(record));
  }
  return out;
}

/// A list of numbers or texts as records.
json::Value predictions_of(const json::Array& list) {
  json::Array out;
  for (const auto& each : list) {
    if (each.is_object()) return list;
    out.push_back(json::Object{{"predict", each}});
  }
  return out;
}

/// The records of a body, or nullopt where it has none that it names.
std::optional<json::Value> data_of(const json::Value& body) {
  if (!body.is_object()) return std::nullopt;
  const auto& object = body.get_object();
  for (const char* const key : {"dataframe_split", "input_data"}) {
    const auto* const frame = object.if_contains(key);
    if (frame == nullptr || !frame->is_object()) continue;
    const auto* const columns = frame->get_object().if_contains("columns");
    const auto* const data = frame->get_object().if_contains("data");
    if (columns != nullptr && data != nullptr && columns->is_array() && data->is_array())
      return records_of(columns->get_array(), data->get_array());
  }
  for (const char* const key : {"dataframe_records", "input_data"})
    if (const auto* const records = object.if_contains(key); records != nullptr && records->is_array()) return *records;
  if (const auto* const list = object.if_contains("predictions"); list != nullptr && list->is_array())
    return predictions_of(list->get_array());
  return std::nullopt;
}

/// JSON as it came, which keeps numbers as they were written, in one line: between values a line's end is but a space.
std::string in_one_line(std::string_view json) {
  std::string out(json);
  std::replace_if(
      out.begin(), out.end(), [](char each) { return each == '\n' || each == '\r'; }, ' ');
  return out;
}

}  // namespace

void append_records(std::string& out, std::span<const Tensor> tensors, const std::vector<std::string>& columns) {
  const auto rows = shared_rows(tensors);
  out += '[';
  for (std::size_t row = 0; row < rows.value_or(tensors.empty() ? 0 : 1); ++row) {
    out += row > 0 ? ",{" : "{";
    for (const auto& each : tensors) {
      if (!rows) {
        append_member(out, each.name, slice(each, 0, each.count(), each.shape));
        continue;
      }
      const auto width = each.count() / *rows;
      if (tensors.size() == 1 && each.shape.size() == 2 && width > 0 && columns.size() == width) {
        for (std::size_t i = 0; i < width; ++i) append_member(out, columns[i], slice(each, row * width + i, 1, {}));
        continue;
      }
      append_member(out, each.name, slice(each, row * width, width, Shape(each.shape.begin() + 1, each.shape.end())));
    }
    out += '}';
  }
  out += ']';
}

std::string body_members(std::string_view body) {
  if (const auto value = json::parse(body)) {
    const auto data = data_of(*value);
    return R"("datacontenttype":"application/json","data":)" + (data ? json::print(*data) : in_one_line(body));
  }
  if (!is_utf8(body))
    return R"("datacontenttype":"application/octet-stream","data_base64":")" + base64_encode(body) + '"';
  std::string out = R"("datacontenttype":"text/plain","data":)";
  append_text(out, body);
  return out;
}

}  // namespace lathe::infer
