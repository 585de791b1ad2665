#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace lathe {

/// What kind of failure it is: decides the HTTP status and the exit code, in one switch each.
enum class Code : std::uint8_t {
  invalid,           ///< the caller's input is wrong
  unauthenticated,   ///< no token, or one that nobody knows
  forbidden,         ///< known, but not allowed
  not_found,         ///< no such thing
  conflict,          ///< the state of the thing forbids it
  exhausted,         ///< no room: disk, memory, queue, quota
  timeout,           ///< not done in time
  unavailable,       ///< try again later
  internal,          ///< our bug or a broken machine
  unsupported_media  ///< the body's content type is not one we read
};

/// A failure the caller can act on. `message` is shown to users: no secrets, no SQL.
struct Error {
  Code code = Code::internal;
  std::string message;
  /// The error code of a foreign protocol when `code` alone does not decide it (MLflow's RESOURCE_ALREADY_EXISTS, ...).
  std::string foreign_code = {};
};

template <class T>
using Result = tl::expected<T, Error>;

/// `return fail(Code::invalid, "duration is empty");`
[[nodiscard]] inline tl::unexpected<Error> fail(Code code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message), {}});
}

/// Passes on another call's error: `return fail(result.error());`
[[nodiscard]] inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

/// The same error, with words in front that say where it happened.
[[nodiscard]] inline tl::unexpected<Error> fail_in(const std::string& where, Error error) {
  error.message = where + ": " + error.message;
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace lathe

#define LATHE_CONCAT_INNER(a, b) a##b
#define LATHE_CONCAT(a, b) LATHE_CONCAT_INNER(a, b)

/// `LATHE_TRY(const auto size, parse_size(text));` declares `size`, or returns the error from the enclosing function.
#define LATHE_TRY(declaration, ...) LATHE_TRY_NAMED(LATHE_CONCAT(lathe_try_, __COUNTER__), declaration, __VA_ARGS__)
#define LATHE_TRY_NAMED(name, declaration, ...)                  \
  auto name = (__VA_ARGS__);                                     \
  if (!name) return ::lathe::fail(std::move(name).error());      \
  declaration = std::move(*name)

/// `LATHE_CHECK(file.sync());` for a Result<void>: returns its error from the enclosing function.
#define LATHE_CHECK(...) LATHE_CHECK_NAMED(LATHE_CONCAT(lathe_check_, __COUNTER__), __VA_ARGS__)
#define LATHE_CHECK_NAMED(name, ...)                             \
  do {                                                           \
    auto name = (__VA_ARGS__);                                   \
    if (!name) return ::lathe::fail(std::move(name).error());    \
  } while (false)
