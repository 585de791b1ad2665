#pragma once

#include "base/log.h"

namespace lathe::log {

/// What is written from now on, and what is now. Thread-safe, after `start`.
void set_level(Level least);
Level level();

}  // namespace lathe::log
