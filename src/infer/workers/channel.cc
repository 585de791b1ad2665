#include "infer/workers/channel.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace lathe::infer {
namespace {

/// In the machine's byte order: both ends are on one machine.
struct Header {
  std::uint32_t kind;
  std::uint32_t head;
  std::uint64_t body;
  std::uint64_t nanoseconds;
};
static_assert(sizeof(Header) == 24);

constexpr std::size_t kMostHead = std::size_t{1} << 20;
constexpr std::size_t kMostBody = std::size_t{1} << 30;
constexpr std::size_t kRoom = std::size_t{64} << 10;
constexpr std::size_t kKeptRoom = std::size_t{1} << 20;

}  // namespace

void Channel::finish() {
  ::shutdown(socket_, SHUT_WR);
}

Result<bool> Channel::send(std::uint32_t kind, std::string head, std::string_view body) {
  const Header header{kind, static_cast<std::uint32_t>(head.size()), body.size(), 0};
  out_.assign(reinterpret_cast<const char*>(&header), sizeof header);
  out_ += head;
  out_body_ = body;
  sent_ = 0;
  return send_on();
}

Result<bool> Channel::send_on() {
  for (;;) {
    const auto first = sent_ < out_.size() ? out_.size() - sent_ : 0;
    const auto of_body = sent_ > out_.size() ? sent_ - out_.size() : 0;
    if (first == 0 && of_body == out_body_.size()) return true;
    std::array<iovec, 2> pieces{{{out_.data() + (out_.size() - first), first},
                                 {const_cast<char*>(out_body_.data()) + of_body, out_body_.size() - of_body}}};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    const auto count = ::sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0)
      sent_ += static_cast<std::size_t>(count);
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      return false;
    else if (errno != EINTR)
      return fail(Code::unavailable, std::string("the worker is gone: ") + std::strerror(errno));
  }
}

Result<std::optional<Frame>> Channel::receive() {
  for (;;) {
    Header header{};
    std::size_t wanted = sizeof header;
    if (have_ >= sizeof header) {
      std::memcpy(&header, in_.data(), sizeof header);
      if (header.head > kMostHead || header.body > kMostBody) return fail(Code::invalid, "its answer is too large");
      wanted += header.head + header.body;
      if (have_ >= wanted) break;
    }
    if (in_.size() < std::max(wanted, kRoom)) in_.resize(std::max(wanted, kRoom));
    const auto count = ::recv(socket_, in_.data() + have_, in_.size() - have_, MSG_DONTWAIT);
    if (count > 0)
      have_ += static_cast<std::size_t>(count);
    else if (count == 0)
      return fail(Code::unavailable, "the worker has ended");
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      return std::nullopt;
    else if (errno != EINTR)
      return fail(Code::unavailable, std::string("the worker is gone: ") + std::strerror(errno));
  }
  Header header{};
  std::memcpy(&header, in_.data(), sizeof header);
  Frame frame{header.kind, header.nanoseconds, in_.substr(sizeof header, header.head),
              in_.substr(sizeof header + header.head, header.body)};
  const auto size = sizeof header + header.head + header.body;
  have_ -= size;
  std::memmove(in_.data(), in_.data() + size, have_);
  if (in_.size() > kKeptRoom && have_ <= kRoom) {
    in_.resize(kRoom);
    in_.shrink_to_fit();
  }
  return frame;
}

}  // namespace lathe::infer
