#include "infer/runtimes/native_forest.h"

#include <algorithm>
#include <cmath>

namespace lathe::infer {
namespace {

constexpr std::uint32_t kMissingLeft = 0x80000000U;
constexpr std::size_t kMostNodes = std::size_t{1} << 30;

}  // namespace

struct Forest::Lists {
  std::vector<std::int64_t> feature, left, right;
  std::vector<double> threshold;
  std::vector<std::uint8_t> missing_left;
};

Result<Forest> Forest::from_json(element step, std::size_t features) {
  Lists lists;
  LATHE_TRY(lists.feature, numbers<std::int64_t>(step, "/feature"));
  LATHE_TRY(lists.left, numbers<std::int64_t>(step, "/left"));
  LATHE_TRY(lists.right, numbers<std::int64_t>(step, "/right"));
  LATHE_TRY(lists.threshold, numbers<double>(step, "/threshold"));
  lists.missing_left.resize(lists.feature.size());
  if (has(step, "/missing_left")) {
    LATHE_TRY(lists.missing_left, numbers<std::uint8_t>(step, "/missing_left"));
  }
  const auto size = lists.feature.size();
  for (const auto other : {lists.left.size(), lists.right.size(), lists.threshold.size(), lists.missing_left.size()})
    if (other != size || size > kMostNodes) return fail(Code::invalid, "a forest's lists differ in length");

  Forest out;
  out.features_ = features;
  LATHE_TRY(out.start_, numbers<double>(step, "/start"));
  LATHE_TRY(out.leaves_, numbers<double>(step, "/leaves"));
  LATHE_TRY(const auto roots, numbers<std::int64_t>(step, "/roots"));
  std::vector<std::int64_t> groups(roots.size());
  out.grouped_ = has(step, "/groups");
  if (out.grouped_) {
    LATHE_TRY(groups, numbers<std::int64_t>(step, "/groups"));
  }
  bool single = false;
  if (has(step, "/single") && step["single"].get(single) != simdjson::SUCCESS)
    return fail(Code::invalid, "/single is neither true nor false");
  out.single_ = single;
  if (groups.size() != roots.size() || out.start_.empty())
    return fail(Code::invalid, "a forest's trees have no columns");
  for (std::size_t i = 0; i < roots.size(); ++i) {
    const auto inside = [](std::int64_t place, std::size_t end) {
      return place >= 0 && static_cast<std::size_t>(place) < end;
    };
    if (!inside(roots[i], size) || !inside(groups[i], out.width()))
      return fail(Code::invalid, "a forest's tree begins outside, or adds to no column");
    LATHE_CHECK(out.add_tree(lists, static_cast<std::size_t>(roots[i]), static_cast<std::size_t>(groups[i])));
  }
  return out;
}

/// Breadth first, so that the upper levels, which every row visits, share cache lines.
Result<void> Forest::add_tree(const Lists& lists, std::size_t root, std::size_t group) {
  const auto size = lists.feature.size();
  const auto leaf_width = grouped_ ? 1 : width();
  const auto base = nodes_.size();
  std::vector<std::size_t> order{root};
  for (std::size_t at = 0; at < order.size(); ++at) {
    const auto from = order[at];
    const auto left = lists.left[from], right = lists.right[from];
    if (lists.feature[from] < 0) {
      if (left < 0 || static_cast<std::size_t>(left) + leaf_width > leaves_.size())
        return fail(Code::invalid, "a tree's leaf has no values");
      nodes_.push_back({0, static_cast<std::uint32_t>(left), 0});
      continue;
    }
    const auto child = [&](std::int64_t place) {  // children lie behind their parents: so there is no way around
      return place > static_cast<std::int64_t>(from) && static_cast<std::size_t>(place) < size;
    };
    if (!child(left) || !child(right) || order.size() + 2 > size || nodes_.size() > kMostNodes ||
        static_cast<std::size_t>(lists.feature[from]) >= features_)
      return fail(Code::invalid, "a tree's node points outside");
    nodes_.push_back(
        {lists.threshold[from],
         static_cast<std::uint32_t>(lists.feature[from]) | (lists.missing_left[from] != 0 ? kMissingLeft : 0U),
         static_cast<std::uint32_t>(base + order.size())});
    order.push_back(static_cast<std::size_t>(left));
    order.push_back(static_cast<std::size_t>(right));
  }
  trees_.push_back({static_cast<std::uint32_t>(base), static_cast<std::uint32_t>(group)});
  return {};
}

void Forest::add_up(const double* rows, std::size_t count, double* out) const {
  const auto columns = width();
  for (std::size_t i = 0; i < count; ++i) std::copy(start_.begin(), start_.end(), out + i * columns);
  thread_local std::vector<double> rounded;
  if (single_) {
    rounded.resize(count * features_);
    std::transform(rows, rows + rounded.size(), rounded.begin(),
                   [](double x) { return static_cast<double>(static_cast<float>(x)); });
    rows = rounded.data();
  }
  for (const auto& tree : trees_) {
    const double* row = rows;
    double* sums = out;
    for (std::size_t i = 0; i < count; ++i, row += features_, sums += columns) {
      const Node* node = &nodes_[tree.root];
      while (node->left != 0) {
        const double x = row[node->feature & ~kMissingLeft];
        const bool right = !(x <= node->threshold) && !(std::isnan(x) && (node->feature & kMissingLeft) != 0);
        node = &nodes_[node->left + (right ? 1U : 0U)];
      }
      const double* leaf = &leaves_[node->feature];
      if (grouped_)
        sums[tree.group] += *leaf;
      else
        for (std::size_t column = 0; column < columns; ++column) sums[column] += leaf[column];
    }
  }
}

}  // namespace lathe::infer
