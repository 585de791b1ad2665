#pragma once

#include <vector>

#include "base/file.h"

namespace lathe::jobs {

/// A TCP port of this machine that no other lease has while `lease` is open, in whichever process. It is none of those
/// that the kernel gives out by itself, and nothing listened on it: who is told of it can bind it, however it does.
struct Port {
  int number = 0;
  Fd lease;
};

/// Thread-safe, among all servers of this machine. Errors: `exhausted`.
Result<std::vector<Port>> lease_ports(std::size_t count);

}  // namespace lathe::jobs
