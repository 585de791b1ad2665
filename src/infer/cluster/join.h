#pragma once

#include <filesystem>
#include <string>

#include "infer/cluster/member.h"

/// What `lathe-infer --join` makes of its flags.
namespace lathe::infer {

struct JoinOptions {
  std::string server;              ///< --join; empty: it does not
  std::string token_file;          ///< --token-file
  std::string certificate_sha256;  ///< --server-certificate-sha256
  std::string advertise;           ///< --advertise
};

/// Where a node keeps what it serves when nobody says: below XDG_DATA_HOME or HOME. Errors: `invalid` — neither is set.
Result<std::filesystem::path> default_folder();

/// The address to listen on when nobody says: loopback where the server is there, else all.
std::string default_host(const JoinOptions& join);

/// `rest`: the URL on which the data plane listens, `grpc`: HOST:PORT. What others reach it by is, unless --advertise
/// says, the address from which this machine reaches the server.
/// Errors: `invalid` — a flag is wrong, or the address is one that only this machine reaches.
Result<MemberOptions> member_options(const JoinOptions& join, std::filesystem::path folder, const std::string& rest,
                                     const std::string& grpc);

}  // namespace lathe::infer
