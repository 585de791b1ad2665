#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "infer/runtimes/model_json.h"

namespace lathe::infer {

/// Decision trees whose leaves are added up. Thread-safe.
///
/// In JSON: the trees' nodes one after the other, as lists of the same length: `feature` (-1: a leaf), `threshold`,
/// `left` and `right` (places of nodes; of a leaf, `left` is the place of its values in `leaves`), and perhaps
/// `missing_left` (where NaN goes; without it, right). `roots`: the first node of each tree, its children behind it.
/// `width` columns begin as `start`; with `groups`, each leaf holds one value for the column that its tree is named
/// there, else a value for each column. `single`: values are compared in single precision, as scikit-learn's own trees
/// do.
class Forest {
 public:
  /// `features`: the columns of a row. Errors: `invalid` — a tree points outside, or is none.
  static Result<Forest> from_json(element step, std::size_t features);

  std::size_t width() const { return start_.size(); }
  /// `rows` holds count x features values; `out` gets count x width().
  void add_up(const double* rows, std::size_t count, double* out) const;

 private:
  /// An inner node's children lie side by side.
  struct Node {
    double threshold;
    std::uint32_t
        feature;         ///< with the highest bit set when a missing value goes left; of a leaf, where its values are
    std::uint32_t left;  ///< 0 in a leaf
  };
  struct Tree {
    std::uint32_t root;
    std::uint32_t group;
  };
  struct Lists;
  Result<void> add_tree(const Lists& lists, std::size_t root, std::size_t group);

  std::vector<Node> nodes_;
  std::vector<Tree> trees_;
  std::vector<double> leaves_;
  std::vector<double> start_;
  std::size_t features_ = 0;
  bool grouped_ = false;
  bool single_ = false;
};

}  // namespace lathe::infer
