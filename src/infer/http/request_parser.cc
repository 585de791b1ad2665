#include "infer/http/request_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>

namespace lathe::infer::http {
namespace {

constexpr std::size_t kNotFound = static_cast<std::size_t>(-1);
constexpr std::size_t kChunkLineBytes = 256;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

/// What a byte may be part of, as bits.
enum : std::uint8_t { kToken = 1, kTarget = 2, kValue = 4 };

constexpr std::array<std::uint8_t, 256> kChars = [] {
  std::array<std::uint8_t, 256> table{};
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  for (unsigned int c = 0; c < table.size(); ++c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kOthers.find(static_cast<char>(c)) != std::string_view::npos) table[c] |= kToken;
    if (c > ' ' && c != 0x7f) table[c] |= kTarget;
    if ((c >= ' ' && c != 0x7f) || c == '\t') table[c] |= kValue;
  }
  return table;
}();

bool consists_of(std::string_view text, std::uint8_t kind) {
  std::uint8_t all = kind;
  for (const char c : text) all &= kChars[static_cast<unsigned char>(c)];
  return all == kind;
}

bool is_token(std::string_view text) {
  return !text.empty() && consists_of(text, kToken);
}

std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool parse_size(std::string_view text, int base, std::size_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return !text.empty() && error == std::errc{} && end == text.data() + text.size();
}

/// Whether the comma-separated list holds `word`.
bool lists(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (equal_ignoring_case(trim_blanks(list.substr(0, comma)), word)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view Request::header(std::string_view name) const {
  for (const auto& header : headers)
    if (equal_ignoring_case(header.name, name)) return header.value;
  return {};
}

void RequestParser::reset() {
  auto headers = std::move(request_.headers);  // keeps its room
  headers.clear();
  *this = RequestParser(limits_, std::move(request_.departure));
  request_.headers = std::move(headers);
}

RequestParser::Status RequestParser::fail(int status_code, const char* error) {
  failed_ = true;
  status_code_ = status_code;
  error_ = error;
  return Status::error;
}

std::size_t RequestParser::missing(std::size_t size) const {
  if (state_ != State::body) return static_cast<std::size_t>(-1);
  const auto end = body_start_ + body_size_;
  return end > size ? end - size : 0;
}

RequestParser::Status RequestParser::parse(char* data, std::size_t size) {
  if (failed_) return Status::error;
  if (state_ == State::head) {
    const auto status = parse_head(data, size);
    if (status != Status::complete) return status;
  }
  if (base_ != data) point_at(data);
  if (state_ == State::body) {
    if (size < body_start_ + body_size_) return Status::need_more;
    at_ = body_start_ + body_size_;
    state_ = State::done;
  }
  if (state_ != State::done) {
    const auto status = parse_chunks(data, size);
    if (status != Status::complete) return status;
  }
  request_.body = {data + body_start_, body_size_};
  return Status::complete;
}

/// Answers `complete` when the head is, with the state set to what follows.
RequestParser::Status RequestParser::parse_head(char* data, std::size_t size) {
  while (scanned_ < size) {
    const auto* found = static_cast<const char*>(std::memchr(data + scanned_, '\n', size - scanned_));
    const auto end = found == nullptr ? size : static_cast<std::size_t>(found - data);
    if (end - head_start_ >= limits_.head_bytes) return fail(431, "the request's head is too large");
    scanned_ = found == nullptr ? size : end + 1;
    if (found == nullptr) break;
    if (end == line_start_ || data[end - 1] != '\r') return fail(400, "a header line must end with CR LF");
    const bool empty = end - 1 == line_start_;
    line_start_ = end + 1;
    if (!empty) continue;
    if (head_start_ + 2 == line_start_) {  // an empty line before the request line is allowed
      head_start_ = line_start_;
      if (head_start_ >= limits_.head_bytes) return fail(400, "only empty lines came");
      continue;
    }
    return read_head(data);
  }
  return Status::need_more;
}

RequestParser::Status RequestParser::read_head(char* data) {
  base_ = data;
  const std::string_view head(data + head_start_, line_start_ - head_start_ - 2);  // each line with its CR LF
  auto end = head.find("\r\n");
  if (!read_request_line(head.substr(0, end))) return Status::error;
  for (auto at = end + 2; at < head.size(); at = end + 2) {
    end = head.find("\r\n", at);
    if (!read_header(head.substr(at, end - at))) return Status::error;
  }
  at_ = line_start_;
  body_start_ = line_start_;
  return read_framing() ? Status::complete : Status::error;
}

bool RequestParser::read_request_line(std::string_view line) {
  const auto refuse = [&](int code, const char* why) {
    fail(code, why);
    return false;
  };
  const auto first = line.find(' ');
  const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return refuse(400, "the request line must be METHOD TARGET HTTP/1.1");
  request_.method = line.substr(0, first);
  auto target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (!is_token(request_.method)) return refuse(400, "the method is not a word");
  if (target.empty() || !consists_of(target, kTarget))
    return refuse(400, "the request target holds a character that must be percent-encoded");
  if (version.size() != 8 || !version.starts_with("HTTP/"))
    return refuse(400, "the request line must end with HTTP/1.1");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  request_.keep_alive = version == "HTTP/1.1";

  if (const auto scheme = target.find("://"); target.front() != '/' && scheme != std::string_view::npos) {
    const auto slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  const auto mark = target.find('?');
  request_.path = target.substr(0, mark);
  request_.query = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
  return true;
}

bool RequestParser::read_header(std::string_view line) {
  const auto refuse = [&](int code, const char* why) {
    fail(code, why);
    return false;
  };
  if (request_.headers.size() == limits_.headers) return refuse(431, "the request has too many headers");
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return refuse(400, "a header line has no colon");
  const auto name = line.substr(0, colon);
  if (!is_token(name)) return refuse(400, "a header's name holds a character that is not allowed");
  const auto value = trim_blanks(line.substr(colon + 1));
  if (!consists_of(value, kValue)) return refuse(400, "a header's value holds a control character");
  request_.headers.push_back({name, value});
  return true;
}

/// What the headers say about the connection and about the body's length.
bool RequestParser::read_framing() {
  const auto refuse = [&](int code, const char* why) {
    fail(code, why);
    return false;
  };
  const bool needs_host = request_.keep_alive;  // still what the version says: HTTP/1.1
  bool has_length = false;
  bool has_host = false;
  for (const auto& [name, value] : request_.headers) {
    if (equal_ignoring_case(name, "content-length")) {
      std::size_t length = 0;
      if (!parse_size(value, 10, length)) return refuse(400, "Content-Length is not a number");
      if (has_length && length != body_size_) return refuse(400, "Content-Length is said twice, differently");
      has_length = true;
      body_size_ = length;
    } else if (equal_ignoring_case(name, "transfer-encoding")) {
      if (chunked_ || !equal_ignoring_case(value, "chunked"))
        return refuse(501, "the only Transfer-Encoding known here is chunked");
      chunked_ = true;
    } else if (equal_ignoring_case(name, "connection")) {
      if (lists(value, "close"))
        request_.keep_alive = false;
      else if (lists(value, "keep-alive"))
        request_.keep_alive = true;
    } else if (equal_ignoring_case(name, "expect")) {
      if (!equal_ignoring_case(value, "100-continue")) return refuse(417, "the only expectation known is 100-continue");
      expects_continue_ = true;
    } else if (equal_ignoring_case(name, "host")) {
      if (has_host) return refuse(400, "Host is said twice");
      has_host = true;
    }
  }
  if (needs_host && !has_host) return refuse(400, "the Host header is missing");
  if (chunked_ && has_length) return refuse(400, "Content-Length and Transfer-Encoding contradict each other");
  if (body_size_ > limits_.body_bytes) return refuse(413, "the body is too large");
  state_ = chunked_ ? State::chunk_size : body_size_ > 0 ? State::body : State::done;
  scanned_ = at_;
  return true;
}

std::size_t RequestParser::line_end(const char* data, std::size_t size, std::size_t most) {
  const auto* found = static_cast<const char*>(std::memchr(data + scanned_, '\n', size - scanned_));
  scanned_ = found == nullptr ? size : static_cast<std::size_t>(found - data);
  if (scanned_ - at_ > most) {
    fail(400, "a line of the chunked body is too long");
    return kNotFound;
  }
  if (found == nullptr) return kNotFound;
  if (scanned_ == at_ || data[scanned_ - 1] != '\r') {
    fail(400, "a line of the chunked body must end with CR LF");
    return kNotFound;
  }
  return scanned_ - 1;
}

RequestParser::Status RequestParser::parse_chunks(char* data, std::size_t size) {
  while (state_ != State::done) {
    if (state_ == State::chunk_data) {
      const auto take = std::min(chunk_left_, size - at_);
      std::memmove(data + body_start_ + body_size_, data + at_, take);
      body_size_ += take;
      at_ += take;
      chunk_left_ -= take;
      if (chunk_left_ > 0) return Status::need_more;
      state_ = State::chunk_end;
      scanned_ = at_;
    }
    const auto status = read_chunk_line(data, size);
    if (status != Status::complete) return status;
  }
  return Status::complete;
}

/// One line between the data of chunks: a size, the empty line after a chunk, or a trailer (which is ignored).
RequestParser::Status RequestParser::read_chunk_line(char* data, std::size_t size) {
  const auto end = line_end(data, size, state_ == State::trailer ? limits_.head_bytes : kChunkLineBytes);
  if (failed_) return Status::error;
  if (end == kNotFound) return Status::need_more;
  const std::string_view line(data + at_, end - at_);
  at_ = scanned_ = end + 2;

  switch (state_) {
    case State::chunk_size: {
      const auto digits = trim_blanks(line.substr(0, line.find(';')));
      if (!parse_size(digits, 16, chunk_left_)) return fail(400, "a chunk's size is not a hexadecimal number");
      if (chunk_left_ > limits_.body_bytes - body_size_) return fail(413, "the body is too large");
      state_ = chunk_left_ > 0 ? State::chunk_data : State::trailer;
      break;
    }
    case State::chunk_end:
      if (!line.empty()) return fail(400, "a chunk is longer than its size says");
      state_ = State::chunk_size;
      break;
    default:
      trailer_bytes_ += line.size() + 2;
      if (trailer_bytes_ > limits_.head_bytes) return fail(431, "the request's trailer is too large");
      if (line.empty()) state_ = State::done;
  }
  return Status::complete;
}

/// The buffer has moved: so do the views.
void RequestParser::point_at(char* data) {
  const auto move = [&](std::string_view& view) {
    if (view.data() >= base_ && view.data() < base_ + body_start_) view = {data + (view.data() - base_), view.size()};
  };
  move(request_.method);
  move(request_.path);
  move(request_.query);
  for (auto& header : request_.headers) {
    move(header.name);
    move(header.value);
  }
  base_ = data;
}

}  // namespace lathe::infer::http
