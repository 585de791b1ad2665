#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "remote/connection.h"

namespace lathe::remote {

/// One file to fetch before the job starts.
struct Wanted {
  std::string path;    ///< below the attempt's folder
  std::string sha256;  ///< empty: unknown
  std::uint64_t size = 0;
  bool executable = false;
  bool read_only = false;
  std::string source;  ///< below the attempt's address
};

struct Link {
  std::string path;
  std::string target;
};

/// A Python environment that the job needs. The folder is empty where it needs none but the node's own.
struct WantedEnvironment {
  std::string folder;                  ///< where all jobs with it find it; absolute
  std::string recipe;                  ///< as python/lathe_environments/build.py reads it
  std::vector<std::string> variables;  ///< of its build: NAME=VALUE
};

/// What the server answers to a claim: records "key=value", each ended by NUL, as docs/remote-protocol.md describes
/// them.
struct Manifest {
  std::vector<std::string> folders;
  std::vector<Wanted> files;
  std::vector<Link> links;
  WantedEnvironment environment;
  std::string checkpoint;            ///< the folder that is kept for another attempt; empty: none
  std::vector<std::string> outputs;  ///< folders that are uploaded in the end
  std::int64_t beat_ms = 10'000;
  std::string spec;  ///< FOLDER/spec as lathe-shim reads it
};

/// False with a sentence in `error`: another version, or damaged.
bool read_manifest(std::string_view text, Manifest& manifest, std::string& error);

/// Fetches one file, checks its digest and puts it in its place. Answers what the server said; `error` holds a sentence
/// when it is this machine's fault (a full disk) or the bytes are not those that were wanted.
Answer fetch(Connection& server, const std::string& folder, const Wanted& wanted, std::string& error);

}  // namespace lathe::remote
