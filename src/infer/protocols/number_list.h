#pragma once

#include <cstddef>
#include <optional>

/// Lists of numbers in JSON, which are most of the bytes that a prediction by JSON sends.
namespace lathe::infer {

/// Reads the numbers of a flat JSON list, `at` its first byte after the '[', as the floats nearest to the doubles that
/// they are, into at most `most` places, and answers how many they were. The list must be closed by a ']' in memory,
/// and be followed by 8 readable bytes. Nothing: it has more, or holds something else than numbers that a float can
/// hold; `into` may then hold some of them. Thread-safe.
///
/// Eight digits are read in one step (D. Lemire, "Number parsing at a gigabyte per second", 2021), and only as many as
/// decide the float; numbers next to the middle between two floats are left to std::from_chars.
std::optional<std::size_t> read_floats(const char* at, float* into, std::size_t most);

}  // namespace lathe::infer
