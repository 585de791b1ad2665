#include "base/utf8.h"

namespace lathe {
namespace {

/// How many bytes follow the lead byte; -1: it leads nothing.
int bytes_after(unsigned char lead) {
  if (lead < 0x80) return 0;
  if (lead >= 0xc2 && lead < 0xe0) return 1;
  if (lead >= 0xe0 && lead < 0xf0) return 2;
  if (lead >= 0xf0 && lead < 0xf5) return 3;
  return -1;
}

/// Overlong forms, halves of surrogate pairs, and what lies beyond the last character show in the second byte.
bool fits(unsigned char lead, unsigned char second) {
  if (lead == 0xe0) return second >= 0xa0;
  if (lead == 0xed) return second < 0xa0;
  if (lead == 0xf0) return second >= 0x90;
  if (lead == 0xf4) return second < 0x90;
  return true;
}

}  // namespace

bool is_utf8(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const int more = bytes_after(at(i));
    if (more < 0 || i + static_cast<std::size_t>(more) >= text.size()) return false;
    if (more > 0 && !fits(at(i), at(i + 1))) return false;
    for (std::size_t k = 1; k <= static_cast<std::size_t>(more); ++k)
      if ((at(i + k) & 0xc0) != 0x80) return false;
    i += static_cast<std::size_t>(more) + 1;
  }
  return true;
}

}  // namespace lathe
