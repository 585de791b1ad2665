#include "jobs/ports.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <set>

namespace lathe::jobs {
namespace {

/// As a program would that takes no precautions.
bool can_listen(int port) {
  const Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_port = htons(static_cast<std::uint16_t>(port));
  return ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0 &&
         ::listen(socket.get(), 1) == 0;
}

TEST(Ports, NoneIsGivenTwiceWhileItIsHeldAndAllCanBeListenedOn) {
  std::vector<Port> held;
  std::set<int> numbers;
  for (int i = 0; i < 50; ++i) {
    auto got = lease_ports(3);
    ASSERT_TRUE(got) << got.error().message;
    for (auto& port : *got) {
      EXPECT_TRUE(numbers.insert(port.number).second) << port.number;
      EXPECT_TRUE(can_listen(port.number));
      held.push_back(std::move(port));
    }
  }
}

}  // namespace
}  // namespace lathe::jobs
