// Goal: streams over one pipe keep their order, their credit and their ends; what a peer may not
// say ends the pipe with its reason. Method: two muxes that read each other's output in pieces of
// every size; hand-made frames.
#include "net/stream_mux.h"

#include <gtest/gtest.h>

#include <deque>

#include "base/byte_reader.h"
#include "base/core.h"
#include "tests/support/doubles.h"

namespace sealane::net {
namespace {

static_assert(StreamCore<StreamMux>);

constexpr std::uint32_t kWindow = 4096;

Bytes frame(std::uint8_t type, std::uint32_t stream, ByteSpan payload, std::uint8_t reserved = 0) {
  Bytes out(StreamMux::kHeaderSize + payload.size());
  out[0] = std::byte{type};
  out[1] = std::byte{reserved};
  store_integer(MutableByteSpan(out).subspan(2), static_cast<std::uint16_t>(payload.size()));
  store_integer(MutableByteSpan(out).subspan(4), stream);
  std::ranges::copy(payload, out.begin() + StreamMux::kHeaderSize);
  return out;
}
Bytes hello(std::uint8_t version = 1, std::uint8_t mode = 2, std::uint32_t window = kWindow) {
  Bytes payload(8);
  payload[0] = std::byte{version};
  payload[1] = std::byte{mode};
  store_integer(MutableByteSpan(payload).subspan(4), window);
  return frame(1, 0, payload);
}
Bytes u32(std::uint32_t value) {
  Bytes out(4);
  store_integer(MutableByteSpan(out), value);
  return out;
}
Bytes join(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const Bytes& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

// What happened, as text; data of one stream in a row is one entry, however it was cut.
std::vector<std::string> story(StreamMux& mux) {
  std::vector<std::string> out;
  std::string data_of;
  const auto number = [](StreamId id) { return std::to_string(static_cast<std::uint32_t>(id)); };
  while (const auto event = mux.next_event()) {
    if (const auto* data = std::get_if<StreamMux::Data>(&*event)) {
      const std::string head = "data " + number(data->id) + " ";
      out.push_back(head + to_text(data->bytes));
    } else if (const auto* opened = std::get_if<StreamMux::Opened>(&*event)) {
      out.push_back("opened " + number(opened->id) + " " + opened->target);
    } else if (const auto* accepted = std::get_if<StreamMux::Accepted>(&*event)) {
      out.push_back("accepted " + number(accepted->id));
    } else if (const auto* ended = std::get_if<StreamMux::Ended>(&*event)) {
      out.push_back("ended " + number(ended->id));
    } else if (const auto* done = std::get_if<StreamMux::Done>(&*event)) {
      out.push_back("done " + number(done->id));
    } else if (const auto* reset = std::get_if<StreamMux::Reset>(&*event)) {
      out.push_back("reset " + number(reset->id) + " " +
                    std::to_string(static_cast<int>(reset->reason)));
    } else if (const auto* failed = std::get_if<StreamMux::Failed>(&*event)) {
      out.push_back("failed " + std::to_string(static_cast<int>(failed->error)));
    } else {
      out.push_back(std::holds_alternative<StreamMux::Ready>(*event) ? "ready" : "goodbye");
    }
  }
  return out;
}
// Data of one stream that came in several pieces, joined.
std::vector<std::string> joined(const std::vector<std::string>& events) {
  std::vector<std::string> out;
  for (const std::string& event : events) {
    const std::string head = event.substr(0, event.find(' ', 5) + 1);
    if (event.starts_with("data ") && !out.empty() && out.back().starts_with(head)) {
      out.back() += event.substr(head.size());
    } else {
      out.push_back(event);
    }
  }
  return out;
}

std::vector<std::string> told(StreamMux& mux, ByteSpan bytes, std::size_t piece) {
  std::vector<std::string> out;
  while (!bytes.empty()) {
    const ByteSpan part = bytes.first(std::min(piece, bytes.size()));
    bytes = bytes.subspan(part.size());
    mux.receive(part, SteadyTime{});
    for (auto& event : story(mux)) out.push_back(std::move(event));
  }
  return joined(out);
}
std::vector<std::string> pass(StreamMux& from, StreamMux& to) {
  const Bytes bytes = to_bytes(from.next_output());
  from.output_sent(bytes.size());
  return told(to, bytes, bytes.size() + 1);
}

StreamMux dialer(MuxMode mode = MuxMode::kForward) {
  return StreamMux(MuxSide::kDialer, mode, kWindow);
}
StreamMux listener(MuxMode mode = MuxMode::kForward) {
  return StreamMux(MuxSide::kListener, mode, kWindow);
}
using Story = std::vector<std::string>;

TEST(StreamMux, AStreamFromOpenToBothEnds) {
  StreamMux a = dialer();
  StreamMux b = listener();
  EXPECT_EQ(pass(b, a), Story{"ready"});
  const auto id = a.open("tcp:127.0.0.1:80");
  ASSERT_EQ(id, StreamId{1});
  EXPECT_EQ(a.send(*id, as_bytes("hello")), 5U);  // before anybody accepted
  a.finish(*id);
  EXPECT_EQ(pass(a, b), (Story{"ready", "opened 1 tcp:127.0.0.1:80", "data 1 hello", "ended 1"}));
  b.accept(*id);
  EXPECT_EQ(b.send(*id, as_bytes("world")), 5U);  // the other direction goes on
  b.finish(*id);
  EXPECT_EQ(pass(b, a), (Story{"accepted 1", "data 1 world", "ended 1"}));
  EXPECT_EQ(a.stream_count() + b.stream_count(), 0U);
  const auto back = b.open("unix:/x");
  ASSERT_EQ(back, StreamId{2});
  EXPECT_EQ(pass(b, a), (Story{"opened 2 unix:/x"}));
  a.goodbye();
  EXPECT_EQ(pass(a, b), Story{"goodbye"});
}

TEST(StreamMux, APipeIsConfirmed) {
  StreamMux a = dialer(MuxMode::kPipe);
  StreamMux b = listener(MuxMode::kPipe);
  EXPECT_EQ(a.sendable(StreamMux::kPipeStream), 0U);  // the window is not known yet
  pass(b, a);
  a.send(StreamMux::kPipeStream, as_bytes("x"));
  a.finish(StreamMux::kPipeStream);
  EXPECT_EQ(pass(a, b), (Story{"ready", "data 1 x", "ended 1"}));
  b.done(StreamMux::kPipeStream);
  b.finish(StreamMux::kPipeStream);
  EXPECT_EQ(pass(b, a), (Story{"done 1", "ended 1"}));
  a.done(StreamMux::kPipeStream);
  EXPECT_EQ(pass(a, b), Story{"done 1"});
  b.reset(StreamMux::kPipeStream, ResetReason::kCut);
  EXPECT_EQ(pass(b, a), Story{"reset 1 1"});
}

TEST(StreamMux, CreditStopsAndGoesOn) {
  StreamMux a = dialer();
  StreamMux b = listener();
  pass(b, a);
  const auto id = *a.open("t");
  const Bytes much(3 * kWindow, std::byte{7});
  EXPECT_EQ(a.send(id, much), kWindow);
  EXPECT_EQ(a.send(id, much), 0U);
  pass(a, b);
  b.consumed(id, kWindow / 4 - 1);
  EXPECT_EQ(pass(b, a), Story{});
  EXPECT_EQ(a.sendable(id), 0U);  // too little for a frame
  b.consumed(id, 1);
  pass(b, a);
  EXPECT_EQ(a.send(id, much), kWindow / 4);
  // A slow stream does not stop another.
  const auto other = *a.open("u");
  EXPECT_EQ(a.send(other, as_bytes("quick")), 5U);
}

TEST(StreamMux, OutputIsBounded) {
  StreamMux a(MuxSide::kDialer, MuxMode::kForward, kWindow);
  StreamMux b(MuxSide::kListener, MuxMode::kForward, StreamMux::kMaxWindow);
  pass(b, a);
  const auto id = *a.open("t");
  const Bytes much(2 * StreamMux::kOutputLimit);
  const std::size_t taken = a.send(id, much);
  EXPECT_LT(taken, StreamMux::kOutputLimit);
  EXPECT_EQ(a.sendable(id), 0U);
  EXPECT_FALSE(a.wants_input());
  a.output_sent(a.next_output().size());
  EXPECT_TRUE(a.wants_input());
  EXPECT_GT(a.sendable(id), 0U);
}

TEST(StreamMux, TooManyStreamsAreReset) {
  StreamMux a = dialer();
  StreamMux b = listener();
  pass(b, a);
  for (std::size_t i = 0; i < StreamMux::kMaxStreams; ++i) ASSERT_TRUE(a.open("t"));
  EXPECT_FALSE(a.open("t"));
  pass(a, b);
  EXPECT_EQ(b.stream_count(), StreamMux::kMaxStreams);
  // One more that does not keep to it.
  const std::uint32_t next = 2 * StreamMux::kMaxStreams + 1;
  EXPECT_EQ(told(b, frame(2, next, as_bytes("t")), 100), Story{});
  b.output_sent(b.next_output().size() - 9);
  EXPECT_EQ(to_bytes(b.next_output()), frame(8, next, ByteArray<1>{std::byte{4}}));
}

TEST(StreamMux, FramesThatCrossAResetAreIgnored) {
  StreamMux a = dialer();
  StreamMux b = listener();
  pass(b, a);
  const auto id = *a.open("t");
  pass(a, b);
  b.reset(id, ResetReason::kNotAllowed);
  a.send(id, as_bytes("late"));
  a.finish(id);
  EXPECT_EQ(pass(a, b), Story{});
  EXPECT_EQ(pass(b, a), Story{"reset 1 2"});
  EXPECT_EQ(a.send(id, as_bytes("x")), 0U);
  EXPECT_EQ(a.stream_count() + b.stream_count(), 0U);
}

TEST(StreamMux, AnyCutGivesTheSameStory) {
  const Bytes bytes =
      join({hello(), frame(2, 1, as_bytes("tcp:127.0.0.1:1")), frame(4, 1, as_bytes("abc")),
            frame(2, 3, as_bytes("b")), frame(4, 3, as_bytes("xy")), frame(5, 1, u32(10)),
            frame(6, 1, {}), frame(8, 3, ByteArray<1>{std::byte{1}}), frame(9, 0, {})});
  StreamMux whole = listener();
  const Story expected = told(whole, bytes, bytes.size());
  EXPECT_EQ(expected, (Story{"ready", "opened 1 tcp:127.0.0.1:1", "data 1 abc", "opened 3 b",
                             "data 3 xy", "ended 1", "reset 3 1", "goodbye"}));
  for (std::size_t piece = 1; piece < bytes.size(); ++piece) {
    StreamMux mux = listener();
    EXPECT_EQ(told(mux, bytes, piece), expected) << piece;
  }
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    StreamMux mux = listener();
    Story both = told(mux, ByteSpan(bytes).first(cut), cut + 1);
    for (auto& event : told(mux, ByteSpan(bytes).subspan(cut), bytes.size())) {
      both.push_back(event);
    }
    EXPECT_EQ(joined(both), expected) << cut;
  }
}

struct Bad {
  const char* name;
  MuxError error;
  Bytes bytes;  // to a forwarding listener
};

TEST(StreamMux, WhatAPeerMayNotSay) {
  const Bytes open = frame(2, 1, as_bytes("t"));
  const Bytes big(kWindow + 1);
  const std::vector<Bad> cases = {
      {"data first", MuxError::kNotHello, frame(4, 1, as_bytes("x"))},
      {"noise", MuxError::kNotHello, to_bytes("GET / HTTP/1.1\r\n")},
      {"version 2", MuxError::kVersion, hello(2)},
      {"the other mode", MuxError::kMode, hello(1, 1)},
      {"no such mode", MuxError::kMode, hello(1, 3)},
      {"window too small", MuxError::kWindow, hello(1, 2, StreamMux::kMinWindow - 1)},
      {"window too large", MuxError::kWindow, hello(1, 2, StreamMux::kMaxWindow + 1)},
      {"hello of 7 bytes", MuxError::kSize, frame(1, 0, Bytes(7))},
      {"hello with a stream", MuxError::kSize, frame(1, 1, Bytes(8))},
      {"second hello", MuxError::kState, join({hello(), hello()})},
      {"type 0", MuxError::kUnknownFrame, join({hello(), frame(0, 1, {})})},
      {"type 10", MuxError::kUnknownFrame, join({hello(), frame(10, 1, {})})},
      {"reserved byte", MuxError::kUnknownFrame, join({hello(), frame(9, 0, {}, 1)})},
      {"done of a forward", MuxError::kUnknownFrame, join({hello(), open, frame(7, 1, {})})},
      {"open without target", MuxError::kSize, join({hello(), frame(2, 1, {})})},
      {"open too long", MuxError::kSize, join({hello(), frame(2, 1, Bytes(257))})},
      {"empty data", MuxError::kSize, join({hello(), open, frame(4, 1, {})})},
      {"data too large", MuxError::kSize,
       join({hello(), open, frame(4, 1, Bytes(StreamMux::kMaxDataSize + 1))})},
      {"end with payload", MuxError::kSize, join({hello(), open, frame(6, 1, Bytes(1))})},
      {"data of no stream", MuxError::kUnknownStream, join({hello(), frame(4, 1, Bytes(1))})},
      {"opened with our id", MuxError::kUnknownStream, join({hello(), frame(2, 2, Bytes(1))})},
      {"opened out of order", MuxError::kUnknownStream, join({hello(), frame(2, 3, Bytes(1))})},
      {"opened twice", MuxError::kUnknownStream, join({hello(), open, open})},
      {"stream 0", MuxError::kUnknownStream, join({hello(), frame(4, 0, Bytes(1))})},
      {"accept of its own", MuxError::kState, join({hello(), open, frame(3, 1, {})})},
      {"data after end", MuxError::kState,
       join({hello(), open, frame(6, 1, {}), frame(4, 1, Bytes(1))})},
      {"two ends", MuxError::kState, join({hello(), open, frame(6, 1, {}), frame(6, 1, {})})},
      {"beyond the window", MuxError::kWindow, join({hello(), open, frame(4, 1, big)})},
      {"credit of 0", MuxError::kSize, join({hello(), open, frame(5, 1, u32(0))})},
      {"credit overflow", MuxError::kWindow,
       join({hello(), open, frame(5, 1, u32(StreamMux::kMaxWindow))})},
      {"credit of 2^32-1", MuxError::kWindow, join({hello(), open, frame(5, 1, u32(UINT32_MAX))})},
      {"no such reason", MuxError::kUnknownFrame,
       join({hello(), open, frame(8, 1, ByteArray<1>{std::byte{9}})})},
  };
  for (const Bad& bad : cases) {
    StreamMux mux = listener();
    const Story got = told(mux, bad.bytes, bad.bytes.size());
    ASSERT_FALSE(got.empty()) << bad.name;
    EXPECT_EQ(got.back(), "failed " + std::to_string(static_cast<int>(bad.error))) << bad.name;
    EXPECT_FALSE(mux.wants_input()) << bad.name;
    EXPECT_FALSE(describe(bad.error).empty());
    // Final: what follows is not looked at.
    EXPECT_EQ(told(mux, hello(), 100), Story{}) << bad.name;
  }
}

TEST(StreamMux, DoneBeforeOurEndIsRefused) {
  StreamMux mux = listener(MuxMode::kPipe);
  EXPECT_EQ(told(mux, join({hello(1, 1), frame(7, 1, {})}), 100), (Story{"ready", "failed 7"}));
}

// Random work of both sides: every byte arrives, in order.
TEST(StreamMux, ManyStreamsAtRandom) {
  testing::SeededRandom random(7);
  const auto draw = [&random](std::size_t below) {
    ByteArray<4> bytes;
    random.fill(bytes);
    return load<std::uint32_t>(bytes) % below;
  };
  StreamMux a = dialer();
  StreamMux b = listener();
  pass(b, a);
  pass(a, b);
  std::map<StreamId, std::pair<std::string, std::string>> streams;  // sent, received
  const auto exchange = [&](StreamMux& from, StreamMux& to) {
    const Bytes bytes = to_bytes(from.next_output());
    from.output_sent(bytes.size());
    for (const std::string& event : told(to, bytes, 1 + draw(5000))) {
      if (!event.starts_with("data ")) continue;
      const std::size_t blank = event.find(' ', 5);
      const StreamId id{static_cast<std::uint32_t>(std::stoul(event.substr(5, blank - 5)))};
      const std::string data = event.substr(blank + 1);
      streams[id].second += data;
      to.consumed(id, data.size());
    }
  };
  for (int i = 0; i < 20; ++i) streams[*a.open("t")];
  for (int step = 0; step < 500; ++step) {
    const StreamId id{2 * static_cast<std::uint32_t>(draw(20)) + 1};
    const std::string text(1 + draw(3000), static_cast<char>('a' + draw(26)));
    const std::size_t taken = a.send(id, as_bytes(text));
    streams[id].first += text.substr(0, taken);
    exchange(a, b);
    exchange(b, a);
  }
  for (const auto& [id, both] : streams) {
    EXPECT_GT(both.first.size(), 1000U);
    EXPECT_EQ(both.first, both.second);
  }
}

}  // namespace
}  // namespace sealane::net
