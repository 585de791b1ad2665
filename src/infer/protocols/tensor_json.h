#pragma once

#include <simdjson.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "infer/runtimes/runtime.h"

/// Tensors as JSON, for all protocols.
namespace lathe::infer {

namespace ondemand = simdjson::ondemand;

/// Begins to read a body. simdjson reads up to SIMDJSON_PADDING bytes past its end: the buffer must have them.
/// `parser` must outlive the document. Errors: `invalid`.
Result<ondemand::document> open_json(ondemand::parser& parser, std::string_view body);

/// What to tell the client about simdjson's error.
std::string json_trouble(simdjson::error_code error);

/// Whether it is null; false too for what is not JSON.
bool is_null(ondemand::value value);

/// Reads a flat or nested list into `tensor`, whose name, type and shape are set. For floating types null is NaN.
/// `most` elements are believed at most, so that a shape cannot ask for more memory than the client has sent.
/// Errors: `invalid`, naming the tensor, what was expected and what came.
Result<void> read_elements(ondemand::value list, Tensor& tensor, std::size_t most);

/// A list of lists of numbers or texts, of which only the JSON says the shape. Numbers are doubles; null is NaN.
struct Nested {
  Shape shape;
  std::vector<double> numbers;
  std::vector<std::string> texts;  ///< when the elements are texts

  std::size_t count() const { return texts.empty() ? numbers.size() : texts.size(); }
};

/// Errors: `invalid` when it is ragged, mixes texts and numbers, or is nested deeper than 16.
Result<Nested> read_nested(ondemand::value value, const std::string& name);

/// Appends one number, text, true, false or null. Errors: `invalid`.
Result<void> read_scalar(ondemand::value value, Nested& into, const std::string& name);

/// The same elements as a tensor of the type that the model wants. Errors: `invalid`: texts for numbers, fractions or
/// numbers out of range for a whole type.
Result<Tensor> to_tensor(Nested nested, const TensorInfo& wanted);

/// Checks type and shape against what the model wants, and converts numbers where the model lets us.
/// Errors: `invalid`, naming the input, what was expected and what came.
Result<void> fit(Tensor& tensor, const TensorInfo& wanted, bool converts_numbers);

/// `"text"`, escaped.
void append_text(std::string& out, std::string_view text);
void append_number(std::string& out, std::int64_t value);
/// `[1,2,3]`
void append_shape(std::string& out, const Shape& shape);
/// All elements in one list. NaN and infinities, which JSON lacks, become null.
void append_flat(std::string& out, const Tensor& tensor);
/// As lists in lists, by the shape.
void append_nested(std::string& out, const Tensor& tensor);

}  // namespace lathe::infer
