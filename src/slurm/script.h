#pragma once

#include <string>

namespace lathe::slurm {

/// What a batch script needs to bring lathe-remote to the nodes and start it there.
struct ScriptParts {
  std::string attempt_url;  ///< http(s)://HOST:PORT/api/v1/attempts/ID
  std::string token;        ///< the attempt's
  std::string pin;          ///< SHA-256 of the server's own certificate; empty: one that nodes trust, or no TLS
  std::string program_url;  ///< where lathe-remote is fetched from
  std::string program_sha256;
  std::string scratch;  ///< a folder on each node; empty: $SLURM_TMPDIR, $TMPDIR or /tmp
};

/// A script for a node that has bash and coreutils, and nothing of ours: it fetches the program by digest (curl, wget,
/// python3, or bash alone over plain HTTP), keeps it for the next job, and runs it on every node of the allocation.
std::string batch_script(const ScriptParts& parts);

}  // namespace lathe::slurm
