#include "process/variables.h"

#include <string_view>

#include "base/text.h"

namespace lathe::process {

Result<std::string> word_of(const json::Value& value, const std::string& path) {
  if (value.is_string()) return std::string(json::view(value.get_string()));
  if (value.is_bool()) return std::string(value.get_bool() ? "True" : "False");
  if (value.is_number()) return json::print(value);
  return fail(Code::invalid, path + ": must be one value, not " + std::string(json::kind_name(value)));
}

Result<void> check_word(const std::string& text, const std::string& path) {
  constexpr std::size_t kLongest = std::size_t{100} << 10;  // Linux takes 128 KiB in one piece
  if (text.find('\0') != std::string::npos) return fail(Code::invalid, path + ": must not hold a NUL character");
  if (text.size() > kLongest)
    return fail(Code::invalid, path + ": is longer than 100 KiB: put it into a file of the code folder");
  return {};
}

Result<void> check_variable(const std::string& name, const std::string& value) {
  if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos)
    return fail(Code::invalid,
                "environment_variables: \"" + printable(name) + "\" is not a name for an environment variable");
  return check_word(value, "environment_variables." + name);
}

}  // namespace lathe::process
