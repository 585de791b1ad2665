#pragma once

#include <array>
#include <ext/pb_ds/assoc_container.hpp>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "compute/events.h"

/// The jobs that wait for one target, in the order in which they start. All changes take O(log n).
namespace lathe::compute {

struct Line;
struct User;

struct Job {
  enum class State { paused, waiting, running, leaving };
  const std::string* name = nullptr;
  std::string target;
  Need need;
  User* user = nullptr;
  State state = State::waiting;
  int rank = 0;                  ///< of its tier and priority; higher comes first
  std::int64_t arrival = 0;      ///< the order of coming, among those with one number
  std::int64_t start_order = 0;  ///< the order of starting
  Time since{};                  ///< when it started
  Time not_before{};
  Time ends{};                   ///< the latest; Time::max(): no limit
  Time charged{};                ///< up to when its use is charged already
  std::int64_t share = 0;        ///< of the machine, in millionths
  std::int64_t deposit = 0;      ///< what is charged to its user until it has ended
  std::vector<std::int64_t> nodes;  ///< numbers, while it runs

  std::pair<std::int64_t, std::int64_t> place() const { return {need.number == 0 ? arrival : need.number, arrival}; }
};

/// Jobs of one user, one target and one rank, by their order of submission.
struct Line {
  using Jobs = __gnu_pbds::tree<std::pair<std::int64_t, std::int64_t>, Job*, std::less<>, __gnu_pbds::rb_tree_tag,
                                __gnu_pbds::tree_order_statistics_node_update>;
  using Key = std::tuple<std::int64_t, std::pair<std::int64_t, std::int64_t>, Line*>;

  std::string target;
  int rank = 0;
  Jobs jobs;
  std::optional<Key> listed;  ///< under this key in its target's line; none: it is empty, or a quota keeps it out
};

struct User {
  std::string name;
  std::int64_t used = 0;      ///< by jobs that have ended
  std::int64_t deposits = 0;  ///< by those that run
  std::int64_t nodes = 0;     ///< that his jobs have
  std::vector<std::unique_ptr<Line>> lines;

  Line& line(const std::string& target, int rank);
};

constexpr int kRanks = 12;  ///< four tiers of three priorities

/// Of one target: ranks, in them users, in them jobs.
struct TargetLine {
  std::array<std::set<Line::Key>, kRanks> ranks;

  /// The first in line, or null.
  Job* first() const;
  /// Up to `limit` jobs behind the first.
  std::vector<Job*> behind_first(std::size_t limit) const;
  /// Those before this one, which is in line; at most `limit`.
  std::vector<const Job*> all_before(const Job& job, std::size_t limit) const;
  /// How many are before this one, which is in line.
  std::int64_t before(const Line& line, const Job& job) const;
  /// Takes the line out, and in again under `score` if it has jobs and `open`.
  void list(Line& line, std::int64_t score, bool open);
};

}  // namespace lathe::compute
