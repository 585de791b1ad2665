// The least that an HTTP server can do, to measure others against: epoll, one thread, the same answer to every request.
//
//   fixed_answer PORT      (0 picks one; prints "ready http://127.0.0.1:PORT")
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

const std::string kBody =
    R"({"model_name":"e","model_version":"1","outputs":[{"name":"predict","datatype":"FP32","shape":[1],"data":[0.5]}]})";
const std::string kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(kBody.size()) +
    "\r\n\r\n" + kBody;

int listen_on(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 1024) != 0) {
    std::perror("fixed_answer");
    std::exit(1);
  }
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("ready http://127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

/// The bytes of the first request in `text`, or 0 when it is not all there.
std::size_t request_size(std::string_view text) {
  const auto head = text.find("\r\n\r\n");
  if (head == std::string_view::npos) return 0;
  std::size_t body = 0;
  const auto length = text.find("Content-Length: ");
  if (length < head) body = static_cast<std::size_t>(std::atol(text.data() + length + 16));
  return head + 4 + body <= text.size() ? head + 4 + body : 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int server = listen_on(argc > 1 ? std::atoi(argv[1]) : 0);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {}};
  event.data.fd = server;
  epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event);
  std::unordered_map<int, std::string> buffers;
  std::array<epoll_event, 256> events;
  std::array<char, 65536> part;
  for (;;) {
    const int count = epoll_wait(epoll, events.data(), events.size(), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == server) {
        event.data.fd = accept4(server, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        const int on = 1;
        setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        continue;
      }
      const auto got = recv(fd, part.data(), part.size(), 0);
      if (got <= 0) {
        buffers.erase(fd);
        close(fd);
        continue;
      }
      auto& buffer = buffers[fd];
      buffer.append(part.data(), static_cast<std::size_t>(got));
      std::size_t done = 0;
      while (const auto size = request_size(std::string_view(buffer).substr(done))) {
        done += size;
        [[maybe_unused]] const auto sent = send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL);
      }
      buffer.erase(0, done);
    }
  }
}
