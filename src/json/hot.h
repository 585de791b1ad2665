#pragma once

#include "json/json.h"

/// JSON where it is read and written most: requests that log, and answers of thousands of runs or points.
namespace lathe::json {

/// As `parse`, for a document that is read and dropped: its memory is one piece, which grows when the document is changed.
Result<Value> parse_to_read(std::string_view text);

/// What `print` writes, added to `out`. Doubles: the shortest form that reads back the same; NaN and infinities in
/// protobuf's spelling, as texts.
void append(std::string& out, std::string_view text);
void append(std::string& out, std::int64_t number);
void append(std::string& out, double number);

}  // namespace lathe::json
