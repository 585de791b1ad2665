#include "infer/runtimes/native_steps.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "infer/runtimes/native_forest.h"

namespace lathe::infer {
namespace {

constexpr std::size_t kMostColumns = std::size_t{1} << 20;
constexpr int kDeepest = 8;  ///< of joins within joins

using Made = Result<std::unique_ptr<Step>>;

/// A step that keeps the width and changes one row at a time.
template <class F>
class EachRow : public Step {
 public:
  EachRow(std::size_t width, F change) : width_(width), change_(std::move(change)) {}
  std::size_t width() const override { return width_; }
  Result<void> apply(Block& block) const override {
    for (std::size_t i = 0; i < block.rows; ++i) LATHE_CHECK(change_(block.row_span(i)));
    return {};
  }

 private:
  std::size_t width_;
  F change_;
};
template <class F>
std::unique_ptr<Step> each_row(std::size_t width, F change) {
  return std::make_unique<EachRow<F>>(width, std::move(change));
}

/// A step that makes rows of another width, one at a time.
template <class F>
class NewRow : public Step {
 public:
  NewRow(std::size_t width, F make) : width_(width), make_(std::move(make)) {}
  std::size_t width() const override { return width_; }
  Result<void> apply(Block& block) const override {
    Block out{block.rows, width_, std::vector<double>(block.rows * width_)};
    for (std::size_t i = 0; i < block.rows; ++i)
      LATHE_CHECK(make_(std::span<const double>(block.row_span(i)), out.row_span(i)));
    block = std::move(out);
    return {};
  }

 private:
  std::size_t width_;
  F make_;
};
template <class F>
std::unique_ptr<Step> new_row(std::size_t width, F make) {
  return std::make_unique<NewRow<F>>(width, std::move(make));
}

/// One number for each column.
Result<std::vector<double>> per_column(element step, std::string_view path, std::size_t width) {
  LATHE_TRY(auto out, numbers<double>(step, path));
  if (out.size() != width)
    return fail(Code::invalid, std::string(path) + " has " + std::to_string(out.size()) + " numbers for " +
                                   std::to_string(width) + " columns");
  return out;
}

Result<double> number(element step, std::string_view path) {
  LATHE_TRY(const element found, member(step, path));
  double out = 0;
  if (found.get(out) != simdjson::SUCCESS) return fail(Code::invalid, std::string(path) + " is not a number");
  return out;
}

Made finite(element step, std::size_t width) {
  bool single = false;
  if (has(step, "/single") && step["single"].get(single) != simdjson::SUCCESS)
    return fail(Code::invalid, "/single is neither true nor false");
  return each_row(width, [single](std::span<const double> row) -> Result<void> {
    const double most =
        single ? static_cast<double>(std::numeric_limits<float>::max()) : std::numeric_limits<double>::max();
    for (std::size_t i = 0; i < row.size(); ++i)
      if (!(std::abs(row[i]) <= most))
        return fail(Code::invalid, "the model takes no missing, infinite or huge values, and column " +
                                       std::to_string(i + 1) + " has one");
    return {};
  });
}

Made impute(element step, std::size_t width) {
  LATHE_TRY(auto values, per_column(step, "/values", width));
  return each_row(width, [values = std::move(values)](std::span<double> row) -> Result<void> {
    for (std::size_t i = 0; i < row.size(); ++i)
      if (std::isnan(row[i])) row[i] = values[i];
    return {};
  });
}

Made elementwise(element step, std::size_t width) {
  std::vector<std::pair<char, std::vector<double>>> parts;
  for (const auto& [name, sign] : {std::pair{"/subtract", '-'}, {"/divide", '/'}, {"/multiply", '*'}, {"/add", '+'}}) {
    if (!has(step, name)) continue;
    LATHE_TRY(auto values, per_column(step, name, width));
    parts.emplace_back(sign, std::move(values));
  }
  return each_row(width, [parts = std::move(parts)](std::span<double> row) -> Result<void> {
    for (const auto& [sign, values] : parts)
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (sign == '-') row[i] -= values[i];
        if (sign == '/') row[i] /= values[i];
        if (sign == '*') row[i] *= values[i];
        if (sign == '+') row[i] += values[i];
      }
    return {};
  });
}

Made clip(element step, std::size_t width) {
  LATHE_TRY(const auto least, number(step, "/least"));
  LATHE_TRY(const auto greatest, number(step, "/greatest"));
  if (!(least <= greatest)) return fail(Code::invalid, "clip: least is above greatest");
  return each_row(width, [least, greatest](std::span<double> row) -> Result<void> {
    for (auto& x : row) x = std::isnan(x) ? x : std::clamp(x, least, greatest);
    return {};
  });
}

double norm_l1(std::span<const double> row) {
  return std::accumulate(row.begin(), row.end(), 0.0, [](double sum, double x) { return sum + std::abs(x); });
}
double norm_l2(std::span<const double> row) {
  return std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
}
double norm_max(std::span<const double> row) {
  return std::accumulate(row.begin(), row.end(), 0.0,
                         [](double most, double x) { return std::max(most, std::abs(x)); });
}

Made normalize(element step, std::size_t width) {
  LATHE_TRY(const auto name, text(step, "/norm"));
  const auto norm = name == "l1" ? norm_l1 : name == "l2" ? norm_l2 : name == "max" ? norm_max : nullptr;
  if (norm == nullptr) return fail(Code::invalid, "there is no norm " + std::string(name));
  return each_row(width, [norm](std::span<double> row) -> Result<void> {
    const double size = norm(row);
    if (size != 0)
      for (auto& x : row) x /= size;
    return {};
  });
}

Made select(element step, std::size_t width) {
  LATHE_TRY(auto columns, numbers<std::int64_t>(step, "/columns"));
  for (const auto column : columns)
    if (column < 0 || static_cast<std::size_t>(column) >= width)
      return fail(Code::invalid, "select: there is no column " + std::to_string(column));
  const auto count = columns.size();
  return new_row(count,
                 [columns = std::move(columns)](std::span<const double> row, std::span<double> out) -> Result<void> {
                   for (std::size_t i = 0; i < out.size(); ++i) out[i] = row[static_cast<std::size_t>(columns[i])];
                   return {};
                 });
}

Made one_hot(element step, std::size_t width) {
  LATHE_TRY(const auto items, list(step, "/categories"));
  std::vector<std::vector<double>> categories;
  std::size_t count = 0;
  for (const element item : items) {
    LATHE_TRY(categories.emplace_back(), numbers<double>(item, ""));
    count += categories.back().size();
  }
  if (categories.size() != width || count > kMostColumns)
    return fail(Code::invalid, "one_hot: the categories do not fit the columns");
  const bool ignore = has(step, "/unknown");
  return new_row(
      count,
      [categories = std::move(categories), ignore](std::span<const double> row, std::span<double> out) -> Result<void> {
        std::size_t at = 0;
        for (std::size_t i = 0; i < row.size(); ++i) {
          const auto& known = categories[i];
          const auto found = std::find(known.begin(), known.end(), row[i]);
          if (found != known.end())
            out[at + static_cast<std::size_t>(found - known.begin())] = 1;
          else if (!ignore)
            return fail(Code::invalid, "the model knows no category " + std::to_string(row[i]) + " in column " +
                                           std::to_string(i + 1));
          at += known.size();
        }
        return {};
      });
}

Made linear(element step, std::size_t width) {
  LATHE_TRY(auto bias, numbers<double>(step, "/bias"));
  const auto count = bias.size();
  if (count > kMostColumns) return fail(Code::invalid, "linear: too many columns");
  LATHE_TRY(auto weights, per_column(step, "/weights", width * count));
  return new_row(count,
                 [weights = std::move(weights), bias = std::move(bias)](std::span<const double> row,
                                                                        std::span<double> out) -> Result<void> {
                   const double* weight = weights.data();
                   for (std::size_t i = 0; i < out.size(); ++i, weight += row.size())
                     out[i] = std::inner_product(row.begin(), row.end(), weight, 0.0) + bias[i];
                   return {};
                 });
}

void softmax(std::span<double> row) {
  const double most = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (auto& x : row) sum += x = std::exp(x - most);
  for (auto& x : row) x /= sum;
}

Made activate(element step, std::size_t width) {
  LATHE_TRY(const auto by, text(step, "/by"));
  if (by == "softmax")
    return each_row(width, [](std::span<double> row) -> Result<void> {
      softmax(row);
      return {};
    });
  double (*const function)(double) = by == "relu"       ? +[](double x) { return std::max(x, 0.0); }
                                     : by == "tanh"     ? +[](double x) { return std::tanh(x); }
                                     : by == "logistic" ? +[](double x) { return 1 / (1 + std::exp(-x)); }
                                     : by == "exp"      ? +[](double x) { return std::exp(x); }
                                                        : nullptr;
  if (function == nullptr) return fail(Code::invalid, "there is no activation " + std::string(by));
  return each_row(width, [function](std::span<double> row) -> Result<void> {
    for (auto& x : row) x = function(x);
    return {};
  });
}

Made two_of_one(std::size_t width, double (*other)(double)) {
  if (width != 1) return fail(Code::invalid, "complement and mirror are for one column");
  return new_row(2, [other](std::span<const double> row, std::span<double> out) -> Result<void> {
    out[0] = other(row[0]);
    out[1] = row[0];
    return {};
  });
}

Made distances(element step, std::size_t width) {
  LATHE_TRY(auto centers, numbers<double>(step, "/centers"));
  if (centers.empty() || centers.size() % width != 0)
    return fail(Code::invalid, "distances: the centers do not fit the columns");
  const auto count = centers.size() / width;
  return new_row(count,
                 [centers = std::move(centers)](std::span<const double> row, std::span<double> out) -> Result<void> {
                   const double* center = centers.data();
                   for (auto& distance : out) {
                     double sum = 0;
                     for (const double x : row) {
                       sum += (x - *center) * (x - *center);
                       ++center;
                     }
                     distance = std::sqrt(sum);
                   }
                   return {};
                 });
}

class ForestStep : public Step {
 public:
  explicit ForestStep(Forest forest) : forest_(std::move(forest)) {}
  std::size_t width() const override { return forest_.width(); }
  Result<void> apply(Block& block) const override {
    Block out{block.rows, forest_.width(), std::vector<double>(block.rows * forest_.width())};
    forest_.add_up(block.values.data(), block.rows, out.values.data());
    block = std::move(out);
    return {};
  }

 private:
  Forest forest_;
};

class Join : public Step {
 public:
  explicit Join(std::vector<Steps> parts) : parts_(std::move(parts)) {
    for (const auto& part : parts_) width_ += part.width();
  }
  std::size_t width() const override { return width_; }
  Result<void> apply(Block& block) const override {
    Block out{block.rows, width_, std::vector<double>(block.rows * width_)};
    std::size_t at = 0;
    for (const auto& steps : parts_) {
      auto part = block;
      LATHE_CHECK(steps.apply(part));
      for (std::size_t i = 0; i < block.rows; ++i) std::copy_n(part.row(i), part.width, out.row(i) + at);
      at += part.width;
    }
    block = std::move(out);
    return {};
  }

 private:
  std::vector<Steps> parts_;
  std::size_t width_ = 0;
};

Made join(element step, std::size_t width) {
  thread_local int depth = 0;
  if (depth >= kDeepest) return fail(Code::invalid, "join: too many within each other");
  LATHE_TRY(const auto items, list(step, "/parts"));
  std::vector<Steps> parts;
  ++depth;
  for (const element item : items) {
    simdjson::dom::array steps;
    auto part = item.get(steps) == simdjson::SUCCESS ? Steps::from_json(steps, width)
                                                     : fail(Code::invalid, "join: a part is not a list of steps");
    if (!part) {
      --depth;
      return fail(part.error());
    }
    parts.push_back(std::move(*part));
  }
  --depth;
  return std::make_unique<Join>(std::move(parts));
}

Made make_step(element step, std::size_t width) {
  LATHE_TRY(const auto what, text(step, "/do"));
  if (what == "finite") return finite(step, width);
  if (what == "impute") return impute(step, width);
  if (what == "elementwise") return elementwise(step, width);
  if (what == "clip") return clip(step, width);
  if (what == "normalize") return normalize(step, width);
  if (what == "select") return select(step, width);
  if (what == "one_hot") return one_hot(step, width);
  if (what == "join") return join(step, width);
  if (what == "linear") return linear(step, width);
  if (what == "activate") return activate(step, width);
  if (what == "complement") return two_of_one(width, [](double p) { return 1 - p; });
  if (what == "mirror") return two_of_one(width, [](double d) { return -d; });
  if (what == "distances") return distances(step, width);
  if (what == "forest") {
    LATHE_TRY(auto forest, Forest::from_json(step, width));
    return std::make_unique<ForestStep>(std::move(forest));
  }
  return fail(Code::invalid, "there is no step \"" + std::string(what) + "\" in this version");
}

}  // namespace

Result<Steps> Steps::from_json(simdjson::dom::array steps, std::size_t features) {
  Steps out;
  out.features_ = features;
  for (const element step : steps) {
    auto made = make_step(step, out.width());
    if (!made)
      return fail(Code::invalid, "step " + std::to_string(out.steps_.size() + 1) + ": " + made.error().message);
    out.steps_.push_back(std::move(*made));
    if (out.width() == 0)
      return fail(Code::invalid, "step " + std::to_string(out.steps_.size()) + " leaves no columns");
  }
  return out;
}

Result<void> Steps::apply(Block& block) const {
  for (const auto& step : steps_) LATHE_CHECK(step->apply(block));
  return {};
}

}  // namespace lathe::infer
