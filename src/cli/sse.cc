#include "cli/sse.h"

namespace lathe::cli {

void EventReader::read(std::string_view piece) {
  rest_ += piece;
  std::size_t start = 0;
  for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', start)) {
    auto text = std::string_view(rest_).substr(start, end - start);
    if (text.ends_with('\r')) text.remove_suffix(1);
    line(text);
    start = end + 1;
  }
  rest_.erase(0, start);
}

void EventReader::line(std::string_view text) {
  if (text.empty()) {
    if (has_data_) take_(event_);
    event_.type.clear();
    event_.data.clear();
    has_data_ = false;
    return;
  }
  const auto colon = text.find(':');
  if (colon == 0) return;  // a comment: the heartbeat
  const auto field = text.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (field == "event")
    event_.type = value;
  else if (field == "id")
    event_.id = value;
  else if (field == "data") {
    if (has_data_) event_.data += '\n';
    event_.data += value;
    has_data_ = true;
  }
}

}  // namespace lathe::cli
