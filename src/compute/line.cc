#include "compute/line.h"

#include <algorithm>

namespace lathe::compute {

Line& User::line(const std::string& target, int rank) {
  const auto found = std::find_if(lines.begin(), lines.end(), [&](const auto& line) { return line->rank == rank && line->target == target; });
  if (found != lines.end()) return **found;
  auto& line = *lines.emplace_back(std::make_unique<Line>());
  line.target = target;
  line.rank = rank;
  return line;
}

Job* TargetLine::first() const {
  for (auto rank = ranks.rbegin(); rank != ranks.rend(); ++rank)
    if (!rank->empty()) return std::get<Line*>(*rank->begin())->jobs.begin()->second;
  return nullptr;
}

std::vector<Job*> TargetLine::behind_first(std::size_t limit) const {
  std::vector<Job*> out;
  bool first = true;
  for (auto rank = ranks.rbegin(); rank != ranks.rend(); ++rank)
    for (const auto& key : *rank)
      for (const auto& [place, job] : std::get<Line*>(key)->jobs) {
        if (out.size() == limit) return out;
        if (!std::exchange(first, false)) out.push_back(job);
      }
  return out;
}

std::vector<const Job*> TargetLine::all_before(const Job& job, std::size_t limit) const {
  std::vector<const Job*> out;
  for (auto rank = ranks.rbegin(); rank != ranks.rend(); ++rank)
    for (const auto& key : *rank)
      for (const auto& [place, other] : std::get<Line*>(key)->jobs) {
        if (other == &job || out.size() == limit) return out;
        out.push_back(other);
      }
  return out;
}

std::int64_t TargetLine::before(const Line& line, const Job& job) const {
  std::size_t count = line.jobs.order_of_key(job.place());
  for (auto rank = static_cast<std::size_t>(kRanks); rank-- > static_cast<std::size_t>(line.rank);)
    for (const auto& key : ranks[rank]) {
      if (std::get<Line*>(key) == &line) break;
      count += std::get<Line*>(key)->jobs.size();
    }
  return static_cast<std::int64_t>(count);
}

void TargetLine::list(Line& line, std::int64_t score, bool open) {
  auto& rank = ranks[static_cast<std::size_t>(line.rank)];
  if (line.listed) rank.erase(*line.listed);
  line.listed.reset();
  if (!open || line.jobs.empty()) return;
  line.listed = Line::Key{score, line.jobs.begin()->first, &line};
  rank.insert(*line.listed);
}

}  // namespace lathe::compute
