#include "infer/protocols/tensor_json.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "infer/protocols/number_list.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostDepth = 16;

std::string kind_of(ondemand::value value) {
  ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS) return "something that is not JSON";
  switch (type) {
    case ondemand::json_type::array:
      return "a list";
    case ondemand::json_type::object:
      return "an object";
    case ondemand::json_type::number:
      return "the number " + std::string(value.raw_json_token().substr(0, 40));
    case ondemand::json_type::string:
      return "a text";
    case ondemand::json_type::boolean:
      return "true or false";
    default:
      return "null";
  }
}

bool is_list(ondemand::value value) {
  ondemand::json_type type{};
  return value.type().get(type) == simdjson::SUCCESS && type == ondemand::json_type::array;
}

/// Reads the elements of one tensor in their order, at a place that moves on.
class ElementReader {
 public:
  ElementReader(Tensor& tensor, std::size_t count) : tensor_(tensor), count_(count) {}

  Result<void> read(ondemand::value list) {
    bool nested = false;
    std::size_t i = 0;
    LATHE_TRY(ondemand::array items, as_array(list));
    if (!read_usual(list, items)) {
      for (auto item : items) {
        ondemand::value value;
        if (const auto error = item.get(value)) return fail(Code::invalid, where() + json_trouble(error));
        if (i++ == 0) nested = is_list(value);
        LATHE_CHECK(nested ? read_level(value, 1) : read_one(value));
      }
    }
    if (nested && !tensor_.shape.empty() && static_cast<std::int64_t>(i) != tensor_.shape[0]) return wrong_length(0, i);
    if (at_ != count_)
      return fail(Code::invalid, where() + "expected " + std::to_string(count_) + " elements for shape " +
                                     print(tensor_.shape) + ", got " + std::to_string(at_));
    return {};
  }

 private:
  Result<void> read_level(ondemand::value list, std::size_t level) {
    if (level >= tensor_.shape.size())
      return fail(Code::invalid,
                  where() + "expected data of shape " + print(tensor_.shape) + " or flat, got deeper lists");
    const bool last = level + 1 == tensor_.shape.size();
    const auto before = at_;
    LATHE_TRY(ondemand::array items, as_array(list));
    if (last && read_usual(list, items)) {
      const auto count = at_ - before;
      if (static_cast<std::int64_t>(count) != tensor_.shape[level]) return wrong_length(level, count);
      return {};
    }
    std::size_t i = 0;
    for (auto item : items) {
      ondemand::value value;
      if (const auto error = item.get(value)) return fail(Code::invalid, where() + json_trouble(error));
      ++i;
      LATHE_CHECK(last ? read_one(value) : read_level(value, level + 1));
    }
    if (static_cast<std::int64_t>(i) != tensor_.shape[level]) return wrong_length(level, i);
    return {};
  }

  tl::unexpected<Error> wrong_length(std::size_t level, std::size_t got) const {
    return fail(Code::invalid, where() + "expected " + std::to_string(tensor_.shape[level]) + " items at depth " +
                                   std::to_string(level + 1) + " of the data for shape " + print(tensor_.shape) +
                                   ", got " + std::to_string(got));
  }

  Result<ondemand::array> as_array(ondemand::value value) const {
    ondemand::array items;
    if (!is_list(value) || value.get_array().get(items) != simdjson::SUCCESS)
      return fail(Code::invalid, where() + "expected a list, got " + kind_of(value));
    return items;
  }

  /// What most lists are, on the shortest way: floats, and nothing else. False: `items`, which are the list's, are
  /// still to be read.
  bool read_usual(ondemand::value list, ondemand::array& items) {
    if (tensor_.type != DataType::fp32) return false;
    const auto token = list.raw_json_token();
    if (token.data()[token.size()] == '[') return false;  // the next token: a list of lists
    std::string_view text;
    if (items.raw_json().get(text) == simdjson::SUCCESS) {  // which finds the list's end, so that it has one
      if (const auto count = read_floats(text.data() + 1, tensor_.as<float>() + at_, count_ - at_)) {
        at_ += *count;
        return true;
      }
    }
    (void)items.reset();
    return false;
  }

  Result<void> read_one(ondemand::value value) {
    if (at_ == count_)
      return fail(Code::invalid, where() + "expected " + std::to_string(count_) + " elements for shape " +
                                     print(tensor_.shape) + ", got more");
    bool good = false;
    switch (tensor_.type) {
      case DataType::fp32:
        good = read_float(value);
        break;
      case DataType::bytes:
        good = read_text(value);
        break;
      case DataType::fp64:
      case DataType::fp16:
      case DataType::bf16:
        good = read_other_float(value);
        break;
      case DataType::boolean:
        good = read_bool(value);
        break;
      case DataType::uint64: {
        std::uint64_t number = 0;
        good = value.get_uint64().get(number) == simdjson::SUCCESS;
        if (good) tensor_.as<std::uint64_t>()[at_] = number;
        break;
      }
      default:
        good = read_integer(value);
    }
    if (!good)
      return fail(Code::invalid, where() + "expected " + std::string(name_of(tensor_.type)) + " at element " +
                                     std::to_string(at_) + ", got " + kind_of(value));
    ++at_;
    return {};
  }

  static bool read_double(ondemand::value value, double& number) {
    if (value.get_double().get(number) == simdjson::SUCCESS) return true;
    number = std::numeric_limits<double>::quiet_NaN();
    return is_null(value);
  }

  bool read_float(ondemand::value value) {
    double number = 0;
    if (!read_double(value, number) || std::abs(number) > static_cast<double>(std::numeric_limits<float>::max()))
      return false;
    tensor_.as<float>()[at_] = static_cast<float>(number);
    return true;
  }

  bool read_other_float(ondemand::value value) {
    double number = 0;
    if (!read_double(value, number)) return false;
    if (tensor_.type == DataType::fp64) {
      tensor_.as<double>()[at_] = number;
      return true;
    }
    if (std::abs(number) > static_cast<double>(std::numeric_limits<float>::max())) return false;
    const auto single = static_cast<float>(number);
    const bool half = tensor_.type == DataType::fp16;
    if (half ? std::abs(number) >= 65520 : std::isinf(bfloat_to_float(float_to_bfloat(single)))) return false;
    tensor_.as<std::uint16_t>()[at_] = half ? float_to_half(single) : float_to_bfloat(single);
    return true;
  }

  bool read_bool(ondemand::value value) {
    bool truth = false;
    std::int64_t number = 0;
    if (value.get_bool().get(truth) != simdjson::SUCCESS) {
      if (value.get_int64().get(number) != simdjson::SUCCESS || number < 0 || number > 1) return false;
      truth = number == 1;
    }
    tensor_.data[at_] = truth ? 1 : 0;
    return true;
  }

  bool read_text(ondemand::value value) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return false;
    tensor_.texts[at_] = text;
    return true;
  }

  bool read_integer(ondemand::value value) {
    std::int64_t number = 0;
    if (value.get_int64().get(number) != simdjson::SUCCESS) return false;
    return with_element_type(tensor_.type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T>) {
        if (!std::in_range<T>(number)) return false;
        tensor_.as<T>()[at_] = static_cast<T>(number);
      }
      return true;
    });
  }

  std::string where() const { return "input \"" + tensor_.name + "\": "; }

  Tensor& tensor_;
  std::size_t count_;
  std::size_t at_ = 0;
};

Result<void> read_nested_level(ondemand::value value, std::size_t level, Nested& into, const std::string& name) {
  if (!is_list(value)) {
    if (level != into.shape.size()) return fail(Code::invalid, name + " is ragged: its lists differ in depth");
    return read_scalar(value, into, name);
  }
  if (level >= kMostDepth) return fail(Code::invalid, name + " is nested too deeply");
  const bool first = level == into.shape.size();
  if (first && into.count() > 0) return fail(Code::invalid, name + " is ragged: its lists differ in depth");
  if (first) into.shape.push_back(-1);
  ondemand::array items;
  if (const auto error = value.get_array().get(items)) return fail(Code::invalid, name + ": " + json_trouble(error));
  std::int64_t count = 0;
  for (auto item : items) {
    ondemand::value each;
    if (const auto error = item.get(each)) return fail(Code::invalid, name + ": " + json_trouble(error));
    LATHE_CHECK(read_nested_level(each, level + 1, into, name));
    ++count;
  }
  if (into.shape[level] == -1) into.shape[level] = count;
  if (into.shape[level] != count)
    return fail(Code::invalid, name + " is ragged: expected lists of " + std::to_string(into.shape[level]) +
                                   " items as the first, got one of " + std::to_string(count));
  return {};
}

template <class T>
void append_chars(std::string& out, T value) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, end);
}

template <class T>
void append_float(std::string& out, T value) {
  if (std::isfinite(value))
    append_chars(out, value);
  else
    out += "null";
}

/// Appends elements [from, to), separated by commas.
void append_elements(std::string& out, const Tensor& tensor, std::size_t from, std::size_t to) {
  if (tensor.type == DataType::bytes) {
    for (auto i = from; i < to; ++i) {
      if (i > from) out += ',';
      append_text(out, tensor.texts[i]);
    }
    return;
  }
  with_element_type(tensor.type, [&](auto zero) {
    using T = decltype(zero);
    const auto* values = tensor.as<T>();
    for (auto i = from; i < to; ++i) {
      if (i > from) out += ',';
      if constexpr (std::is_floating_point_v<T>)
        append_float(out, values[i]);
      else if (tensor.type == DataType::boolean)
        out += values[i] != 0 ? "true" : "false";
      else if (tensor.type == DataType::fp16)
        append_float(out, half_to_float(static_cast<std::uint16_t>(values[i])));
      else if (tensor.type == DataType::bf16)
        append_float(out, bfloat_to_float(static_cast<std::uint16_t>(values[i])));
      else if constexpr (sizeof(T) == 1)
        append_chars(out, static_cast<int>(values[i]));
      else
        append_chars(out, values[i]);
    }
  });
}

void append_level(std::string& out, const Tensor& tensor, std::size_t level, std::size_t& at) {
  out += '[';
  const auto size = static_cast<std::size_t>(tensor.shape[level]);
  if (level + 1 == tensor.shape.size()) {
    append_elements(out, tensor, at, at + size);
    at += size;
  } else {
    for (std::size_t i = 0; i < size; ++i) {
      if (i > 0) out += ',';
      append_level(out, tensor, level + 1, at);
    }
  }
  out += ']';
}

bool shape_fits(const Shape& got, const Shape& wanted) {
  if (got.size() != wanted.size()) return false;
  for (std::size_t i = 0; i < got.size(); ++i)
    if (wanted[i] >= 0 && wanted[i] != got[i]) return false;
  return true;
}

}  // namespace

std::string json_trouble(simdjson::error_code error) {
  return std::string("the body is not the JSON that is expected here: ") + simdjson::error_message(error);
}

bool is_null(ondemand::value value) {
  bool null = false;
  return value.is_null().get(null) == simdjson::SUCCESS && null;
}

Result<ondemand::document> open_json(ondemand::parser& parser, std::string_view body) {
  ondemand::document document;
  const simdjson::padded_string_view padded(body.data(), body.size(), body.size() + simdjson::SIMDJSON_PADDING);
  if (const auto error = parser.iterate(padded).get(document)) return fail(Code::invalid, json_trouble(error));
  ondemand::json_type type{};
  if (document.type().get(type) != simdjson::SUCCESS || type != ondemand::json_type::object)
    return fail(Code::invalid, "the body must be a JSON object");
  return document;
}

Result<void> read_elements(ondemand::value list, Tensor& tensor, std::size_t most) {
  const auto counted = element_count(tensor.shape, most);
  if (!counted) return fail_in("input \"" + tensor.name + "\"", counted.error());
  const auto count = *counted;
  tensor.texts.clear();
  if (tensor.type == DataType::bytes) tensor.texts.resize(count);
  tensor.data.resize(count * size_of(tensor.type));  // of texts: none
  return ElementReader(tensor, count).read(list);
}

Result<void> read_scalar(ondemand::value value, Nested& into, const std::string& name) {
  std::string_view text;
  if (value.get_string().get(text) == simdjson::SUCCESS) {
    if (!into.numbers.empty()) return fail(Code::invalid, name + " mixes texts and numbers");
    into.texts.emplace_back(text);
    return {};
  }
  double number = std::numeric_limits<double>::quiet_NaN();
  bool truth = false;
  if (value.get_bool().get(truth) == simdjson::SUCCESS)
    number = truth ? 1 : 0;
  else if (value.get_double().get(number) != simdjson::SUCCESS && !is_null(value))
    return fail(Code::invalid, name + ": expected a number or a text, got " + kind_of(value));
  if (!into.texts.empty()) return fail(Code::invalid, name + " mixes texts and numbers");
  into.numbers.push_back(number);
  return {};
}

Result<Nested> read_nested(ondemand::value value, const std::string& name) {
  Nested out;
  LATHE_CHECK(read_nested_level(value, 0, out, name));
  for (auto& size : out.shape)
    if (size < 0) size = 0;
  return out;
}

Result<Tensor> to_tensor(Nested nested, const TensorInfo& wanted) {
  const auto where = "input \"" + wanted.name + "\": ";
  Tensor out;
  out.name = wanted.name;
  out.type = wanted.type;
  out.shape = std::move(nested.shape);
  if (wanted.type == DataType::bytes) {
    if (!nested.numbers.empty()) return fail(Code::invalid, where + "expected texts, got numbers");
    out.texts = std::move(nested.texts);
    return out;
  }
  if (!nested.texts.empty())
    return fail(Code::invalid, where + "expected " + std::string(name_of(wanted.type)) + ", got the text \"" +
                                   nested.texts.front() + "\"");
  out.data.resize(nested.numbers.size() * size_of(wanted.type));
  const bool half = wanted.type == DataType::fp16;
  const bool bfloat = wanted.type == DataType::bf16;
  const bool boolean = wanted.type == DataType::boolean;
  bool good = true;
  double bad = 0;
  with_element_type(wanted.type, [&](auto zero) {
    using T = decltype(zero);
    auto* to = out.as<T>();
    for (const double number : nested.numbers) {
      if constexpr (std::is_floating_point_v<T>) {
        *to++ = static_cast<T>(number);
      } else if (half) {
        *to++ = static_cast<T>(float_to_half(static_cast<float>(number)));
      } else if (bfloat) {
        *to++ = static_cast<T>(float_to_bfloat(static_cast<float>(number)));
      } else {
        const double least = static_cast<double>(std::numeric_limits<T>::min());
        const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);  // one past the greatest
        if (!(number >= least && number < end && std::trunc(number) == number && (!boolean || number <= 1))) {
          if (good) bad = number;
          good = false;
        } else {
          *to = static_cast<T>(number);
        }
        ++to;
      }
    }
  });
  if (!good) {
    std::string text;
    append_float(text, bad);
    return fail(Code::invalid, where + "expected " + std::string(name_of(wanted.type)) + ", got " + text);
  }
  return out;
}

Result<void> fit(Tensor& tensor, const TensorInfo& wanted, bool converts_numbers) {
  const bool convertible = converts_numbers && tensor.type != DataType::bytes;
  if (tensor.type != wanted.type && !convertible)
    return fail(Code::invalid, "input \"" + tensor.name + "\": expected datatype " + std::string(name_of(wanted.type)) +
                                   ", got " + std::string(name_of(tensor.type)));
  if (!shape_fits(tensor.shape, wanted.shape))
    return fail(Code::invalid, "input \"" + tensor.name + "\": expected shape " + print(wanted.shape) + ", got " +
                                   print(tensor.shape));
  if (tensor.type != wanted.type) convert_numbers(tensor, wanted.type);
  return {};
}

void append_text(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_number(std::string& out, std::int64_t value) {
  append_chars(out, value);
}

void append_shape(std::string& out, const Shape& shape) {
  out += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ',';
    append_chars(out, shape[i]);
  }
  out += ']';
}

void append_flat(std::string& out, const Tensor& tensor) {
  out += '[';
  append_elements(out, tensor, 0, tensor.count());
  out += ']';
}

void append_nested(std::string& out, const Tensor& tensor) {
  std::size_t at = 0;
  if (tensor.shape.empty())
    append_elements(out, tensor, 0, tensor.count());
  else
    append_level(out, tensor, 0, at);
}

}  // namespace lathe::infer
