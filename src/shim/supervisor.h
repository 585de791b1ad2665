#pragma once

namespace lathe::shim {

/// Supervises FOLDER/spec until exit.json is written, as README.md says. `lock`: FOLDER/lock, held already, or -1 to
/// take it. `ready`: a pipe on which the start is told; the caller returns at once, and a process of its own
/// supervises. -1: this process does. `gate`: may be -1. Answers the exit status for main: 2 when the folder is in use.
int run(const char* folder, int ready, int lock, int gate);

}  // namespace lathe::shim
