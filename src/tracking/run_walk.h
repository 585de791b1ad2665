#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tracking/filter.h"
#include "tracking/tracking.h"

/// Runs of one experiment in an order that an index has, from any place of it on: a page costs the same wherever it is
/// and however many runs there are.
namespace lathe::tracking {

enum class RunField : std::uint8_t { start, metric, param, tag };

struct RunOrder {
  RunField field = RunField::start;
  std::string key = {};  ///< of the metric, parameter or tag
  bool ascending = false;
};

/// Texts are ordered, and found, by so many characters: the column `beginning`, which the indexes hold.
constexpr std::size_t kIndexedCharacters = 200;
/// The table that has the field, and its index by value: "metric", "run_param", "run_tag".
std::string_view table_of(RunField field);

/// Where a run stands in an order. Runs with a number or text come first, then those with NaN, then the others; equals
/// in the order of their start, newest first, then of their ids.
struct Place {
  enum class Part : std::uint8_t { valued, nan, others };
  Part part = Part::others;
  double number = 0;
  std::string text = {};
  std::int64_t start_ms = 0;
  std::string id = {};
};
bool before(const Place& a, const Place& b, const RunOrder& order);

struct Placed {
  RunInfo run;
  Place place;
};

/// A parameter or tag that all runs of a walk by start have: they are found by it.
struct Through {
  RunField field;
  std::string key;
  std::string value;
};

/// Adds conditions on r, the run, whose number is in the column `run` too.
using Filter = std::function<Result<void>(Where&, std::string_view run)>;

/// At most `most` runs that come after `after`.
Result<std::vector<Placed>> walk_runs(db::Connection& c, std::int64_t experiment, const RunOrder& order,
                                      const std::optional<Through>& through, const Filter& filter,
                                      const std::optional<Place>& after, std::size_t most);

/// The condition that d, a row of the field's table, is the experiment's and has this text.
std::string text_is(Where& where, std::int64_t experiment, const std::string& key, const std::string& value);

/// A page token that holds a place, and the place that a token holds (nullopt: none). Errors: `invalid`.
std::string make_page_token(std::size_t offset, const Place& place);
Result<std::optional<Place>> place_of(std::string_view page_token);

}  // namespace lathe::tracking
