#include "infer/protocols/open_inference_grpc.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"
#include "infer/grpc/wire.h"

namespace lathe::infer {
namespace {

using wire::Field;
using wire::Reader;
using wire::Type;

tl::unexpected<Error> malformed(std::string_view what) {
  return fail(Code::invalid, std::string(what) + " is not a message of the protocol");
}

/// The field of InferTensorContents that holds elements of this type; 0: none does.
std::uint32_t contents_field(DataType type) {
  switch (type) {
    case DataType::boolean:
      return 1;
    case DataType::int8:
    case DataType::int16:
    case DataType::int32:
      return 2;
    case DataType::int64:
      return 3;
    case DataType::uint8:
    case DataType::uint16:
    case DataType::uint32:
      return 4;
    case DataType::uint64:
      return 5;
    case DataType::fp32:
      return 6;
    case DataType::fp64:
      return 7;
    case DataType::bytes:
      return 8;
    default:
      return 0;
  }
}

std::string_view contents_name(std::uint32_t field) {
  static constexpr std::string_view kNames[] = {"no field",       "bool_contents", "int_contents",
                                                "int64_contents", "uint_contents", "uint64_contents",
                                                "fp32_contents",  "fp64_contents", "bytes_contents"};
  return kNames[field < std::size(kNames) ? field : 0];
}

/// One element at the end of the tensor. False: out of its type's range.
bool add_element(Tensor& tensor, std::uint64_t value) {
  return with_element_type(tensor.type, [&](auto zero) {
    using T = decltype(zero);
    T element{};
    if constexpr (std::is_floating_point_v<T>) {
      std::memcpy(&element, &value, sizeof element);  // as it stood there, in the low bytes
    } else if constexpr (std::is_signed_v<T>) {
      if (!std::in_range<T>(static_cast<std::int64_t>(value))) return false;
      element = static_cast<T>(value);
    } else {
      if (tensor.type == DataType::boolean) value = value != 0 ? 1 : 0;
      if (!std::in_range<T>(value)) return false;
      element = static_cast<T>(value);
    }
    const auto* const bytes = reinterpret_cast<const char*>(&element);
    tensor.data.insert(tensor.data.end(), bytes, bytes + sizeof element);
    return true;
  });
}

/// Numbers that stand in one field, one after the other.
Result<void> add_packed(Tensor& tensor, std::string_view bytes, const std::string& where) {
  if (tensor.type == DataType::fp32 || tensor.type == DataType::fp64) {
    if (bytes.size() % size_of(tensor.type) != 0) return malformed(where + "its contents");
    tensor.data.insert(tensor.data.end(), bytes.begin(), bytes.end());
    return {};
  }
  Reader values(bytes);
  while (!values.at_end()) {
    std::uint64_t value = 0;
    if (!values.varint(value)) return malformed(where + "its contents");
    if (!add_element(tensor, value))
      return fail(Code::invalid, where + "an element is out of the range of " + std::string(name_of(tensor.type)));
  }
  return {};
}

Result<void> read_contents(std::string_view contents, Tensor& tensor, const std::string& where) {
  const auto expected = contents_field(tensor.type);
  if (expected == 0)
    return fail(Code::invalid, where + std::string(name_of(tensor.type)) + " goes in raw_input_contents only");
  tensor.data.clear();
  tensor.texts.clear();
  Reader reader(contents);
  Field field;
  while (reader.next(field)) {
    if (field.number != expected)
      return fail(Code::invalid, where + "expected its elements in " + std::string(contents_name(expected)) + " for " +
                                     std::string(name_of(tensor.type)) + ", got " +
                                     std::string(contents_name(field.number)));
    if (tensor.type == DataType::bytes) {
      if (field.type != Type::bytes) return malformed(where + "its contents");
      tensor.texts.emplace_back(field.bytes);
    } else if (field.type == Type::bytes) {
      LATHE_CHECK(add_packed(tensor, field.bytes, where));
    } else if (!add_element(tensor, field.value)) {
      return fail(Code::invalid, where + "an element is out of the range of " + std::string(name_of(tensor.type)));
    }
  }
  if (!reader.good()) return malformed(where + "its contents");
  const auto got = tensor.count();
  const auto count = element_count(tensor.shape, std::max<std::size_t>(got, 1));
  if (!count || *count != got)
    return fail(Code::invalid, where + "expected the elements of shape " + print(tensor.shape) + " in " +
                                   std::string(contents_name(expected)) + ", got " + std::to_string(got));
  return {};
}

/// A parameter: its name and what it is.
struct Parameter {
  std::string_view name;
  Field value;
};

Result<Parameter> read_parameter(std::string_view entry) {
  Parameter out;
  Reader reader(entry);
  Field field;
  while (reader.next(field)) {
    if (field.number == 1) out.name = field.bytes;
    if (field.number != 2) continue;
    Reader choice(field.bytes);
    while (choice.next(out.value)) {
    }
    if (!choice.good()) return malformed("a parameter");
  }
  if (!reader.good()) return malformed("a parameter");
  return out;
}

/// What parameters say of shared memory.
struct RegionParameters {
  std::optional<std::string> region;
  std::optional<std::uint64_t> size;
  std::uint64_t offset = 0;

  Result<void> take(const Parameter& parameter, const std::string& where) {
    const auto& value = parameter.value;
    const bool is_number = (value.number == 2 || value.number == 5) && value.integer() >= 0;
    if (parameter.name == "shared_memory_region") {
      if (value.number != 3) return fail(Code::invalid, where + "the parameter shared_memory_region must be a text");
      region = value.bytes;
    } else if (parameter.name == "shared_memory_byte_size" || parameter.name == "shared_memory_offset") {
      if (!is_number)
        return fail(Code::invalid, where + "the parameter " + std::string(parameter.name) + " must be a whole number");
      if (parameter.name == "shared_memory_offset")
        offset = value.value;
      else
        size = value.value;
    }
    return {};
  }

  Result<std::optional<RegionPlace>> place(const std::string& where) const {
    if (!region) return std::optional<RegionPlace>{};
    if (!size) return fail(Code::invalid, where + "the parameter shared_memory_byte_size is missing");
    return std::optional(RegionPlace{*region, offset, *size});
  }
};

Result<void> add_sizes(const Field& field, Shape& shape, const std::string& where) {
  const auto add = [&](std::uint64_t size) -> Result<void> {
    if (static_cast<std::int64_t>(size) < 0) return fail(Code::invalid, where + "\"shape\" holds a negative size");
    if (shape.size() == 16) return fail(Code::invalid, where + "\"shape\" has more than 16 dimensions");
    shape.push_back(static_cast<std::int64_t>(size));
    return {};
  };
  if (field.type != Type::bytes) return add(field.value);
  Reader sizes(field.bytes);
  while (!sizes.at_end()) {
    std::uint64_t size = 0;
    if (!sizes.varint(size)) return malformed(where + "its shape");
    LATHE_CHECK(add(size));
  }
  return {};
}

/// What stands apart from the inputs.
struct RawInputs {
  std::vector<std::string_view> bytes;  ///< of each input that is not in shared memory, or of none
  std::size_t next = 0;
  bool any_shared = false;  ///< an input is in shared memory
};

/// One input, which takes the next of `raw` where that is its own.
Result<void> read_input(std::string_view message, RawInputs& raw, Tensor& tensor) {
  tensor.name.clear();
  tensor.shape.clear();
  RegionParameters parameters;
  std::string_view type_name;
  std::optional<std::string_view> contents;
  Reader reader(message);
  Field field;
  while (reader.next(field)) {  // the name stands first, and errors may need it
    const auto where = [&] { return "input \"" + printable(tensor.name) + "\": "; };
    if (field.number == 1) {
      tensor.name = field.bytes;
    } else if (field.number == 2) {
      type_name = field.bytes;
    } else if (field.number == 3) {
      LATHE_CHECK(add_sizes(field, tensor.shape, where()));
    } else if (field.number == 4) {
      LATHE_TRY(const auto parameter, read_parameter(field.bytes));
      LATHE_CHECK(parameters.take(parameter, where()));
    } else if (field.number == 5) {
      contents = field.bytes;
    }
  }
  if (!reader.good()) return malformed("an input");
  const auto where = "input \"" + printable(tensor.name) + "\": ";
  const auto type = parse_data_type(type_name);
  if (!type)
    return fail(Code::invalid, where + "expected a datatype of the protocol (FP32, INT64, BYTES, ...), got \"" +
                                   printable(type_name) + "\"");
  tensor.type = *type;
  LATHE_TRY(const auto place, parameters.place(where));
  if (place) {
    if (contents && !contents->empty())
      return fail(Code::invalid, where + "\"contents\" must be empty when its bytes are in shared memory");
    raw.any_shared = true;
    return take_region(tensor, *place, where);
  }
  if (raw.bytes.empty()) return read_contents(contents.value_or(std::string_view{}), tensor, where);
  if (raw.next == raw.bytes.size())
    return fail(Code::invalid, "raw_input_contents: expected one for each input that is not in shared memory, got " +
                                   std::to_string(raw.bytes.size()));
  if (contents && !contents->empty())
    return fail(Code::invalid, where + "\"contents\" must be empty when the request has raw_input_contents");
  tensor.data.clear();
  tensor.texts.clear();
  return take_bytes(tensor, raw.bytes[raw.next++], where);
}

Result<void> read_output(std::string_view message, const Model& model, std::vector<WantedOutput>& named) {
  std::string_view name;
  std::vector<Parameter> parameters;
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number == 1) name = field.bytes;
    if (field.number != 2) continue;
    LATHE_TRY(const auto parameter, read_parameter(field.bytes));
    parameters.push_back(parameter);
  }
  if (!reader.good()) return malformed("a requested output");
  LATHE_TRY(auto* const added, add_output(named, printable(name), model));
  RegionParameters region;
  for (const auto& parameter : parameters) {
    const auto where = "output \"" + std::string(name) + "\": ";
    LATHE_CHECK(region.take(parameter, where));
    if (parameter.name != "classification") continue;
    if ((parameter.value.number != 2 && parameter.value.number != 5) || parameter.value.integer() < 0)
      return fail(Code::invalid, where + "the parameter classification must be a whole number");
    added->classes = parameter.value.value;
  }
  LATHE_TRY(added->region, region.place("output \"" + printable(name) + "\": "));
  return {};
}

void put_contents(std::string& out, const Tensor& tensor) {
  std::string contents;
  const auto field = contents_field(tensor.type);
  if (tensor.type == DataType::bytes) {
    for (const auto& text : tensor.texts) wire::put_bytes(contents, field, text);
  } else if (tensor.type == DataType::fp32 || tensor.type == DataType::fp64 || tensor.type == DataType::boolean) {
    wire::put_bytes(contents, field, {tensor.data.data(), tensor.data.size()});  // as the wire has them
  } else {
    std::string values;
    with_element_type(tensor.type, [&](auto zero) {
      using T = decltype(zero);
      if constexpr (std::is_integral_v<T>) {
        const auto* const elements = tensor.as<T>();
        for (std::size_t i = 0; i < tensor.count(); ++i)
          wire::put_varint(values, static_cast<std::uint64_t>(static_cast<std::int64_t>(elements[i])));
      }
    });
    wire::put_bytes(contents, field, values);
  }
  wire::put_bytes(out, 5, contents);
}

/// The parameters of an output that was left in shared memory.
void put_region(std::string& out, const RegionPlace& place, std::size_t size) {
  const auto put = [&out](std::string_view name, std::uint32_t field, const auto& add) {
    std::string value;
    add(value, field);
    std::string entry;
    wire::put_text(entry, 1, name);
    wire::put_bytes(entry, 2, value);
    wire::put_bytes(out, 4, entry);
  };
  const auto number = [](std::uint64_t value) {
    return [value](std::string& to, std::uint32_t field) {
      wire::put_tag(to, field, Type::varint);
      wire::put_varint(to, value);
    };
  };
  put("shared_memory_region", 3,
      [&](std::string& to, std::uint32_t field) { wire::put_text(to, field, place.region); });
  if (place.offset > 0) put("shared_memory_offset", 2, number(place.offset));
  put("shared_memory_byte_size", 2, number(size));
}

void put_infos(std::string& out, std::uint32_t number, const std::vector<TensorInfo>& infos) {
  for (const auto& info : infos) {
    std::string tensor;
    wire::put_text(tensor, 1, info.name);
    wire::put_text(tensor, 2, name_of(info.type));
    wire::put_list(tensor, 3, info.shape);
    wire::put_bytes(out, number, tensor);
  }
}

}  // namespace

Result<ModelName> read_model_name(std::string_view message) {
  ModelName out;
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number == 1) out.name = field.bytes;
    if (field.number == 2) out.version = field.bytes;
  }
  if (!reader.good()) return malformed("the request");
  return out;
}

Result<void> read_infer_message(std::string_view message, const Model& model, InferRequest& out) {
  out.id.reset();
  out.parameters.clear();
  out.timeout = {};
  out.priority = 0;
  std::vector<std::string_view> inputs;
  RawInputs raw;
  std::vector<WantedOutput> outputs;
  Reader reader(message);
  Field field;
  while (reader.next(field)) {
    if (field.number == 3) {
      if (!is_utf8(field.bytes)) return fail(Code::invalid, "\"id\" is not UTF-8");
      out.id = field.bytes;
    } else if (field.number == 4) {
      LATHE_TRY(const auto parameter, read_parameter(field.bytes));
      const bool whole = (parameter.value.number == 2 || parameter.value.number == 5) && parameter.value.integer() >= 0;
      if (parameter.name == "timeout") {
        if (!whole) return fail(Code::invalid, "the parameter timeout must be a number of microseconds");
        out.timeout = to_timeout(parameter.value.value);
      } else if (parameter.name == "priority") {
        if (!whole)
          return fail(Code::invalid, "the parameter priority must be a whole number: 1 is the highest, 0 the default");
        out.priority = parameter.value.value;
      }
      if (!is_order(parameter.name)) wire::put_bytes(out.parameters, 4, field.bytes);
    } else if (field.number == 5) {
      inputs.push_back(field.bytes);
    } else if (field.number == 6) {
      LATHE_CHECK(read_output(field.bytes, model, outputs));
    } else if (field.number == 7) {
      raw.bytes.push_back(field.bytes);
    }
  }
  if (!reader.good()) return malformed("the request");
  if (!model.checks_itself() && inputs.size() > model.inputs().size())
    return fail(Code::invalid, "expected " + std::to_string(model.inputs().size()) + " inputs (" +
                                   names_of(model.inputs()) + "), got " + std::to_string(inputs.size()));
  out.inputs.resize(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) LATHE_CHECK(read_input(inputs[i], raw, out.inputs[i]));
  if (raw.next != raw.bytes.size())
    return fail(Code::invalid, "raw_input_contents: expected one for each of the " + std::to_string(inputs.size()) +
                                   " inputs that is not in shared memory, got " + std::to_string(raw.bytes.size()));
  choose_outputs(outputs, model, !raw.bytes.empty() || raw.any_shared, out);
  return match_inputs(model, out.inputs);
}

void append_infer_message(std::string& out, std::string_view model_name, std::string_view model_version,
                          const InferRequest& request, const std::vector<Tensor>& outputs) {
  // All in one form: what has no contents of its own makes all of them raw.
  const bool raw =
      (!request.binary.empty() && request.binary.front()) ||
      std::any_of(request.regions.begin(), request.regions.end(), [](const auto& each) { return each.has_value(); }) ||
      std::any_of(outputs.begin(), outputs.end(), [](const Tensor& each) { return contents_field(each.type) == 0; });
  wire::put_text(out, 1, model_name);
  wire::put_text(out, 2, model_version);
  if (request.id) wire::put_text(out, 3, *request.id);
  out += request.parameters;
  std::string one;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto& tensor = outputs[i];
    one.clear();
    wire::put_text(one, 1, tensor.name);
    wire::put_text(one, 2, name_of(tensor.type));
    wire::put_list(one, 3, tensor.shape);
    if (const auto& region = request.regions[i]) put_region(one, *region, bytes_of(tensor));
    if (!raw) put_contents(one, tensor);
    wire::put_bytes(out, 5, one);
  }
  for (std::size_t i = 0; raw && i < outputs.size(); ++i) {
    if (request.regions[i]) {
      wire::put_bytes(out, 6, {});  // an empty one, as Triton has it
      continue;
    }
    wire::put_tag(out, 6, Type::bytes);
    wire::put_varint(out, bytes_of(outputs[i]));
    append_bytes(out, outputs[i]);
  }
}

void wrap_in_stream(std::string& out) {
  std::string head;
  wire::put_tag(head, 2, Type::bytes);
  wire::put_varint(head, out.size());
  out.insert(0, head);
}

std::string stream_error(std::string_view message) {
  std::string out;
  wire::put_text(out, 1, is_utf8(message) ? message : std::string_view("the request is not valid"));
  return out;
}

std::string metadata_message(std::string_view model_name, std::string_view version, const Model& model) {
  std::string out;
  wire::put_text(out, 1, model_name);
  wire::put_bytes(out, 2, version);
  wire::put_text(out, 3, model.platform());
  put_infos(out, 4, model.inputs());
  put_infos(out, 5, model.outputs());
  return out;
}

}  // namespace lathe::infer
