// Goal: whatever the kernel says to a burst of datagrams, each of them is sent once, kept for later
// or known to be lost, and an error that belongs to an earlier one costs nothing. Method: the
// kernel's calls are answered by a script; and real sockets on the loopback.
#include "net/datagram_transport.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <vector>

namespace sealane::net {
namespace {

// What the next calls say: above 0 so many datagrams are taken, below 0 it is an errno. When the
// script is over, everything is taken. What was taken is kept, cut as the kernel would.
class ScriptedCalls final : public DatagramCalls {
 public:
  std::deque<int> segmented;  // of bursts that the kernel is to cut
  std::deque<int> plain;      // of single ones and of many
  std::deque<int> receiving;
  std::size_t too_big = SIZE_MAX;  // EMSGSIZE from this size on
  std::vector<std::string> taken;
  int calls = 0;

  ssize_t send(int, const msghdr& message) override {
    ++calls;
    const std::string bytes = bytes_of(message);
    std::size_t segment = bytes.size();
    if (message.msg_controllen != 0) {
      const cmsghdr* header = CMSG_FIRSTHDR(&message);
      std::uint16_t size = 0;
      std::memcpy(&size, CMSG_DATA(header), sizeof size);
      segment = size;
    }
    const bool cut = segment < bytes.size();
    if (const int said = next(cut ? segmented : plain); said < 0) return fail(-said);
    if (segment >= too_big) return fail(EMSGSIZE);
    for (std::size_t at = 0; at < bytes.size(); at += segment) {
      taken.push_back(bytes.substr(at, segment));
    }
    return static_cast<ssize_t>(bytes.size());
  }
  int send_many(int, std::span<mmsghdr> messages) override {
    ++calls;
    const int said = next(plain);
    if (said < 0) return static_cast<int>(fail(-said));
    int count = 0;
    for (const mmsghdr& message : messages) {
      if (said > 0 && count == said) break;
      const std::string bytes = bytes_of(message.msg_hdr);
      if (bytes.size() >= too_big) {
        if (count == 0) return static_cast<int>(fail(EMSGSIZE));
        break;
      }
      taken.push_back(bytes);
      ++count;
    }
    return count;
  }
  int receive_many(int, std::span<mmsghdr>) override {
    return static_cast<int>(fail(-next(receiving)));
  }

 private:
  static std::string bytes_of(const msghdr& message) {
    const iovec& piece = message.msg_iov[0];
    return {static_cast<const char*>(piece.iov_base), piece.iov_len};
  }
  static int next(std::deque<int>& script) {
    if (script.empty()) return 0;
    const int said = script.front();
    script.pop_front();
    return said;
  }
  static ssize_t fail(int code) {
    errno = code;
    return -1;
  }
};

// Ten datagrams of four bytes, the last of three.
std::vector<std::string> fill(UdpBurst& burst) {
  std::vector<std::string> sent;
  for (int i = 0; i < 10; ++i) {
    sent.push_back((i < 9 ? "no " : "n ") + std::to_string(i));
    EXPECT_TRUE(burst.add(as_bytes(sent.back())));
  }
  return sent;
}

TEST(UdpBurst, OneCallWhereTheKernelCuts) {
  ScriptedCalls calls;
  UdpBurst burst(calls);
  const auto sent = fill(burst);
  EXPECT_FALSE(burst.add(as_bytes("no 9"))) << "after a shorter one nothing belongs to it";
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken);
  EXPECT_EQ(calls.taken, sent);
  EXPECT_EQ(calls.calls, 1);
  EXPECT_TRUE(burst.empty());
}

TEST(UdpBurst, OnlySoManyAreTakenAtOnce) {
  for (int first = 1; first < 10; ++first) {
    ScriptedCalls calls;
    calls.refuse_segmentation();
    calls.plain = {first, -EINTR, -EAGAIN};
    UdpBurst burst(calls);
    const auto sent = fill(burst);
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kBusy);
    EXPECT_EQ(calls.taken.size(), static_cast<std::size_t>(first));
    EXPECT_FALSE(burst.empty());
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken);
    EXPECT_EQ(calls.taken, sent) << first;
    EXPECT_TRUE(burst.empty());
  }
}

TEST(UdpBurst, AFullSocketKeepsTheWholeBurst) {
  ScriptedCalls calls;
  calls.segmented = {-EAGAIN};
  UdpBurst burst(calls);
  const auto sent = fill(burst);
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kBusy);
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken);
  EXPECT_EQ(calls.taken, sent);
}

// ENOBUFS comes while the socket is writable: waiting for that would be for nothing.
TEST(UdpBurst, AFullDeviceLosesWhatItDoesNotTake) {
  ScriptedCalls calls;
  calls.segmented = {-ENOBUFS};
  UdpBurst burst(calls);
  fill(burst);
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kLost);
  EXPECT_TRUE(burst.empty());
  EXPECT_EQ(calls.calls, 1);

  calls.refuse_segmentation();
  calls.plain = {3, -ENOBUFS};
  const auto sent = fill(burst);
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kLost);
  EXPECT_TRUE(burst.empty());
  EXPECT_EQ(calls.taken, std::vector(sent.begin(), sent.begin() + 3));
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken) << "and then it goes on";
}

TEST(UdpBurst, SegmentationThatIsRefusedIsDoneHereAndNotAskedForAgain) {
  for (const int code : {EIO, EOPNOTSUPP}) {
    ScriptedCalls calls;
    calls.segmented = {-code};
    UdpBurst burst(calls);
    const auto sent = fill(burst);
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken);
    EXPECT_EQ(calls.taken, sent);
    EXPECT_TRUE(calls.segmentation_refused());
    calls.taken.clear();
    calls.segmented = {-EIO};
    EXPECT_EQ(fill(burst), sent);
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken);
    EXPECT_EQ(calls.taken, sent);
    EXPECT_EQ(calls.segmented.size(), 1u) << "asked again";
  }
}

// What an ICMP message said of an earlier packet comes to whoever sends next, once.
TEST(UdpBurst, AnErrorOfAnEarlierPacketCostsNone) {
  for (const int code : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EPROTO, ENOPROTOOPT, EHOSTDOWN,
                         EACCES, EMSGSIZE}) {
    for (const bool cuts : {true, false}) {
      ScriptedCalls calls;
      if (!cuts) calls.refuse_segmentation();
      (cuts ? calls.segmented : calls.plain) = {-code};
      UdpBurst burst(calls);
      const auto sent = fill(burst);
      EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken) << code;
      EXPECT_EQ(calls.taken, sent) << code;
      EXPECT_EQ(burst.take_path_error(), code == EMSGSIZE);
    }
    ScriptedCalls calls;
    calls.plain = {-code};
    UdpBurst burst(calls);
    EXPECT_TRUE(burst.add(as_bytes("alone")));
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTaken) << code;
    EXPECT_EQ(calls.taken, std::vector<std::string>{"alone"});
    EXPECT_EQ(burst.take_path_error(), code == EMSGSIZE);
  }
}

TEST(UdpBurst, WhatIsTooBigIsSaidAndTheShorterOneLeaves) {
  for (const bool cuts : {true, false}) {
    ScriptedCalls calls;
    calls.too_big = 4;
    if (!cuts) calls.refuse_segmentation();
    UdpBurst burst(calls);
    const auto sent = fill(burst);
    EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kTooBig);
    EXPECT_FALSE(burst.take_path_error());
    EXPECT_EQ(calls.taken, std::vector<std::string>{sent.back()});
    EXPECT_LE(calls.calls, 4) << "those of one size share their fate";
    EXPECT_TRUE(burst.empty());
  }
}

TEST(UdpBurst, OneLostOfManyTakesNoOtherWithIt) {
  ScriptedCalls calls;
  calls.refuse_segmentation();
  calls.plain = {4, -EHOSTUNREACH, -EHOSTUNREACH};
  UdpBurst burst(calls);
  auto sent = fill(burst);
  EXPECT_EQ(burst.send(0, nullptr), SendOutcome::kLost);
  sent.erase(sent.begin() + 4);
  EXPECT_EQ(calls.taken, sent);
}

TEST(ReceiveUdp, OnlyAnErrorOfTheSocketIsAnEnd) {
  ReceiveArena arena;
  const auto read = [&](int code) {
    ScriptedCalls calls;
    calls.receiving = {-code};
    return receive_udp(
        0, arena, [](MutableByteSpan, const SocketAddress&) { FAIL(); }, calls);
  };
  for (const int code : {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOMEM, EPROTO, ENOPROTOOPT,
                         EHOSTDOWN, ENONET, EACCES, EOPNOTSUPP}) {
    const auto got = read(code);
    ASSERT_TRUE(got.has_value()) << std::strerror(code);  // NOLINT(concurrency-mt-unsafe)
    EXPECT_EQ(got.value(), DatagramRead::kMore);
  }
  EXPECT_EQ(read(EAGAIN).value(), DatagramRead::kDrained);
  EXPECT_EQ(read(EMSGSIZE).value(), DatagramRead::kPathChanged);
  EXPECT_FALSE(read(EBADF).has_value());
  EXPECT_FALSE(read(ENOTSOCK).has_value());
}

// The real kernel: a burst to nobody, whose ICMP answer meets the next one.
TEST(DatagramTransport, ABurstAfterAnIcmpAnswerArrivesWhole) {
  const auto any = parse_endpoint({"udp:127.0.0.1:0"});
  auto receiver = start_listen(*any);
  ASSERT_TRUE(receiver.has_value());
  Endpoint to{SocketKind::kUdp, local_address(receiver.value().get())};
  auto sender = start_connect(to);
  ASSERT_TRUE(sender.has_value());
  receiver.value() = flow::OwnedDescriptor();  // nobody listens
  ReceiveArena arena;
  DatagramTransport transport(std::move(sender.value()), to, 1500, arena);
  EXPECT_EQ(transport.send(as_bytes("nobody")), SendOutcome::kTaken);
  EXPECT_EQ(transport.flush(), SendOutcome::kTaken);
  auto again = start_listen(to);  // the kernel has the answer by now: loopback is one call
  ASSERT_TRUE(again.has_value());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(transport.send(as_bytes("packet")), SendOutcome::kTaken);
  }
  EXPECT_EQ(transport.flush(), SendOutcome::kTaken);
  std::size_t arrived = 0;
  for (;;) {
    const auto got =
        receive_udp(again.value().get(), arena, [&](MutableByteSpan packet, const SocketAddress&) {
          EXPECT_EQ(to_text(packet), "packet");
          ++arrived;
        });
    ASSERT_TRUE(got.has_value());
    if (got.value() == DatagramRead::kDrained) break;
  }
  EXPECT_EQ(arrived, 10u);
}

}  // namespace
}  // namespace sealane::net
