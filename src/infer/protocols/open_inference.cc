#include "infer/protocols/open_inference.h"

#include <algorithm>

#include "base/text.h"

namespace lathe::infer {
namespace {

using simdjson::SUCCESS;

constexpr std::size_t kMostInputs = 4096;  ///< of a model that checks them itself

/// Hands out the bytes after the JSON.
struct BinarySection {
  std::string_view left;

  Result<std::string_view> take(std::size_t size, const std::string& name) {
    if (size > left.size())
      return fail(Code::invalid, "input \"" + name + "\": expected " + std::to_string(size) +
                                     " bytes after the JSON, got " + std::to_string(left.size()));
    const auto taken = left.substr(0, size);
    left.remove_prefix(size);
    return taken;
  }
};

/// A member of an object: empty when it is absent or null.
Result<std::optional<ondemand::value>> member(ondemand::object& object, std::string_view key) {
  ondemand::value value;
  const auto error = object.find_field_unordered(key).get(value);
  if (error == simdjson::NO_SUCH_FIELD) return std::optional<ondemand::value>{};
  if (error != SUCCESS) return fail(Code::invalid, json_trouble(error));
  if (is_null(value)) return std::optional<ondemand::value>{};
  return std::optional(value);
}

Result<std::string_view> text_member(ondemand::object& object, std::string_view key, const std::string& where) {
  LATHE_TRY(auto found, member(object, key));
  std::string_view text;
  if (!found) return fail(Code::invalid, where + "\"" + std::string(key) + "\" is missing");
  if (found->get_string().get(text) != SUCCESS)
    return fail(Code::invalid, where + "\"" + std::string(key) + "\" must be a text");
  return text;
}

/// `KEY` of a "parameters" object as a number or a truth; empty when it is absent.
template <class T>
Result<std::optional<T>> parameter(ondemand::value parameters, std::string_view key, const std::string& where) {
  if (is_null(parameters)) return std::optional<T>{};
  ondemand::object object;
  if (parameters.get_object().get(object) != SUCCESS)
    return fail(Code::invalid, where + "\"parameters\" must be an object");
  LATHE_TRY(auto found, member(object, key));
  if (!found) return std::optional<T>{};
  T value{};
  if (found->get(value) != SUCCESS)
    return fail(Code::invalid, where + "\"parameters." + std::string(key) + "\" is not of the right type");
  return std::optional(value);
}

/// The same of the "parameters" member of `object`.
template <class T>
Result<std::optional<T>> parameter_of(ondemand::object& object, std::string_view key, const std::string& where) {
  LATHE_TRY(auto parameters, member(object, "parameters"));
  return parameters ? parameter<T>(*parameters, key, where) : std::optional<T>{};
}

/// Where a tensor's bytes are, of the "parameters" member of an input or output; nothing: not in shared memory.
Result<std::optional<RegionPlace>> region_of(ondemand::object& object, const std::string& where) {
  LATHE_TRY(const auto region, parameter_of<std::string_view>(object, "shared_memory_region", where));
  if (!region) return std::optional<RegionPlace>{};
  RegionPlace place{std::string(*region), 0, 0};
  LATHE_TRY(const auto size, parameter_of<std::uint64_t>(object, "shared_memory_byte_size", where));
  if (!size) return fail(Code::invalid, where + "\"parameters.shared_memory_byte_size\" is missing");
  place.size = *size;
  LATHE_TRY(const auto offset, parameter_of<std::uint64_t>(object, "shared_memory_offset", where));
  place.offset = offset.value_or(0);
  return std::optional(std::move(place));
}

Result<void> read_shape(ondemand::object& input, Tensor& tensor, const std::string& where) {
  LATHE_TRY(auto found, member(input, "shape"));
  if (!found) return fail(Code::invalid, where + "\"shape\" is missing");
  ondemand::array sizes;
  if (found->get_array().get(sizes) != SUCCESS)
    return fail(Code::invalid, where + "\"shape\" must be a list of whole numbers");
  tensor.shape.clear();
  for (auto size : sizes) {
    std::int64_t value = 0;
    if (size.get_int64().get(value) != SUCCESS || value < 0)
      return fail(Code::invalid, where + "\"shape\" must be a list of whole numbers");
    if (tensor.shape.size() == 16) return fail(Code::invalid, where + "\"shape\" has more than 16 dimensions");
    tensor.shape.push_back(value);
  }
  return {};
}

/// What inputs are read from.
struct Body {
  std::size_t bytes = 0;
  bool tells_regions = false;  ///< somewhere in it: else no input has to be asked for one
};

/// Of an input that has elements of its own.
Result<void> refuse_region(ondemand::object& input, const Body& body, const std::string& where) {
  if (!body.tells_regions) return {};
  LATHE_TRY(const auto region, parameter_of<std::string_view>(input, "shared_memory_region", where));
  if (!region) return {};
  return fail(Code::invalid, where + "has elements and a region of shared memory: give one of the two");
}

/// One of the request's inputs. The members are asked for in the order in which clients write them, so that the JSON is
/// walked once.
Result<void> read_input(ondemand::object& input, const Body& body, BinarySection* binary, Tensor& tensor) {
  LATHE_TRY(const auto name, text_member(input, "name", "an input: "));
  tensor.name = name;
  const auto where = "input \"" + tensor.name + "\": ";
  LATHE_CHECK(read_shape(input, tensor, where));
  LATHE_TRY(const auto type_name, text_member(input, "datatype", where));
  const auto type = parse_data_type(type_name);
  if (!type)
    return fail(Code::invalid, where + "expected a datatype of the protocol (FP32, INT64, BYTES, ...), got \"" +
                                   std::string(type_name) + "\"");
  tensor.type = *type;
  if (binary != nullptr) {
    LATHE_TRY(const auto size, parameter_of<std::uint64_t>(input, "binary_data_size", where));
    if (size) {
      LATHE_CHECK(refuse_region(input, body, where));
      LATHE_TRY(const auto bytes, binary->take(*size, tensor.name));
      return take_bytes(tensor, bytes, where);
    }
  }
  LATHE_TRY(const auto data, member(input, "data"));
  if (!data) {
    LATHE_TRY(const auto region, region_of(input, where));
    if (region) return take_region(tensor, *region, where);
  }
  if (!data) return fail(Code::invalid, where + "\"data\" is missing");
  LATHE_CHECK(read_elements(*data, tensor, body.bytes));
  return refuse_region(input, body, where);
}

Result<std::vector<WantedOutput>> read_outputs(ondemand::value value, const Model& model) {
  std::vector<WantedOutput> wanted;
  if (is_null(value)) return wanted;
  ondemand::array list;
  if (value.get_array().get(list) != SUCCESS) return fail(Code::invalid, "\"outputs\" must be a list");
  for (auto item : list) {
    ondemand::object output;
    if (item.get_object().get(output) != SUCCESS) return fail(Code::invalid, "\"outputs\" must hold objects");
    LATHE_TRY(const auto name, text_member(output, "name", "an output: "));
    LATHE_TRY(auto* const added, add_output(wanted, name, model));
    const auto where = "output \"" + std::string(name) + "\": ";
    LATHE_TRY(added->binary, parameter_of<bool>(output, "binary_data", where));
    LATHE_TRY(const auto classes, parameter_of<std::uint64_t>(output, "classification", where));
    added->classes = classes.value_or(0);
    LATHE_TRY(added->region, region_of(output, where));
  }
  return wanted;
}

/// The request's own "parameters": `all_binary` when they ask for it; what is no order is kept to be echoed.
Result<void> read_parameters(ondemand::value value, bool& all_binary, InferRequest& out) {
  if (is_null(value)) return {};
  ondemand::object object;
  if (value.get_object().get(object) != SUCCESS) return fail(Code::invalid, "\"parameters\" must be an object");
  for (auto field : object) {
    std::string_view key;
    ondemand::value item;
    if (const auto error = field.unescaped_key().get(key)) return fail(Code::invalid, json_trouble(error));
    if (const auto error = field.value().get(item)) return fail(Code::invalid, json_trouble(error));
    if (key == "binary_data_output") {
      if (item.get_bool().get(all_binary) != SUCCESS)
        return fail(Code::invalid, "\"parameters.binary_data_output\" is not of the right type: true or false");
      continue;
    }
    if (key == "timeout") {
      std::uint64_t microseconds = 0;
      if (item.get_uint64().get(microseconds) != SUCCESS)
        return fail(Code::invalid, "\"parameters.timeout\" must be a number of microseconds");
      out.timeout = to_timeout(microseconds);
    }
    if (key == "priority" && item.get_uint64().get(out.priority) != SUCCESS)
      return fail(Code::invalid, "\"parameters.priority\" must be a whole number: 1 is the highest, 0 the default");
    if (is_order(key)) continue;
    auto& echoed = out.parameters;
    std::string name;
    append_text(name, key);
    std::string_view text;
    double number = 0;
    bool truth = false;
    const auto token = trim(item.raw_json_token());
    if (item.get_string().get(text) == SUCCESS) {
      echoed += (echoed.empty() ? "" : ",") + name + ":";
      append_text(echoed, text);
    } else if (item.get_bool().get(truth) == SUCCESS || item.get_double().get(number) == SUCCESS || is_null(item)) {
      echoed += (echoed.empty() ? "" : ",") + name + ":" + std::string(token);
    } else {
      return fail(Code::invalid, "\"parameters\": " + name + " must be a text, a number, true or false");
    }
  }
  return {};
}

/// The whole body as the elements of the model's one input, whose shape follows from their number.
Result<void> read_raw(std::string_view body, const Model& model, InferRequest& out) {
  if (model.inputs().size() != 1)
    return fail(Code::invalid,
                "a raw request (Inference-Header-Content-Length: 0) is for models with one input; this one has " +
                    names_of(model.inputs()));
  const auto& wanted = model.inputs().front();
  out.inputs.resize(1);
  auto& tensor = out.inputs.front();
  tensor.name = wanted.name;
  tensor.type = wanted.type;
  tensor.shape = wanted.shape;
  tensor.data.clear();
  tensor.texts.clear();
  auto& shape = tensor.shape;
  if (std::count(shape.begin(), shape.end(), -1) > 1) *std::find(shape.begin(), shape.end(), -1) = 1;  // the batch
  const auto where = "input \"" + wanted.name + "\": ";
  std::size_t known = 1;
  for (const auto size : shape) known *= static_cast<std::size_t>(std::max<std::int64_t>(size, 1));
  const auto unknown = std::count(shape.begin(), shape.end(), -1);
  if (unknown > 1)
    return fail(Code::invalid, where + "its shape " + print(wanted.shape) + " does not follow from a raw request");
  const auto count = tensor.type == DataType::bytes ? 1 : body.size() / size_of(tensor.type);
  if (unknown == 1) *std::find(shape.begin(), shape.end(), -1) = static_cast<std::int64_t>(count / known);
  if (tensor.type != DataType::bytes) return take_bytes(tensor, body, where);
  if (known != 1)
    return fail(Code::invalid, where + "a raw request holds one text, but its shape is " + print(wanted.shape));
  tensor.texts.emplace_back(body);
  return {};
}

Result<void> read_inputs(ondemand::value value, const Body& body, BinarySection* binary, const Model& model,
                         std::vector<Tensor>& inputs) {
  ondemand::array list;
  if (value.get_array().get(list) != SUCCESS) return fail(Code::invalid, "\"inputs\" must be a list");
  std::size_t count = 0;
  for (auto item : list) {
    ondemand::object input;
    if (const auto error = item.get_object().get(input))
      return fail(Code::invalid,
                  error == simdjson::INCORRECT_TYPE ? "\"inputs\" must hold objects" : json_trouble(error));
    if (count == (model.checks_itself() ? kMostInputs : std::max(model.inputs().size(), model.columns().size())))
      return fail(Code::invalid,
                  "expected " + std::to_string(count) + " inputs (" + names_of(model.inputs()) + "), got more");
    if (inputs.size() == count) inputs.emplace_back();
    LATHE_CHECK(read_input(input, body, binary, inputs[count]));
    ++count;
  }
  inputs.resize(count);
  return {};
}

}  // namespace

Result<void> read_infer_request(ondemand::parser& parser, std::string_view body, std::optional<std::size_t> json_bytes,
                                const Model& model, InferRequest& out) {
  BinarySection binary;
  out.id.reset();
  out.parameters.clear();
  out.timeout = {};
  out.priority = 0;
  if (json_bytes == 0) {
    LATHE_CHECK(read_raw(body, model, out));
    choose_outputs({}, model, true, out);
    return match_inputs(model, out.inputs);
  }
  if (json_bytes) {
    if (*json_bytes > body.size())
      return fail(Code::invalid, "Inference-Header-Content-Length is " + std::to_string(*json_bytes) +
                                     ", but the body has " + std::to_string(body.size()) + " bytes");
    binary.left = body.substr(*json_bytes);
    body = body.substr(0, *json_bytes);
  }
  LATHE_TRY(auto document, open_json(parser, body));
  ondemand::object object;
  if (const auto error = document.get_object().get(object)) return fail(Code::invalid, json_trouble(error));

  bool has_inputs = false;
  bool all_binary = false;
  std::vector<WantedOutput> outputs;
  for (auto field : object) {  // one walk, in whatever order the client wrote them
    std::string_view key;
    ondemand::value value;
    if (const auto error = field.unescaped_key().get(key)) return fail(Code::invalid, json_trouble(error));
    if (const auto error = field.value().get(value)) return fail(Code::invalid, json_trouble(error));
    if (key == "inputs") {
      if (has_inputs) return fail(Code::invalid, "\"inputs\" is given twice");
      has_inputs = !is_null(value);
      if (!has_inputs) continue;
      const Body about{body.size(), body.find("shared_memory_region") != std::string_view::npos};
      LATHE_CHECK(read_inputs(value, about, json_bytes ? &binary : nullptr, model, out.inputs));
    } else if (key == "id") {
      std::string_view text;
      if (is_null(value)) continue;
      if (value.get_string().get(text) != SUCCESS) return fail(Code::invalid, "\"id\" must be a text");
      out.id = text;
    } else if (key == "parameters") {
      LATHE_CHECK(read_parameters(value, all_binary, out));
    } else if (key == "outputs") {
      LATHE_TRY(outputs, read_outputs(value, model));
    }
  }
  if (!has_inputs) return fail(Code::invalid, "\"inputs\" is missing");
  choose_outputs(outputs, model, all_binary, out);
  if (json_bytes && !binary.left.empty())
    return fail(Code::invalid, std::to_string(binary.left.size()) + " bytes after the JSON belong to no input");
  return match_inputs(model, out.inputs);
}

std::optional<std::size_t> append_infer_response(std::string& out, std::string_view model_name,
                                                 std::string_view model_version, const InferRequest& request,
                                                 const std::vector<Tensor>& outputs) {
  const auto begin = out.size();
  out += "{\"model_name\":";
  append_text(out, model_name);
  out += ",\"model_version\":";
  append_text(out, model_version);
  if (request.id) {
    out += ",\"id\":";
    append_text(out, *request.id);
  }
  if (!request.parameters.empty()) out += ",\"parameters\":{" + request.parameters + "}";
  out += ",\"outputs\":[";
  bool any_binary = false;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    out += i > 0 ? ",{\"name\":" : "{\"name\":";
    append_text(out, outputs[i].name);
    out += ",\"datatype\":\"";
    out += name_of(outputs[i].type);
    out += "\",\"shape\":";
    append_shape(out, outputs[i].shape);
    if (const auto& region = request.regions[i]) {
      out += ",\"parameters\":{\"shared_memory_region\":";
      append_text(out, region->region);
      if (region->offset > 0) {
        out += ",\"shared_memory_offset\":";
        append_number(out, static_cast<std::int64_t>(region->offset));
      }
      out += ",\"shared_memory_byte_size\":";
      append_number(out, static_cast<std::int64_t>(bytes_of(outputs[i])));
      out += "}}";
    } else if (request.binary[i]) {
      any_binary = true;
      out += ",\"parameters\":{\"binary_data_size\":";
      append_number(out, static_cast<std::int64_t>(bytes_of(outputs[i])));
      out += "}}";
    } else {
      out += ",\"data\":";
      append_flat(out, outputs[i]);
      out += '}';
    }
  }
  out += "]}";
  if (!any_binary) return std::nullopt;
  const auto json_bytes = out.size() - begin;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (request.binary[i] && !request.regions[i]) append_bytes(out, outputs[i]);
  return json_bytes;
}

std::string model_metadata(std::string_view model_name, const std::vector<std::string>& versions, const Model& model) {
  std::string out = "{\"name\":";
  append_text(out, model_name);
  out += ",\"versions\":[";
  for (std::size_t i = 0; i < versions.size(); ++i) {
    if (i > 0) out += ',';
    append_text(out, versions[i]);
  }
  out += "],\"platform\":";
  append_text(out, model.platform());
  const auto append_infos = [&](const char* key, const std::vector<TensorInfo>& infos) {
    out += key;
    for (std::size_t i = 0; i < infos.size(); ++i) {
      out += i > 0 ? ",{\"name\":" : "{\"name\":";
      append_text(out, infos[i].name);
      out += ",\"datatype\":\"";
      out += name_of(infos[i].type);
      out += "\",\"shape\":";
      append_shape(out, infos[i].shape);
      out += '}';
    }
    out += ']';
  };
  append_infos(",\"inputs\":[", model.inputs());
  append_infos(",\"outputs\":[", model.outputs());
  return out + "}";
}

}  // namespace lathe::infer
