#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace lathe::cli {

/// One server-sent event.
struct Event {
  std::string type;
  std::string data;
  std::string id;  ///< the last one seen on the stream
};

/// Puts server-sent events together from the pieces that a stream comes in.
class EventReader {
 public:
  explicit EventReader(std::function<void(const Event&)> take) : take_(std::move(take)) {}
  void read(std::string_view piece);

 private:
  void line(std::string_view text);

  std::function<void(const Event&)> take_;
  std::string rest_;
  Event event_;
  bool has_data_ = false;
};

}  // namespace lathe::cli
