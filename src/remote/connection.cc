#include "remote/connection.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace lathe::remote {
namespace {

constexpr int kWaitSeconds = 30;
constexpr std::size_t kMostHead = std::size_t{64} << 10;

/// The value of a head's line when it is the wanted one, in lower case.
bool is_header(const std::string& line, const char* name, std::string& value) {
  const auto size = std::strlen(name);
  if (line.size() <= size || ::strncasecmp(line.c_str(), name, size) != 0 || line[size] != ':') return false;
  const auto begin = line.find_first_not_of(" \t", size + 1);
  value = begin == std::string::npos ? "" : line.substr(begin);
  return true;
}

}  // namespace

bool parse_url(const std::string& url, Place& place) {
  std::size_t begin = 0;
  if (url.compare(0, 8, "https://") == 0)
    begin = 8;
  else if (url.compare(0, 7, "http://") == 0)
    begin = 7;
  else
    return false;
  place.tls = begin == 8;
  const auto slash = std::min(url.find('/', begin), url.size());
  auto authority = url.substr(begin, slash - begin);
  place.path = url.substr(slash);
  while (!place.path.empty() && place.path.back() == '/') place.path.pop_back();
  place.port = place.tls ? "443" : "80";
  const auto bracket = authority.rfind(']');
  const auto colon = authority.rfind(':');
  if (colon != std::string::npos && (bracket == std::string::npos || colon > bracket)) {
    place.port = authority.substr(colon + 1);
    authority.resize(colon);
  }
  if (bracket != std::string::npos && authority.size() > 2) authority = authority.substr(1, authority.size() - 2);
  place.host = authority;
  return !place.host.empty() && !place.port.empty();
}

std::string encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::strchr("-._~/", c) != nullptr;
    if (plain && c != '\0') {
      out.push_back(c);
      continue;
    }
    out.push_back('%');
    out.push_back("0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4]);
    out.push_back("0123456789ABCDEF"[static_cast<unsigned char>(c) & 15]);
  }
  return out;
}

std::string text_of(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
  if (address.sa_family == AF_INET6)
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
  return text;
}

std::string Connection::local_address() {
  std::string error;
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  if ((socket_ < 0 && !open(error)) || ::getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &size) != 0) return {};
  return text_of(reinterpret_cast<const sockaddr&>(at));
}

bool Connection::open(std::string& error) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(place_.host.c_str(), place_.port.c_str(), &hints, &found); failed != 0) {
    error = "cannot find " + place_.host + ": " + ::gai_strerror(failed);
    return false;
  }
  for (const addrinfo* at = found; at != nullptr && socket_ < 0; at = at->ai_next) {
    socket_ = ::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval limit{kWaitSeconds, 0};
    const int on = 1;
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // of connect(2), too
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(socket_, at->ai_addr, at->ai_addrlen) == 0) continue;
    error = "cannot connect to " + place_.host + ":" + place_.port + ": " + std::strerror(errno);
    ::close(socket_);
    socket_ = -1;
  }
  ::freeaddrinfo(found);
  if (socket_ < 0 || !place_.tls) return socket_ >= 0;
  tls_ = std::make_unique<Tls>();
  if (tls_->begin(socket_, place_.host, place_.pin, error)) return true;
  close();
  return false;
}

void Connection::close() {
  tls_.reset();
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
  received_.clear();
}

bool Connection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent =
        tls_ ? tls_->write(bytes.data(), bytes.size()) : ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && !tls_ && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool Connection::receive() {
  char piece[65536];
  for (;;) {
    const auto got = tls_ ? tls_->read(piece, sizeof piece) : ::recv(socket_, piece, sizeof piece, 0);
    if (got < 0 && !tls_ && errno == EINTR) continue;
    if (got <= 0) return false;
    received_.append(piece, static_cast<std::size_t>(got));
    return true;
  }
}

bool Connection::line(std::string& out) {
  for (;;) {
    const auto end = received_.find("\r\n");
    if (end != std::string::npos) {
      out = received_.substr(0, end);
      received_.erase(0, end + 2);
      return true;
    }
    if (received_.size() > kMostHead || !receive()) return false;
  }
}

bool Connection::pass_on(std::size_t size, Answer& answer, const std::function<bool(std::string_view)>& sink) {
  while (size > 0) {
    if (received_.empty() && !receive()) return false;
    const auto now = std::min(size, received_.size());
    if (!sink || !answer.ok())
      answer.body.append(received_, 0, now);
    else if (!sink({received_.data(), now}))
      return false;
    received_.erase(0, now);
    size -= now;
  }
  return true;
}

bool Connection::read_answer(Answer& answer, const std::function<bool(std::string_view)>& sink, bool& begun) {
  std::string text;
  if (!line(text) || text.size() < 12 || text.compare(0, 5, "HTTP/") != 0) return false;
  begun = true;
  const int status = std::atoi(text.c_str() + 9);
  std::size_t length = 0;
  bool chunked = false;
  bool closing = false;
  while (line(text) && !text.empty()) {
    std::string value;
    if (is_header(text, "content-length", value)) length = std::strtoull(value.c_str(), nullptr, 10);
    if (is_header(text, "transfer-encoding", value)) chunked = value.find("chunked") != std::string::npos;
    if (is_header(text, "connection", value)) closing = ::strcasecmp(value.c_str(), "close") == 0;
  }
  answer.status = status;
  bool whole = true;
  if (!chunked) {
    whole = status == 204 || pass_on(length, answer, sink);
  } else {
    do {
      whole = line(text);
      length = whole ? std::strtoull(text.c_str(), nullptr, 16) : 0;
      whole = whole && pass_on(length, answer, sink) && line(text);
    } while (whole && length > 0);
  }
  if (!whole || closing) close();
  if (!whole) answer = {0, "the connection to the server broke"};
  return whole;
}

Answer Connection::request(const char* method, const std::string& path, std::string_view body,
                           const std::function<bool(std::string_view)>& sink) {
  for (int tries = 0;; ++tries) {
    const bool kept = socket_ >= 0;
    Answer answer;
    if (!kept && !open(answer.body)) return answer;
    const bool bracketed = place_.host.find(':') != std::string::npos;
    std::string head =
        std::string(method) + " " + place_.path + path + " HTTP/1.1\r\nHost: " + (bracketed ? "[" : "") + place_.host +
        (bracketed ? "]:" : ":") + place_.port + "\r\nAuthorization: Bearer " + place_.token +
        "\r\nContent-Type: application/octet-stream\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    head.append(body);
    bool begun = false;
    if (send(head) && read_answer(answer, sink, begun)) return answer;
    close();
    if (kept && !begun && tries == 0) continue;  // the server had closed it while nobody used it
    return {0, "the connection to the server broke"};
  }
}

}  // namespace lathe::remote
