#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "infer/runtimes/model_json.h"

namespace lathe::infer {

/// Some rows of numbers, one after the other.
struct Block {
  std::size_t rows = 0;
  std::size_t width = 0;
  std::vector<double> values;

  double* row(std::size_t i) { return values.data() + i * width; }
  const double* row(std::size_t i) const { return values.data() + i * width; }
  std::span<double> row_span(std::size_t i) { return {row(i), width}; }
};

/// One thing that is done to each row. Thread-safe.
class Step {
 public:
  virtual ~Step() = default;
  /// How many numbers it leaves of each row.
  virtual std::size_t width() const = 0;
  /// Works on a block of rows of the width that it was made for. Errors: `invalid` — the values are none that the model
  /// takes.
  virtual Result<void> apply(Block& block) const = 0;
};

/// The steps of a model in the native form, in their order: what a row of numbers goes through. In JSON, `do` says what
/// each one is:
///
///     finite       refuses NaN and infinities; with `single`, what single precision cannot hold
///     impute       `values` where there is NaN
///     elementwise  `subtract`, `divide`, `multiply`, `add` for each column, those that are there, in this order
///     clip         to `least`..`greatest`
///     normalize    divides a row by its `norm`: l1, l2, max; a row of zeros stays
///     select       `columns` by their places
///     one_hot      `categories`, a list for each column; others are refused, or, with `unknown`, zeros
///     join         `parts`, lists of steps that all begin with this row; their results side by side
///     linear       `weights` (each column's, one after the other) and `bias`
///     activate     `by` relu, tanh, logistic, exp, or, over the row, softmax
///     complement   p becomes 1 - p, p
///     mirror       d becomes -d, d
///     distances    to each of the `centers` (one after the other)
///     forest       as in native_forest.h
///
/// Thread-safe.
class Steps {
 public:
  /// `steps`: the list; `features`: the width of the rows that come in. Errors: `invalid`, naming the step.
  static Result<Steps> from_json(simdjson::dom::array steps, std::size_t features);

  std::size_t width() const { return steps_.empty() ? features_ : steps_.back()->width(); }
  Result<void> apply(Block& block) const;

 private:
  std::size_t features_ = 0;
  std::vector<std::unique_ptr<Step>> steps_;
};

}  // namespace lathe::infer
