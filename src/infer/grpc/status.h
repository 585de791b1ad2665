#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace lathe::infer::grpc {

/// What `foreign_code` of an error says of a method that nobody knows.
inline constexpr std::string_view kUnimplemented = "UNIMPLEMENTED";

/// The number of gRPC's status code.
int status_of(const Error& error);

/// A text as the trailer grpc-message carries it.
std::string percent_encode(std::string_view message);

/// The value of the header grpc-timeout: "100m", "5S", ... Errors: none of those.
std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text);

}  // namespace lathe::infer::grpc
