#pragma once

#include <string>
#include <vector>

#include "json/fields.h"

namespace lathe::json {

/// What became of one field of a foreign document that was not plainly honoured.
struct FieldReport {
  std::string field;    ///< its path: "resources.instance_type"
  std::string verdict;  ///< "honoured", "substituted", "ignored" or "refused"
  std::string detail;   ///< why, or by what
};

template <>
struct Fields<FieldReport> {
  static constexpr std::string_view name = "FieldReport";
  static constexpr auto list = std::tuple{
      field("field", &FieldReport::field, "path of the field in the document"),
      field("verdict", &FieldReport::verdict, "honoured, substituted, ignored or refused"),
      field("detail", &FieldReport::detail, "why, or by what it was substituted")};
};

using Report = std::vector<FieldReport>;

/// Under `?strict=true`, what would be substituted or ignored is an error instead: `invalid`, naming the first such field.
inline Result<void> refuse_if_strict(const Report& report, bool strict) {
  if (!strict) return {};
  for (const auto& entry : report)
    if (entry.verdict == "substituted" || entry.verdict == "ignored")
      return fail(Code::invalid, entry.field + ": would be " + entry.verdict + " (" + entry.detail + "), and strict forbids it");
  return {};
}

}  // namespace lathe::json
