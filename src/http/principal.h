#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lathe::http {

enum class Role { viewer, member, administrator };

/// Who is calling. Every record that a call makes names `user`.
struct Principal {
  std::int64_t user_id = 0;
  std::string user;
  Role role = Role::viewer;
  /// Set for a job's own token: the run (= job name) that it may write, with that run's children.
  std::optional<std::string> run;

  bool is_administrator() const { return role == Role::administrator && !run; }
};

/// The right that a route needs. `track` is the right to write runs: members have it, and so has a job for its own run.
enum class Right {
  open,        ///< nobody needs to log in: health, version
  read,        ///< viewers and up; a job's token too where the route says so
  track,       ///< members and up, and a job's token (the handler checks that it is the job's own run)
  write,       ///< members and up
  administer,  ///< administrators
};

}  // namespace lathe::http
