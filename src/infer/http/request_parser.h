#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace lathe::infer::http {

class Departure;

struct Header {
  std::string_view name;
  std::string_view value;
};

/// One HTTP/1.1 request, or one message of a gRPC call. The views point into the buffer that was parsed.
struct Request {
  std::string_view method;
  std::string_view path;   ///< as sent, percent-encoded, without the query
  std::string_view query;  ///< after the '?'
  std::vector<Header> headers;
  std::string_view body;
  bool keep_alive = true;
  bool grpc = false;                                ///< `path` is /SERVICE/METHOD, `body` a protobuf message
  std::optional<std::chrono::nanoseconds> timeout;  ///< how long the client waits, as far as the head says so
  std::shared_ptr<Departure> departure;             ///< of the client; null: nobody would tell

  /// The first header of this name (any case), or an empty text.
  std::string_view header(std::string_view name) const;
};

/// What is refused before it is held in memory.
struct Limits {
  std::size_t head_bytes = std::size_t{32} << 10;
  std::size_t headers = 100;
  std::size_t body_bytes = std::size_t{256} << 20;
};

/// Reads HTTP/1.0 and 1.1 requests from a growing buffer. Strict where a lenient reading lets two programs disagree
/// about where a request ends: line ends are CRLF, header lines are not folded, a length is said once, or by chunks.
class RequestParser {
 public:
  enum class Status { need_more, complete, error };

  /// `departure`: what its requests have of it.
  explicit RequestParser(Limits limits, std::shared_ptr<Departure> departure = nullptr) : limits_(limits) {
    request_.departure = std::move(departure);
  }

  /// Reads on. `data` is everything from this request's first byte; it may have moved, but must hold the same bytes
  /// as before. Chunked bodies are joined in place. After `error`, `status_code` and `error` say why; call `reset`.
  Status parse(char* data, std::size_t size);

  /// Ready for the next request, which begins `consumed()` bytes later.
  void reset();

  /// Valid after `complete`; before that, once `head_complete`, all but the body.
  const Request& request() const { return request_; }
  bool head_complete() const { return state_ != State::head; }
  /// The client waits for "100 Continue" before it sends the body.
  bool expects_continue() const { return expects_continue_; }
  std::size_t consumed() const { return at_; }
  /// The most bytes that this request still needs, as far as its head says, so that a buffer can grow in few steps.
  std::size_t missing(std::size_t size) const;

  int status_code() const { return status_code_; }
  const char* error() const { return error_; }

 private:
  enum class State { head, body, chunk_size, chunk_data, chunk_end, trailer, done };

  Status fail(int status_code, const char* error);
  Status parse_head(char* data, std::size_t size);
  Status read_head(char* data);
  bool read_request_line(std::string_view line);
  bool read_header(std::string_view line);
  bool read_framing();
  Status parse_chunks(char* data, std::size_t size);
  Status read_chunk_line(char* data, std::size_t size);
  /// The end of the line that begins at `at_` (the place of its CR), or npos: not there yet, or an error was set.
  std::size_t line_end(const char* data, std::size_t size, std::size_t most);
  void point_at(char* data);

  Limits limits_;
  State state_ = State::head;
  const char* base_ = nullptr;  ///< where the buffer was when the views were made
  std::size_t at_ = 0;          ///< everything before it is understood
  std::size_t scanned_ = 0;     ///< no line end between `at_` and here
  std::size_t line_start_ = 0;
  std::size_t head_start_ = 0;
  std::size_t body_start_ = 0;
  std::size_t body_size_ = 0;  ///< so far for chunks, in all for a content length
  std::size_t chunk_left_ = 0;
  std::size_t trailer_bytes_ = 0;
  bool chunked_ = false;
  bool expects_continue_ = false;
  bool failed_ = false;
  int status_code_ = 0;
  const char* error_ = "";
  Request request_;
};

/// Compares without regard to the case of ASCII letters.
bool equal_ignoring_case(std::string_view a, std::string_view b);

}  // namespace lathe::infer::http
