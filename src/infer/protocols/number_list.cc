#include "infer/protocols/number_list.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace lathe::infer {
namespace {

constexpr int kMostDigits = 19;  ///< that 64 bits always hold
constexpr std::array kPowersOfTen = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,
                                     1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19};

bool is_digit(char c) {
  return static_cast<unsigned char>(c - '0') < 10;
}

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/// Eight bytes, the first of them the lowest.
std::uint64_t eight_bytes(const char* at) {
  static_assert(std::endian::native == std::endian::little);
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, at, sizeof bytes);
  return bytes;
}

/// Not zero from the first byte on that is no digit.
std::uint64_t other_than_digits(std::uint64_t bytes) {
  constexpr std::uint64_t kHigh = 0xF0F0F0F0F0F0F0F0;
  constexpr std::uint64_t kSixes = 0x0606060606060606;
  constexpr std::uint64_t kThrees = 0x3030303030303030;
  return ((bytes & kHigh) ^ kThrees) | (((bytes + kSixes) & kHigh) ^ kThrees);
}

/// The number that eight digits are.
std::uint64_t number_of(std::uint64_t bytes) {
  bytes -= 0x3030303030303030;
  bytes = bytes * 10 + (bytes >> 8);  // pairs
  constexpr std::uint64_t kMask = 0x000000FF000000FF;
  constexpr std::uint64_t kOuter = 100 + (std::uint64_t{1'000'000} << 32);
  constexpr std::uint64_t kInner = 1 + (std::uint64_t{10'000} << 32);
  return ((bytes & kMask) * kOuter + ((bytes >> 16) & kMask) * kInner) >> 32;
}

/// Whether a double that is off by `units` at most may belong to another float than the one it was to be.
bool is_near_middle(double value, std::uint32_t units) {
  constexpr std::uint32_t kMiddle = 1U << 28;  // of the 29 bits that a float lacks
  const auto rest = static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(value)) & (2 * kMiddle - 1);
  return rest - (kMiddle - units) <= 2 * units;
}

/// A number with one digit before the point and 16 to 23 after it, as programs print doubles, and moves `at` past it.
/// What the digits after the 16th add is less than a unit of that one: no float needs them, unless it is near a middle.
/// There is no branch here that such numbers do not all take alike. False: it is another, or `at` is where it was.
bool read_long_fraction(const char*& at, float& into) {
  constexpr std::uint64_t kEnough = 100'000'000'000'000;  // a unit of its last digit is 90 units of a double at most
  constexpr std::uint32_t kUnits = 128;
  const bool negative = *at == '-';
  const char* end = at + static_cast<int>(negative);
  if (!is_digit(end[0]) || end[1] != '.') return false;
  const auto front = eight_bytes(end + 2);
  if (other_than_digits(front) != 0) return false;
  const auto back = eight_bytes(end + 10);
  if (other_than_digits(back) != 0) return false;
  const auto after = other_than_digits(eight_bytes(end + 18));
  if (after == 0) return false;
  const auto more = std::countr_zero(after) / 8;
  const auto digits = static_cast<std::uint64_t>(end[0] - '0') * 10'000'000'000'000'000 +
                      number_of(front) * 100'000'000 + number_of(back);
  end += 18 + more;
  if (*end == 'e' || *end == 'E' || (more > 0 && digits < kEnough)) return false;
  const double value = static_cast<double>(digits) * 1e-16;
  if (is_near_middle(value, kUnits)) return false;
  into = std::bit_cast<float>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) |
                              static_cast<std::uint32_t>(negative) << 31);
  at = end;
  return true;
}

/// A number at `at`, and moves it past it. False: there is none, or none that a float can hold.
bool read_float(const char*& at, float& into) {
  const char* const begin = at;
  const bool negative = *at == '-';
  if (negative) ++at;
  const char* const first = at;
  std::uint64_t digits = 0;
  const auto take_digits = [&] {
    for (; is_digit(*at); ++at) digits = digits * 10 + static_cast<std::uint64_t>(*at - '0');
  };
  if (*at == '0')
    ++at;
  else
    take_digits();
  std::ptrdiff_t count = at - first;
  if (count == 0) return false;
  std::ptrdiff_t fraction = 0;
  if (*at == '.') {
    const char* const point = at++;
    take_digits();
    fraction = at - point - 1;
    count += fraction;
    if (fraction == 0) return false;
  }
  const bool scaled = *at == 'e' || *at == 'E';
  if (!scaled && count <= kMostDigits) {
    const double value = static_cast<double>(digits) / kPowersOfTen[static_cast<std::size_t>(fraction)];
    if (!is_near_middle(value, 3)) {
      into = static_cast<float>(negative ? -value : value);
      return true;
    }
  }
  if (scaled) {
    ++at;
    if (*at == '+' || *at == '-') ++at;
    if (!is_digit(*at)) return false;
    while (is_digit(*at)) ++at;
  }
  double value = 0;
  if (std::from_chars(begin, at, value).ec != std::errc{}) return false;
  if (std::abs(value) > static_cast<double>(std::numeric_limits<float>::max())) return false;
  into = static_cast<float>(value);
  return true;
}

}  // namespace

std::optional<std::size_t> read_floats(const char* at, float* into, std::size_t most) {
  const auto skip_spaces = [&] {
    while (is_space(*at)) ++at;
  };
  skip_spaces();
  if (*at == ']') return 0;
  for (std::size_t count = 0; count < most;) {
    if (!read_long_fraction(at, into[count]) && !read_float(at, into[count])) return std::nullopt;
    ++count;
    if (*at != ',') {
      skip_spaces();
      if (*at == ']') return count;
      if (*at != ',') return std::nullopt;
    }
    at += at[1] == ' ' ? 2 : 1;
    skip_spaces();
  }
  return std::nullopt;
}

}  // namespace lathe::infer
