// Goal: a message is delivered exactly when all its bytes have come, and nothing a peer sends takes
// more than its share. Method: the vectors; random cuts in random order against a byte map; the
// published rule of an older receiver as a model for the sender's plan.
#include "session/fragments.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

constexpr auto kType = MessageType::kReadWrite;
constexpr SteadyTime kStart{};

Bytes counting(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 31 + i / 256);
  return out;
}

Fragment piece_of(const Bytes& message, std::uint64_t chain, std::size_t start, std::size_t size) {
  return {{chain, start, message.size()}, ByteSpan(message).subspan(start, size)};
}

TEST(Reassembler, Vectors) {
  const Bytes whole = hex(vectors()["fragments"]["message"]);
  for (const auto& cut : vectors()["fragments"]["cuts"]) {
    Reassembler reassembler({});  // both cuts are of chain 1
    std::size_t left = cut["fragments"].size();
    for (auto entry = cut["fragments"].rbegin(); entry != cut["fragments"].rend(); ++entry) {
      FragmentHeader header;
      const Bytes encoded = hex((*entry)["fragment_header"]);
      for (std::size_t i = 8; i-- > 0;) {
        header.chain = header.chain << 8 | std::to_integer<std::uint64_t>(encoded[i]);
      }
      const auto added = reassembler.add(
          kType, piece_of(whole, header.chain, (*entry)["start"], (*entry)["length"]), kStart);
      EXPECT_EQ(added.outcome, --left == 0 ? FragmentOutcome::kComplete : FragmentOutcome::kStored);
      if (left == 0) {
        EXPECT_EQ(added.message, whole);
      }
    }
    EXPECT_EQ(reassembler.buffered_bytes(), 0u);
  }
}

TEST(Reassembler, AnyCutInAnyOrderWithOverlaps) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const Bytes message = counting(1 + random() % 3000);
    Reassembler reassembler({});
    std::vector<bool> here(message.size());
    std::size_t missing = message.size();
    while (missing > 0) {
      const std::size_t start = random() % message.size();
      const std::size_t size =
          1 + random() % std::min<std::size_t>(message.size() - start, 1 + random() % 700);
      std::size_t fresh = 0;
      for (std::size_t i = start; i < start + size; ++i) {
        if (!here[i]) ++fresh;
        here[i] = true;
      }
      missing -= fresh;
      const auto added = reassembler.add(kType, piece_of(message, 7, start, size), kStart);
      const auto expected = fresh == 0     ? FragmentOutcome::kDuplicate
                            : missing == 0 ? FragmentOutcome::kComplete
                                           : FragmentOutcome::kStored;
      ASSERT_EQ(added.outcome, expected) << seed;
      if (missing == 0) {
        ASSERT_EQ(added.message, message) << seed;
      }
    }
    EXPECT_EQ(reassembler.add(kType, piece_of(message, 7, 0, 1), kStart).outcome,
              FragmentOutcome::kDuplicate);
    EXPECT_EQ(reassembler.chain_count(), 0u);
  }
}

TEST(Reassembler, WhatCameFirstCounts) {
  const Bytes first = counting(100);
  const Bytes forged(100, std::byte{0xee});
  Reassembler reassembler({});
  EXPECT_EQ(reassembler.add(kType, piece_of(first, 1, 20, 60), kStart).outcome,
            FragmentOutcome::kStored);
  const auto added = reassembler.add(kType, piece_of(forged, 1, 0, 100), kStart);
  ASSERT_EQ(added.outcome, FragmentOutcome::kComplete);
  EXPECT_TRUE(
      std::ranges::equal(ByteSpan(added.message).subspan(20, 60), ByteSpan(first).subspan(20, 60)));
  EXPECT_EQ(added.message[19], std::byte{0xee});
  EXPECT_EQ(added.message[80], std::byte{0xee});
}

TEST(Reassembler, ChainsAndTypesAreApart) {
  const Bytes a = counting(200);
  const Bytes b(200, std::byte{1});
  Reassembler reassembler({});
  static_cast<void>(reassembler.add(kType, piece_of(a, 1, 0, 100), kStart));
  static_cast<void>(reassembler.add(channel_type(ChannelId{4}), piece_of(b, 1, 100, 100), kStart));
  static_cast<void>(reassembler.add(kType, piece_of(b, 2, 100, 100), kStart));
  EXPECT_EQ(reassembler.chain_count(), 3u);
  EXPECT_EQ(reassembler.add(kType, piece_of(a, 1, 100, 100), kStart).message, a);
  EXPECT_EQ(reassembler.add(kType, piece_of(b, 2, 0, 100), kStart).message, b);
  EXPECT_EQ(reassembler.add(channel_type(ChannelId{4}), piece_of(b, 1, 0, 100), kStart).message, b);
}

TEST(Reassembler, Limits) {
  const Bytes large = counting(65537);
  Reassembler reassembler({.max_message_size = 65536, .max_chains = 3, .max_bytes = 100000});
  EXPECT_EQ(reassembler.add(kType, piece_of(large, 1, 0, 9), kStart).outcome,
            FragmentOutcome::kTooLarge);
  EXPECT_EQ(reassembler.buffered_bytes(), 0u);
  const Bytes fits = counting(65536);
  EXPECT_EQ(reassembler.add(kType, piece_of(fits, 2, 0, 9), kStart).outcome,
            FragmentOutcome::kStored);
  const Bytes other = counting(60000);
  EXPECT_EQ(reassembler.add(kType, piece_of(other, 2, 9, 9), kStart).outcome,
            FragmentOutcome::kTotalChanged);
  // More bytes than allowed in all: the oldest goes.
  EXPECT_EQ(reassembler.add(kType, piece_of(other, 3, 0, 9), kStart).outcome,
            FragmentOutcome::kStored);
  EXPECT_EQ(reassembler.buffered_bytes(), 60000u);
  EXPECT_EQ(reassembler.lost_messages(), 1u);
  // More chains than allowed: the oldest goes.
  const Bytes small = counting(10);
  for (std::uint64_t chain = 10; chain < 20; ++chain) {
    static_cast<void>(reassembler.add(kType, piece_of(small, chain, 0, 1), kStart));
    EXPECT_LE(reassembler.chain_count(), 3u);
  }
  EXPECT_EQ(reassembler.buffered_bytes(), 30u);
  EXPECT_EQ(reassembler.lost_messages(), 9u);
}

TEST(Reassembler, OneMessageOfTheLargestSizeIsAlwaysAllowed) {
  const Bytes message = counting(3 << 20);
  Reassembler reassembler({.max_message_size = message.size()});
  EXPECT_EQ(reassembler.add(kType, piece_of(message, 1, 0, 1000), kStart).outcome,
            FragmentOutcome::kStored);
  EXPECT_EQ(
      reassembler.add(kType, piece_of(message, 1, 1000, message.size() - 1000), kStart).message,
      message);
}

TEST(Reassembler, TooManyPieces) {
  const Bytes message = counting(2 * Reassembler::kMaxRuns + 10);
  Reassembler reassembler({});
  std::size_t start = 0;
  for (; start < 2 * Reassembler::kMaxRuns; start += 2) {
    ASSERT_EQ(reassembler.add(kType, piece_of(message, 1, start, 1), kStart).outcome,
              FragmentOutcome::kStored);
  }
  EXPECT_EQ(reassembler.add(kType, piece_of(message, 1, start, 1), kStart).outcome,
            FragmentOutcome::kTooManyPieces);
  EXPECT_EQ(reassembler.chain_count(), 0u);
  EXPECT_EQ(reassembler.lost_messages(), 1u);
}

TEST(Reassembler, Age) {
  using std::chrono::seconds;
  const Bytes message = counting(10);
  Reassembler reassembler({.max_age = seconds(30)});
  EXPECT_FALSE(reassembler.deadline().has_value());
  static_cast<void>(reassembler.add(kType, piece_of(message, 1, 0, 1), kStart));
  static_cast<void>(reassembler.add(kType, piece_of(message, 2, 0, 1), kStart + seconds(10)));
  static_cast<void>(reassembler.add(kType, piece_of(message, 1, 1, 1), kStart + seconds(29)));
  EXPECT_EQ(reassembler.deadline(), kStart + seconds(30));
  reassembler.expire(kStart + seconds(29));
  EXPECT_EQ(reassembler.chain_count(), 2u);
  reassembler.expire(kStart + seconds(30));
  EXPECT_EQ(reassembler.chain_count(), 1u);
  EXPECT_EQ(reassembler.deadline(), kStart + seconds(40));
}

TEST(PieceSize, MultiplesOf64) {
  EXPECT_EQ(piece_size(0), std::nullopt);
  EXPECT_EQ(piece_size(87), std::nullopt);
  EXPECT_EQ(piece_size(88), 64u);
  EXPECT_EQ(piece_size(1000), 960u);
  EXPECT_EQ(piece_size(65216), 65152u);
}

// An older receiver: a buffer for each slot that only grows, delivered whole.
struct OlderReceiver {
  std::array<std::uint64_t, ChainPlanner::kSlotCount> slots{};
  std::uint64_t deliver(std::uint64_t chain, std::uint64_t size) {
    std::uint64_t& slot = slots[chain % slots.size()];
    return slot = std::max(slot, size);
  }
};

TEST(ChainPlanner, TheModelAgreesWithTheVectors) {
  OlderReceiver receiver;
  for (const auto& step : vectors()["go_receiver_slot_lengths"]["sequence"]) {
    EXPECT_EQ(receiver.deliver(step["chain_id"], step["sent_length"]),
              step["go_receiver_delivers_length"]);
  }
}

TEST(ChainPlanner, NothingArrivesWithAnOldTail) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    OlderReceiver receiver;
    ChainPlanner planner;
    std::uint64_t last = 0;
    std::uint64_t shortest_slot = 0;
    int sent = 0;
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t total = 1 + random() % 65536;
      const auto chain = planner.next_chain(total);
      shortest_slot = *std::ranges::min_element(receiver.slots);
      ASSERT_EQ(chain.has_value(), total >= shortest_slot);
      if (!chain) continue;
      ASSERT_GT(*chain, last);
      ASSERT_LE(*chain, last + ChainPlanner::kSlotCount);
      ASSERT_EQ(receiver.deliver(*chain, total), total);
      last = *chain;
      ++sent;
    }
    EXPECT_GE(sent, 8);
  }
}

TEST(ChainPlanner, ShortOnesKeepTheirSlots) {
  ChainPlanner planner;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(planner.next_chain(60000).has_value());
    EXPECT_TRUE(planner.next_chain(2000).has_value());
    EXPECT_TRUE(planner.next_chain(30000).has_value());
  }
}

}  // namespace
}  // namespace sealane::session
