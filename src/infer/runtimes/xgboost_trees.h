#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lathe::infer {

/// A gradient-boosted forest read from XGBoost's JSON form, evaluated in the order and the precision in which XGBoost
/// itself adds up, without the tens of microseconds that its C API costs a call.
///
/// Covers numeric splits in gbtree models with the objectives binary:logistic, binary:logitraw, reg:squarederror,
/// reg:logistic, multi:softmax and multi:softprob. Thread-safe.
class XgboostTrees {
 public:
  /// Errors: `invalid` — a kind of model that is left to the library.
  static Result<XgboostTrees> from_json(std::string_view json);

  std::size_t features() const { return features_; }
  /// Values that one row gives: the classes for multi:softprob, else 1.
  std::size_t width() const { return link_ == Link::softmax ? groups_ : 1; }
  /// `rows` holds count x features() values, NaN for missing; `out` gets count x width().
  void predict(const float* rows, std::size_t count, float* out) const;

 private:
  enum class Link { identity, logistic, softmax, argmax };

  /// An inner node's children lie side by side.
  struct Node {
    float value;            ///< the threshold, or the leaf's value
    std::uint32_t feature;  ///< with the highest bit set when a missing value goes left
    std::uint32_t left;     ///< 0 in a leaf
  };
  struct Tree {
    std::uint32_t root;
    std::uint32_t group;
  };

  void add_margins(const float* rows, std::size_t count, float* margins) const;
  void finish_row(const float* margins, float* out) const;

  std::vector<Node> nodes_;
  std::vector<Tree> trees_;
  std::size_t features_ = 0;
  std::size_t groups_ = 1;
  float base_margin_ = 0;
  Link link_ = Link::identity;

  friend class TreeReader;
};

}  // namespace lathe::infer
