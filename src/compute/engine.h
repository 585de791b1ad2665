#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "json/fields.h"

namespace lathe::compute {

/// Where an engine runs a target's jobs, and what of a node each gets. Empty and zero: the engine's own default.
struct Partition {
  std::string name;
  std::string account;
  std::string qos;
  std::int64_t cores = 0;  ///< of each node; 0: the whole node
  std::int64_t memory_bytes = 0;
  std::int64_t gpus = 0;
  bool operator==(const Partition&) const = default;
};

/// A job on its way to an engine: one attempt to run it.
struct Order {
  std::string attempt;  ///< our own id, by which the engine's list is read
  std::string job;
  std::string target;
  std::string user;
  std::int64_t nodes = 1;
  std::int64_t time_limit_s = 0;  ///< 0: none
  std::string priority;           ///< low, medium or high; empty: medium
  std::string tier;               ///< spot, basic, standard or premium; empty: standard
  std::string script;             ///< what the first node runs
  std::chrono::seconds delay{0};  ///< not handed over before that
};

/// What an engine knows of an attempt.
struct Sighting {
  enum class Where {
    unknown,  ///< not handed over yet, or not looked at since
    waiting,  ///< in the engine's queue
    running,  ///< has its nodes
    over,     ///< the engine has ended it, or forgot it
    refused   ///< the engine does not take it: `words` says why
  };
  Where where = Where::unknown;
  std::string words;               ///< why it waits, or how it ended: in the engine's words
  bool cancelled = false;          ///< by somebody, in the engine
  bool lost = false;               ///< a node failed or was taken away, or the engine forgot it: worth another attempt
  bool lost_unless_begun = false;  ///< `cancelled` is somebody's wish only if the attempt had begun
  bool timed_out = false;          ///< it ran into the engine's time limit
  std::string nodes;
  std::string expected_start;
};

struct EngineNode {
  std::string name;
  std::string state;  ///< Azure's: idle, running, preparing, leaving, unusable; "off" for one without power
  std::string words;  ///< the engine's own, with a reason
  std::int64_t cores = 0;
  std::int64_t memory_bytes = 0;
  bool elastic = false;  ///< goes without power when idle
};

/// The nodes of a target as the engine showed them last.
struct EngineView {
  std::vector<EngineNode> nodes;
  std::optional<Time> seen;  ///< none: never yet
  std::string trouble;       ///< why it is not newer; empty: it is fresh
  std::string note;          ///< what people should know: "nodes are powered up by sbatch itself: ..."
  std::int64_t waiting = 0;  ///< our jobs there
  std::int64_t running = 0;
};

/// What runs jobs on machines of its own choice: order, placement, gangs and preemption are its business. Thread-safe;
/// no call waits for the engine.
class Engine {
 public:
  virtual ~Engine() = default;

  /// Called on the engine's thread when a sighting changed. Must not block for long.
  using Changed = std::function<void(const std::string& attempt)>;
  virtual void start(Changed changed) = 0;
  /// Nothing is handed over and nobody is called any more when this has returned.
  virtual void stop() = 0;

  /// Hands it over as soon as possible, and tries again while the engine is away.
  virtual void submit(Order order) = 0;
  /// Looks for one that was handed over by an earlier server: where it is will be known after the next look.
  virtual void follow(const Order& order) = 0;
  /// Ends it, wherever it is.
  virtual void cancel(const std::string& attempt) = 0;
  /// Makes what runs for it ask the server what is wanted.
  virtual void wake(const std::string& attempt) = 0;
  /// Its end is known: nothing is told of it any more. What of it still waits there is cancelled, at once if `cancel`
  /// asked for that; what runs has a minute to end by itself.
  virtual void forget(const std::string& attempt) = 0;

  virtual Sighting look(const std::string& attempt) const = 0;
  /// One sentence on what it waits for.
  virtual std::string explain(const std::string& attempt) const = 0;
  virtual EngineView view(const std::string& target) = 0;
  /// Why a job of that size could never run there; empty: it could, or the engine has not said yet what there is.
  virtual std::string never_runs(const Order& order) = 0;
  /// How many jobs of the target wait or run.
  virtual std::size_t jobs(const std::string& target) const = 0;
  /// Empty while it answers; else a sentence with the time since when it does not.
  virtual std::string trouble() const = 0;
};

}  // namespace lathe::compute

namespace lathe::json {

template <>
struct Fields<compute::Partition> {
  static constexpr std::string_view name = "Partition";
  using T = compute::Partition;
  static constexpr auto list =
      std::tuple{field("partition", &T::name),
                 field("account", &T::account),
                 field("qos", &T::qos),
                 field("cores", &T::cores, "of each node; 0: all"),
                 field("memory_bytes", &T::memory_bytes, "of each node; 0: as the partition gives"),
                 field("gpus", &T::gpus, "of each node")};
};

}  // namespace lathe::json
