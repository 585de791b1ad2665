#pragma once

namespace lathe::cli {

/// While it lives, the first Ctrl-C only sets a mark; a second one ends the program.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  static bool seen();
};

}  // namespace lathe::cli
