#include "infer/batching/join.h"

#include <algorithm>

namespace lathe::infer {

Result<std::size_t> count_rows(std::span<const Tensor> inputs, std::size_t most) {
  const auto& first = inputs.front();
  for (const auto& input : inputs) {
    const auto where = "input \"" + input.name + "\": ";
    if (input.shape.empty()) return fail(Code::invalid, where + "its first dimension must be the batch, got shape []");
    if (input.shape.front() != first.shape.front())
      return fail(Code::invalid, where + "expected " + std::to_string(first.shape.front()) + " rows as in input \"" +
                                     first.name + "\", got " + std::to_string(input.shape.front()));
  }
  const auto rows = static_cast<std::size_t>(first.shape.front());
  if (rows > most)
    return fail(Code::invalid, "expected at most " + std::to_string(most) + " rows (max_batch_size), got " +
                                   std::to_string(rows) + "; send them in several requests");
  return rows;
}

std::string kind_of(std::span<const Tensor> inputs) {
  std::string kind;
  for (const auto& input : inputs) {
    kind += static_cast<char>(input.type);
    kind += static_cast<char>(input.shape.size());
    if (input.shape.size() < 2) continue;
    const auto* const sizes = reinterpret_cast<const char*>(input.shape.data() + 1);
    kind.append(sizes, (input.shape.size() - 1) * sizeof input.shape[0]);
  }
  return kind;
}

std::vector<Tensor> join_inputs(std::span<const std::vector<Tensor>* const> requests) {
  std::vector<Tensor> joined;
  for (std::size_t i = 0; i < requests.front()->size(); ++i) {
    const auto& first = (*requests.front())[i];
    auto& out = joined.emplace_back(Tensor{first.name, first.type, first.shape, {}, {}});
    out.shape.front() = 0;
    std::size_t bytes = 0;
    for (const auto* const each : requests) bytes += (*each)[i].data.size();
    out.data.reserve(bytes);
    for (const auto* const each : requests) {
      const auto& part = (*each)[i];
      out.shape.front() += part.shape.front();
      out.data.insert(out.data.end(), part.data.begin(), part.data.end());
      out.texts.insert(out.texts.end(), part.texts.begin(), part.texts.end());
    }
  }
  return joined;
}

Result<Tensor> cut_rows(const Tensor& whole, std::size_t all_rows, std::size_t first, std::size_t rows) {
  if (whole.shape.empty() || whole.shape.front() != static_cast<std::int64_t>(all_rows))
    return fail(Code::internal, "\"" + whole.name + "\" of " + std::to_string(all_rows) + " rows has the shape " +
                                    print(whole.shape) + ": its first dimension is not the batch's");
  Tensor out{whole.name, whole.type, whole.shape, {}, {}};
  out.shape.front() = static_cast<std::int64_t>(rows);
  if (all_rows == 0) return out;
  const auto slice = [&](const auto& from, auto& to) {
    const auto each = from.size() / all_rows;
    const auto begin = from.begin() + static_cast<std::ptrdiff_t>(first * each);
    to.assign(begin, begin + static_cast<std::ptrdiff_t>(rows * each));
  };
  slice(whole.data, out.data);
  slice(whole.texts, out.texts);
  return out;
}

}  // namespace lathe::infer
