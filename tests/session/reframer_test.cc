// Goal: any cut of a stream gives the same packets, and bytes that do not open yet are neither lost
// nor a way to make us buffer without end. Method: streams cut at each byte; a key that comes late.
#include "session/reframer.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

CipherKey secret(int number) { return CipherKey(ByteArray<32>{static_cast<std::byte>(number)}); }
constexpr SessionId kSender{1, 2};

// A peer's packets and the keys that a receiver has so far.
class Stream {
 public:
  void add(PacketKey& key, std::size_t size) {
    Bytes packet(kPacketHeaderSize + size, static_cast<std::byte>(size));
    key.seal(PacketId{++id_}, {}, packet);
    packets_.push_back(packet);
    bytes_.insert(bytes_.end(), packet.begin(), packet.end());
  }
  const Bytes& bytes() const { return bytes_; }
  const std::vector<Bytes>& packets() const { return packets_; }

 private:
  std::uint64_t id_ = 0;
  Bytes bytes_;
  std::vector<Bytes> packets_;
};

Reframer::PeekLength peek_with(std::vector<PacketKey>& keys) {
  return [&keys](
             std::span<const std::byte, kPacketHeaderSize> header) -> std::optional<std::uint32_t> {
    for (PacketKey& key : keys) {
      const auto opened = key.peek_header({}, header);
      if (opened.has_value()) return opened.value().length();
    }
    return std::nullopt;
  };
}

std::vector<PacketKey> plain_and(int number) {
  std::vector<PacketKey> keys;
  keys.push_back(PacketKey::plain());
  keys.push_back(PacketKey::session(secret(number), kSender));
  return keys;
}

std::vector<Bytes> take_all(Reframer& reframer) {
  std::vector<Bytes> out;
  for (;;) {
    auto next = reframer.next();
    if (!next.has_value() || !next.value()) return out;
    out.push_back(to_bytes(*next.value()));
  }
}

TEST(Reframer, CutAtEachByte) {
  std::vector<PacketKey> keys = plain_and(1);
  Stream stream;
  for (const std::size_t size : {0u, 1u, 155u, 0u, 700u}) stream.add(keys[size % 2], size);
  for (std::size_t cut = 0; cut <= stream.bytes().size(); ++cut) {
    Reframer reframer(1000, peek_with(keys));
    reframer.feed(ByteSpan(stream.bytes()).first(cut));
    std::vector<Bytes> packets = take_all(reframer);
    reframer.feed(ByteSpan(stream.bytes()).subspan(cut));
    for (Bytes& packet : take_all(reframer)) packets.push_back(std::move(packet));
    ASSERT_EQ(packets, stream.packets()) << cut;
    EXPECT_EQ(reframer.buffered(), 0u);
  }
}

TEST(Reframer, AnyPieces) {
  std::vector<PacketKey> keys = plain_and(1);
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Stream stream;
    for (int i = 0; i < 40; ++i) stream.add(keys[random() % 2], random() % 9000);
    Reframer reframer(kPacketHeaderSize + 9000, peek_with(keys));
    std::vector<Bytes> packets;
    ByteSpan rest = stream.bytes();
    while (!rest.empty()) {
      MutableByteSpan room = reframer.room();
      ASSERT_FALSE(room.empty());
      const std::size_t size =
          std::min({room.size(), rest.size(), std::size_t{1} + random() % 20000});
      std::ranges::copy(rest.first(size), room.begin());
      reframer.received(size);
      rest = rest.subspan(size);
      for (Bytes& packet : take_all(reframer)) packets.push_back(std::move(packet));
      ASSERT_LE(reframer.buffered(), kPacketHeaderSize + 9000u);
    }
    ASSERT_EQ(packets, stream.packets()) << seed;
  }
}

TEST(Reframer, AKeyThatComesLate) {
  // Two packets under a key that the plain packet behind them brings, then one more.
  std::vector<PacketKey> all = plain_and(1);
  Stream stream;
  stream.add(all[1], 300);
  stream.add(all[1], 20);
  stream.add(all[0], 155);
  stream.add(all[1], 60);
  for (std::size_t cut = 0; cut <= stream.bytes().size(); ++cut) {
    std::vector<PacketKey> keys;
    keys.push_back(PacketKey::plain());
    Reframer reframer(1000, peek_with(keys));
    std::vector<Bytes> packets;
    for (const ByteSpan part :
         {ByteSpan(stream.bytes()).first(cut), ByteSpan(stream.bytes()).subspan(cut)}) {
      reframer.feed(part);
      for (;;) {
        auto next = reframer.next();
        ASSERT_TRUE(next.has_value());
        if (!next.value()) break;
        packets.push_back(to_bytes(*next.value()));
        if (keys.size() == 1) keys.push_back(PacketKey::session(secret(1), kSender));
      }
    }
    const std::vector<Bytes> expected = {stream.packets()[2], stream.packets()[0],
                                         stream.packets()[1], stream.packets()[3]};
    ASSERT_EQ(packets, expected) << cut;
    EXPECT_EQ(reframer.buffered(), 0u);
  }
}

TEST(Reframer, OutOfStepIsFoundInBoundedMemory) {
  std::vector<PacketKey> keys;
  keys.push_back(PacketKey::plain());
  Reframer reframer(1000, peek_with(keys));
  const Bytes junk(10000, std::byte{0x5a});
  std::size_t fed = 0;
  for (;;) {
    reframer.feed(junk);
    fed += junk.size();
    const auto next = reframer.next();
    if (!next.has_value()) {
      EXPECT_EQ(next.error(), ReframeError::kOutOfStep);
      break;
    }
    ASSERT_FALSE(next.value().has_value());
    ASSERT_LE(fed, Reframer::kMaxUnopened + 2 * junk.size());
  }
  EXPECT_EQ(reframer.next().error(), ReframeError::kOutOfStep);
}

TEST(Reframer, AStrangersJunkIsSearchedForLessLong) {
  std::vector<PacketKey> keys = plain_and(1);
  std::size_t tries = 0;
  const auto peek = peek_with(keys);
  Reframer reframer(
      1000,
      [&](std::span<const std::byte, kPacketHeaderSize> header) {
        ++tries;
        return peek(header);
      },
      [] { return Reframer::kMaxUnopenedByStranger; });
  // What anybody can make is no proof.
  Stream stream;
  stream.add(keys[0], 100);
  reframer.feed(stream.bytes());
  ASSERT_TRUE(reframer.next().value().has_value());
  reframer.feed(Bytes(50'000, std::byte{0x5a}));
  const auto next = reframer.next();
  ASSERT_FALSE(next.has_value());
  EXPECT_EQ(next.error(), ReframeError::kOutOfStep);
  EXPECT_LE(tries, Reframer::kMaxUnopenedByStranger + 2);
}

TEST(Reframer, ATooLargePacketIsRefusedByItsHeader) {
  std::vector<PacketKey> keys = plain_and(1);
  Stream stream;
  stream.add(keys[1], 957);
  Reframer reframer(1000, peek_with(keys));
  reframer.feed(ByteSpan(stream.bytes()).first(kPacketHeaderSize));
  EXPECT_EQ(reframer.next().error(), ReframeError::kTooLarge);
}

}  // namespace
}  // namespace sealane::session
