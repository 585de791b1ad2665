#include "jobs/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdio>
#include <cstring>
#include <random>

#include "base/text.h"

namespace lathe::jobs {
namespace {

constexpr int kSpread = 12'000;

struct Range {
  int first = 20'000;
  int count = kSpread;
};

/// Ports that the kernel never gives to a socket that asks for any.
Range unasked_ports() {
  int low = 32'768;
  int high = 60'999;
  if (const auto text = read_file("/proc/sys/net/ipv4/ip_local_port_range"))
    std::sscanf(text->c_str(), "%d %d", &low, &high);
  if (low > 4'000) {
    const int count = std::min(kSpread, low - 2'000);
    return {low - count, count};
  }
  return high < 64'000 ? Range{high + 1, 65'535 - high} : Range{};
}

/// An abstract name, which goes with the last process that has the socket open.
Fd lease(int number) {
  Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const auto length = std::snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "lathe-port-%d", number);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(length));
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0) return Fd{};
  return socket;
}

bool is_free(int number) {
  const Fd v6{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const int no = 0;
  const int yes = 1;
  if (v6) {
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(static_cast<std::uint16_t>(number));
    ::setsockopt(v6.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    ::setsockopt(v6.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (::bind(v6.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0) return ::listen(v6.get(), 1) == 0;
    if (errno == EADDRINUSE) return false;
  }
  const Fd v4{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(static_cast<std::uint16_t>(number));
  ::setsockopt(v4.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  return v4 && ::bind(v4.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0 && ::listen(v4.get(), 1) == 0;
}

}  // namespace

Result<std::vector<Port>> lease_ports(std::size_t count) {
  static const Range range = unasked_ports();
  std::random_device random;
  const int begin = static_cast<int>(random() % static_cast<unsigned>(range.count));
  std::vector<Port> out;
  for (int i = 0; i < range.count && out.size() < count; ++i) {
    Port port;
    port.number = range.first + (begin + i) % range.count;
    port.lease = lease(port.number);
    if (port.lease && is_free(port.number)) out.push_back(std::move(port));
  }
  if (out.size() == count) return out;
  return fail(Code::exhausted, "no TCP ports are left on this machine for the job's processes to meet at");
}

}  // namespace lathe::jobs
