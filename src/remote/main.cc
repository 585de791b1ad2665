#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

#include "remote/attempt.h"

namespace {

std::string variable(const char* name, const char* otherwise = "") {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

void on_term(int) {
  if (lathe::remote::terminated == 0) lathe::remote::terminated = 1;
}

}  // namespace

/// Everything comes by the environment that the batch script sets, since arguments are for all to see.
int main() {
  using namespace lathe::remote;
  Setting setting;
  if (!parse_url(variable("LATHE_ATTEMPT_URL"), setting.server) || variable("LATHE_ATTEMPT_BASE").empty()) {
    std::fputs(
        "lathe-remote runs a job of a Lathe server on a node of its cluster; the server's batch script starts it\n",
        stderr);
    return 2;
  }
  setting.server.token = variable("LATHE_ATTEMPT_TOKEN");
  setting.server.pin = variable("LATHE_ATTEMPT_PIN");
  setting.base = variable("LATHE_ATTEMPT_BASE");
  setting.node = std::atoi(variable("SLURM_NODEID", "0").c_str());
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  setting.host = variable("SLURMD_NODENAME", host);
  setting.nodes = std::atoi(variable("SLURM_JOB_NUM_NODES", "1").c_str());
  for (const char* name : {"LATHE_ATTEMPT_TOKEN", "LATHE_ATTEMPT_PIN"}) ::unsetenv(name);

  struct sigaction action {};
  action.sa_handler = on_term;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return Attempt(std::move(setting)).run();
}
