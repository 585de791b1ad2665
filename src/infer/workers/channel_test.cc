#include "infer/workers/channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "infer/workers/ask_workers.h"

namespace lathe::infer {
namespace {

struct Ends {
  Ends() {
    int both[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both), 0);
    ours = Fd(both[0]);
    theirs = Fd(both[1]);
  }
  Fd ours;
  Fd theirs;
};

TEST(Channel, AFrameLargerThanTheSocketsRoomComesWhole) {
  Ends ends;
  Channel sender(ends.ours.get());
  Channel receiver(ends.theirs.get());
  const std::string body(std::size_t{3} << 20, 'b');
  auto sent = sender.send(7, "head", body);
  ASSERT_TRUE(sent);
  EXPECT_FALSE(*sent);
  auto frame = receiver.receive();
  while (frame && !*frame) {
    if (!*sent) sent = sender.send_on();
    ASSERT_TRUE(sent);
    frame = receiver.receive();
  }
  ASSERT_TRUE(frame);
  EXPECT_EQ((*frame)->kind, 7U);
  EXPECT_EQ((*frame)->head, "head");
  EXPECT_EQ((*frame)->body, body);
  EXPECT_TRUE(sender.send_on().value());
}

TEST(Channel, FramesThatComeTogetherAreTakenOneByOne) {
  Ends ends;
  Channel sender(ends.ours.get());
  Channel receiver(ends.theirs.get());
  ASSERT_TRUE(sender.send(1, "", "one").value());
  ASSERT_TRUE(sender.send(2, "two", "").value());
  EXPECT_EQ(receiver.receive().value()->body, "one");
  EXPECT_EQ(receiver.receive().value()->head, "two");
  EXPECT_FALSE(receiver.receive().value());
}

TEST(Channel, TheEndAndNonsenseAreErrors) {
  Ends ends;
  Channel receiver(ends.theirs.get());
  const std::string nonsense(24, '\xff');
  ASSERT_EQ(::write(ends.ours.get(), nonsense.data(), nonsense.size()), 24);
  EXPECT_EQ(receiver.receive().error().code, Code::invalid);
  Ends others;
  Channel left(others.theirs.get());
  others.ours = Fd{};
  EXPECT_EQ(left.receive().error().code, Code::unavailable);
  EXPECT_EQ(left.send(1, "", "x").error().code, Code::unavailable);
}

TEST(WorkersHeaders, WhatSplitsOrFramesTheMessageIsLeftOut) {
  EXPECT_EQ(kept_headers("X-Own: 1\r\nContent-Type: text/plain\r\n"), "X-Own: 1\r\nContent-Type: text/plain\r\n");
  EXPECT_EQ(kept_headers("Content-Length: 5\r\ntransfer-encoding: chunked\r\nConnection: close\r\nX: y"), "X: y\r\n");
  EXPECT_EQ(kept_headers("no colon\r\n: no name\r\nbad name: x\r\nX: a\nY: b\r\n\r\nHTTP/1.1 200 OK\r\n"), "");
  EXPECT_EQ(kept_headers(""), "");
}

}  // namespace
}  // namespace lathe::infer
