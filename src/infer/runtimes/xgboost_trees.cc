#include "infer/runtimes/xgboost_trees.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "infer/runtimes/model_json.h"

namespace lathe::infer {
namespace {

constexpr std::uint32_t kMissingLeft = 0x80000000U;
constexpr std::size_t kBlockRows = 64;  ///< rows that walk one tree together, while it is in the cache

/// The sum in single precision, and the guards, are XGBoost's own.
float sigmoid(float x) {
  const float e = std::exp(std::min(-x, 88.7F));
  return 1.0F / (e + 1.0F + 1e-16F);
}

/// XGBoost writes its parameters as texts.
template <class T>
Result<T> number_in_text(element object, std::string_view path) {
  LATHE_TRY(const element found, member(object, path));
  std::string_view text;
  T value{};
  if (found.get(text) != simdjson::SUCCESS ||
      std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc{})
    return fail(Code::invalid, std::string(path) + " is not a number");
  return value;
}

}  // namespace

/// Reads the JSON form into the nodes.
class TreeReader {
 public:
  explicit TreeReader(XgboostTrees& out) : out_(out) {}

  Result<void> read(element model) {
    LATHE_CHECK(read_objective(model));
    LATHE_TRY(const element booster, member(model, "/learner/gradient_booster/name"));
    if (std::string_view name; booster.get(name) != simdjson::SUCCESS || name != "gbtree")
      return fail(Code::invalid, "the booster is not gbtree");
    LATHE_TRY(out_.features_, number_in_text<std::size_t>(model, "/learner/learner_model_param/num_feature"));
    LATHE_TRY(const auto groups, numbers<std::uint32_t>(model, "/learner/gradient_booster/model/tree_info"));
    LATHE_TRY(const element trees, member(model, "/learner/gradient_booster/model/trees"));
    simdjson::dom::array list;
    if (trees.get(list) != simdjson::SUCCESS || list.size() != groups.size())
      return fail(Code::invalid, "the trees do not fit tree_info");
    std::size_t i = 0;
    for (const element tree : list) {
      if (groups[i] >= out_.groups_) return fail(Code::invalid, "a tree belongs to no class");
      out_.trees_.push_back({static_cast<std::uint32_t>(out_.nodes_.size()), groups[i++]});
      LATHE_CHECK(read_tree(tree));
    }
    return {};
  }

 private:
  Result<void> read_objective(element model) {
    LATHE_TRY(const element found, member(model, "/learner/objective/name"));
    LATHE_TRY(const auto base, number_in_text<float>(model, "/learner/learner_model_param/base_score"));
    LATHE_TRY(const auto classes, number_in_text<std::size_t>(model, "/learner/learner_model_param/num_class"));
    std::string_view name;
    if (found.get(name) != simdjson::SUCCESS) return fail(Code::invalid, "the objective has no name");
    out_.groups_ = std::max<std::size_t>(classes, 1);
    out_.base_margin_ = base;
    if (name == "binary:logistic" || name == "binary:logitraw" || name == "reg:logistic") {
      out_.link_ = name == "binary:logitraw" ? XgboostTrees::Link::identity : XgboostTrees::Link::logistic;
      out_.base_margin_ = -std::log(1.0F / base - 1.0F);
    } else if (name == "multi:softprob") {
      out_.link_ = XgboostTrees::Link::softmax;
    } else if (name == "multi:softmax") {
      out_.link_ = XgboostTrees::Link::argmax;
    } else if (name != "reg:squarederror") {
      return fail(Code::invalid, "the objective is " + std::string(name));
    }
    const bool multi = name.starts_with("multi:");
    if (multi != (out_.groups_ > 1)) return fail(Code::invalid, "the number of classes does not fit the objective");
    return {};
  }

  Result<void> read_tree(element tree) {
    LATHE_TRY(const auto left, numbers<std::int64_t>(tree, "/left_children"));
    LATHE_TRY(const auto right, numbers<std::int64_t>(tree, "/right_children"));
    LATHE_TRY(const auto feature, numbers<std::uint32_t>(tree, "/split_indices"));
    LATHE_TRY(const auto value, numbers<float>(tree, "/split_conditions"));
    LATHE_TRY(const auto missing_left, numbers<int>(tree, "/default_left"));
    LATHE_TRY(const auto kinds, numbers<int>(tree, "/split_type"));
    const auto size = left.size();
    for (const auto other : {right.size(), feature.size(), value.size(), missing_left.size(), kinds.size()})
      if (other != size || size == 0) return fail(Code::invalid, "a tree's lists differ in length");
    if (std::any_of(kinds.begin(), kinds.end(), [](int kind) { return kind != 0; }))
      return fail(Code::invalid, "a split is categorical");

    // Breadth first, so that the upper levels, which every row visits, share cache lines.
    auto& nodes = out_.nodes_;
    std::vector<std::size_t> order{0};
    const auto base = nodes.size();
    for (std::size_t at = 0; at < order.size(); ++at) {
      const auto from = order[at];
      if (left[from] < 0) {
        nodes.push_back({value[from], 0, 0});
        continue;
      }
      const auto l = static_cast<std::size_t>(left[from]);
      const auto r = static_cast<std::size_t>(right[from]);
      if (right[from] < 0 || l >= size || r >= size || order.size() + 2 > size || feature[from] >= out_.features_)
        return fail(Code::invalid, "a tree's node points outside");
      nodes.push_back({value[from], feature[from] | (missing_left[from] != 0 ? kMissingLeft : 0U),
                       static_cast<std::uint32_t>(base + order.size())});
      order.push_back(l);
      order.push_back(r);
    }
    return {};
  }

  XgboostTrees& out_;
};

Result<XgboostTrees> XgboostTrees::from_json(std::string_view json) {
  simdjson::dom::parser parser;
  element model;
  if (parser.parse(json.data(), json.size()).get(model) != simdjson::SUCCESS)
    return fail(Code::invalid, "the model is not JSON");
  XgboostTrees trees;
  LATHE_CHECK(TreeReader(trees).read(model));
  return trees;
}

void XgboostTrees::add_margins(const float* rows, std::size_t count, float* margins) const {
  std::fill_n(margins, count * groups_, base_margin_);
  for (const auto& tree : trees_) {
    const float* row = rows;
    float* margin = margins + tree.group;
    for (std::size_t i = 0; i < count; ++i, row += features_, margin += groups_) {
      const Node* node = &nodes_[tree.root];
      while (node->left != 0) {
        const float x = row[node->feature & ~kMissingLeft];
        const bool left = std::isnan(x) ? (node->feature & kMissingLeft) != 0 : x < node->value;
        node = &nodes_[node->left + (left ? 0U : 1U)];
      }
      *margin += node->value;
    }
  }
}

void XgboostTrees::finish_row(const float* margins, float* out) const {
  switch (link_) {
    case Link::identity:
      *out = *margins;
      break;
    case Link::logistic:
      *out = sigmoid(*margins);
      break;
    case Link::argmax:
      *out = static_cast<float>(std::max_element(margins, margins + groups_) - margins);
      break;
    case Link::softmax: {
      const float most = *std::max_element(margins, margins + groups_);
      double sum = 0;
      for (std::size_t i = 0; i < groups_; ++i) {
        out[i] = std::exp(margins[i] - most);
        sum += static_cast<double>(out[i]);
      }
      for (std::size_t i = 0; i < groups_; ++i) out[i] /= static_cast<float>(sum);
    }
  }
}

void XgboostTrees::predict(const float* rows, std::size_t count, float* out) const {
  std::array<float, 1024> few;
  std::vector<float> many;
  const auto block = std::min(kBlockRows, count);
  float* margins = few.data();
  if (block * groups_ > few.size()) {
    many.resize(block * groups_);
    margins = many.data();
  }
  for (std::size_t done = 0; done < count; done += block) {
    const auto now = std::min(block, count - done);
    add_margins(rows + done * features_, now, margins);
    for (std::size_t i = 0; i < now; ++i) finish_row(margins + i * groups_, out + (done + i) * width());
  }
}

}  // namespace lathe::infer
