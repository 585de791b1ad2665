#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace lathe::log {

enum class Level { debug, info, warn, error };

/// Sends the log to stderr: one line an event, `2026-05-01T12:30:00.123Z info message key=value`, or as JSON lines.
/// Call once, before threads start.
void start(Level least, bool json);

/// Thread-safe. `message` is one sentence; put what varies into it as key=value.
void write(Level level, std::string_view message);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lathe::log
