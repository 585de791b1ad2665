#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe {

/// "a,b,,c" at ',' -> {"a", "b", "", "c"}; an empty text gives no parts.
std::vector<std::string_view> split(std::string_view text, char at);

/// Without white space at both ends.
std::string_view trim(std::string_view text);

std::string to_lower(std::string_view text);

/// Percent-decodes once. '+' stays. A broken escape stays as it is.
std::string url_decode(std::string_view text);

/// Percent-encodes all but unreserved characters, for a path segment or a query value.
std::string url_encode(std::string_view text);

/// The up to `most` of `candidates` that look most like `wanted`, nearest first: for "did you mean ...".
std::vector<std::string> nearest(std::string_view wanted, const std::vector<std::string>& candidates, std::size_t most = 3);

/// `no compute named "gpu-clutser"; the nearest are "gpu-cluster", "gpu"` — or, without candidates, `...; there is none`.
std::string unknown_name(std::string_view kind, std::string_view wanted, const std::vector<std::string>& candidates);

/// Text for people and for JSON, whatever `text` holds: control characters other than newline and tab become '?', and what is
/// not UTF-8 becomes U+FFFD.
std::string printable(std::string_view text);

/// In single quotes, so that a POSIX shell reads it as one word, whatever it holds.
std::string shell_word(std::string_view text);

}  // namespace lathe
