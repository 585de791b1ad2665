#include "infer/grpc/status.h"

#include <algorithm>
#include <charconv>

namespace lathe::infer::grpc {

int status_of(const Error& error) {
  if (error.foreign_code == kUnimplemented) return 12;
  switch (error.code) {
    case Code::invalid:
    case Code::unsupported_media:
      return 3;  // INVALID_ARGUMENT
    case Code::timeout:
      return 4;  // DEADLINE_EXCEEDED
    case Code::not_found:
      return 5;  // NOT_FOUND
    case Code::forbidden:
      return 7;  // PERMISSION_DENIED
    case Code::exhausted:
      return 8;  // RESOURCE_EXHAUSTED
    case Code::conflict:
      return 9;  // FAILED_PRECONDITION
    case Code::unavailable:
      return 14;  // UNAVAILABLE
    case Code::unauthenticated:
      return 16;  // UNAUTHENTICATED
    default:
      return 13;  // INTERNAL
  }
}

std::string percent_encode(std::string_view message) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : message) {
    if (c >= ' ' && c <= '~' && c != '%') {
      out += c;
    } else {
      out += '%';
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    }
  }
  return out;
}

std::optional<std::chrono::nanoseconds> parse_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t value = 0;
  const auto* const last = text.data() + text.size() - 1;
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc{} || end != last || value < 0) return std::nullopt;
  switch (*last) {
    case 'H':
      return std::chrono::hours(std::min<std::int64_t>(value, 24 * 365));
    case 'M':
      return std::chrono::minutes(value);
    case 'S':
      return std::chrono::seconds(value);
    case 'm':
      return std::chrono::milliseconds(value);
    case 'u':
      return std::chrono::microseconds(value);
    case 'n':
      return std::chrono::nanoseconds(value);
    default:
      return std::nullopt;
  }
}

}  // namespace lathe::infer::grpc
