#include "base/utf8.h"

namespace lathe {
namespace {

/// The length of the character that begins at `at`; 0: it is not UTF-8; -1: it is cut off by the end.
int character(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  const int length = first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : first >= 0xF0 && first <= 0xF4 ? 4 : 0;
  for (int i = 1; i < length; ++i) {
    const auto next = at + static_cast<std::size_t>(i);
    if (next >= bytes.size()) return -1;
    unsigned char least = 0x80;
    unsigned char most = 0xBF;
    if (i == 1 && first == 0xE0) least = 0xA0;
    if (i == 1 && first == 0xED) most = 0x9F;
    if (i == 1 && first == 0xF0) least = 0x90;
    if (i == 1 && first == 0xF4) most = 0x8F;
    if (byte(next) < least || byte(next) > most) return 0;
  }
  return length;
}

}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const int length = character(text, at);
    if (length <= 0) return false;
    at += static_cast<std::size_t>(length);
  }
  return true;
}

std::string take_utf8(std::string& bytes, bool all) {
  std::string out;
  std::size_t at = 0;
  while (at < bytes.size()) {
    const int length = character(bytes, at);
    if (length < 0 && !all) break;
    if (length > 0) {
      out.append(bytes, at, static_cast<std::size_t>(length));
      at += static_cast<std::size_t>(length);
    } else {
      out += "\xEF\xBF\xBD";
      ++at;
    }
  }
  bytes.erase(0, at);
  return out;
}

std::string as_utf8(std::string text) {
  return is_utf8(text) ? text : take_utf8(text, true);
}

}  // namespace lathe
