#include "base/ids.h"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace lathe {
namespace {

void fill_random(void* to, std::size_t size) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const auto got = ::getrandom(at, size, 0);
    if (got < 0) continue;  // only EINTR can happen here
    at += got;
    size -= static_cast<std::size_t>(got);
  }
}

template <std::size_t N>
std::string_view pick(const std::array<std::string_view, N>& from) {
  std::uint32_t value = 0;
  fill_random(&value, sizeof value);
  return from[value % N];
}

}  // namespace

std::string random_hex(std::size_t bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::vector<unsigned char> raw(bytes);
  fill_random(raw.data(), raw.size());
  std::string out;
  out.reserve(bytes * 2);
  for (const unsigned char byte : raw) {
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out;
}

std::string random_name() {
  static constexpr std::array<std::string_view, 32> kAdjectives = {
      "brave", "calm",  "clever", "bright", "eager", "gentle", "happy", "keen",  "kind",   "lively", "lucky",
      "merry", "neat",  "nice",   "noble",  "proud", "quick",  "quiet", "ready", "sharp",  "silver", "smart",
      "solid", "steady", "strong", "sunny", "swift", "tidy",   "warm",  "wise",  "witty",  "young"};
  static constexpr std::array<std::string_view, 32> kNouns = {
      "anchor", "apple", "badger", "beacon", "birch", "bridge", "cloud", "comet", "coral", "falcon", "fern",
      "garden", "glove", "harbor", "heron",  "lemon", "lake",   "maple", "moon",  "otter", "owl",    "pear",
      "pine",   "plum",  "river",  "robin",  "sail",  "spade",  "stone", "tiger", "tulip", "wolf"};
  static constexpr std::string_view kLetters = "0123456789abcdefghjkmnpqrstvwxyz";
  std::array<unsigned char, 10> raw{};
  fill_random(raw.data(), raw.size());
  std::string out;
  out.append(pick(kAdjectives)).append("_").append(pick(kNouns)).append("_");
  for (const unsigned char byte : raw) out.push_back(kLetters[byte % kLetters.size()]);
  return out;
}

}  // namespace lathe
