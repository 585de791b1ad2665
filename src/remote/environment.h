#pragma once

#include <string>

#include "remote/fetch.h"

namespace lathe::remote {

/// A Python environment on this node, or in a folder that nodes share, made once for all jobs that need it:
///
///     FOLDER/lock   env-N/ (an environment, or half of one)   ready -> env-N
///
/// Only what `ready` leads to is ever used. It appears in one step, after all of the environment is on the disk; what a
/// build left that was killed is removed by the next one.
class Environment {
 public:
  /// `name`: tells this build from all others.
  Environment(const WantedEnvironment& wanted, const std::string& name)
      : wanted_(wanted), made_(wanted.folder + "/env-" + name) {}
  ~Environment();
  Environment(const Environment&) = delete;

  /// Whether jobs can use it.
  bool ready() const;
  enum class Turn {
    ours,    ///< to make it, until this object goes
    others,  ///< another job makes it now
    never    ///< `error` says why
  };
  Turn take_turn();
  /// Lays out the folder of a build. Answers the supervisor's spec for it; empty: `error` says why. `script`: build.py.
  std::string begin(const std::string& script);
  /// The build has succeeded. False: `error` says why.
  bool publish();
  /// What build.py says that went wrong; may be empty.
  std::string said() const;

  std::string error;

 private:
  void clear() const;

  const WantedEnvironment& wanted_;
  std::string made_;  ///< env-N
  int lock_ = -1;
};

}  // namespace lathe::remote
