#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "shim/job.h"
#include "shim/supervisor.h"

int main(int argc, char** argv) {
  using namespace lathe::shim;
  if (argc == 2 && std::strcmp(argv[1], "probe-mounts") == 0) return can_mount() ? 0 : 1;
  if (argc >= 3 && std::strcmp(argv[1], "exec") == 0) {
    exec_plainly(argv + 2);
    std::perror(argv[2]);
    return 127;
  }
  const bool whole = argc == 6;
  if ((argc != 3 && !whole) || std::strcmp(argv[1], "run") != 0 || argv[2][0] != '/') {
    std::fputs("usage: lathe-shim run /FOLDER [READY_FD LOCK_FD GATE_FD]\n       lathe-shim exec PROGRAM ARGUMENT...\n",
               stderr);
    return 2;
  }
  return whole ? run(argv[2], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5])) : run(argv[2], -1, -1, -1);
}
