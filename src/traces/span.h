#pragma once

#include "traces/otlp.h"

/// What both encodings of OTLP are read into.
namespace lathe::traces {

/// A span as it was sent, its attributes as JSON values.
struct SentSpan {
  std::string trace_id = {};   ///< bytes
  std::string span_id = {};    ///< bytes
  std::string parent_id = {};  ///< bytes; empty or zeros: the root
  std::string name = {};
  std::int64_t status = 0;  ///< 0 unset, 1 ok, 2 error
  std::string status_message = {};
  std::uint64_t start_ns = 0;
  std::uint64_t end_ns = 0;
  json::Object attributes = {};
  struct Event {
    std::uint64_t at_ns = 0;
    std::string name = {};
    json::Object attributes = {};
  };
  std::vector<Event> events = {};
  struct Link {
    std::string trace_id = {};
    std::string span_id = {};
    json::Object attributes = {};
  };
  std::vector<Link> links = {};
};

/// Checks it, and writes its content.
Result<Span> make_span(const SentSpan& sent);

/// Counts what a request holds, so that a small body does not become a large one in memory.
class Budget {
 public:
  Result<void> take_span();
  Result<void> take_value();

 private:
  std::size_t spans_ = 0;
  std::size_t values_ = 0;
};

}  // namespace lathe::traces
