// Goal: a message that comes in parts is whole or not there, over any crash, and nobody can make
// its recipient keep more than the limits say. Method: parts in order, again, with gaps and between
// others; each call of the file system failing and losing its power; files cut at every byte.
#include "node/message_parts.h"

#include <gtest/gtest.h>

#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::node {
namespace {

const std::string kFolder = "/parts";

hub::ClientId client(std::uint8_t number) {
  hub::ClientId id;
  id.bytes.back() = std::byte{number};
  return id;
}
Bytes piece(std::uint32_t index) { return Bytes(100 + index, static_cast<std::byte>(index)); }
Bytes whole_of(std::uint32_t count) {
  Bytes all;
  for (std::uint32_t i = 0; i < count; ++i) {
    const Bytes one = piece(i);
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

struct Taker {
  testing::SimulatedFiles files;
  std::optional<MessageParts> parts;
  Taker() { start(); }
  void start() { parts.emplace(files, kFolder); }
  MessageParts::Outcome take(std::uint8_t sender, std::uint64_t whole, std::uint32_t index,
                             std::uint32_t count) {
    auto outcome =
        parts->take(client(sender), {.whole = whole, .index = index, .count = count}, piece(index));
    EXPECT_TRUE(outcome.has_value()) << outcome.error().message;
    return outcome.has_value() ? std::move(outcome).value() : MessageParts::Outcome{};
  }
};

TEST(MessagePartsTest, PartsInOrderBecomeTheMessage) {
  Taker taker;
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_FALSE(taker.take(1, 9, i, 5).message);
  // Given again, as after a lost answer: nothing changes.
  EXPECT_FALSE(taker.take(1, 9, 0, 5).message);
  EXPECT_FALSE(taker.take(1, 9, 3, 5).message);
  EXPECT_EQ(taker.take(1, 9, 4, 5).message, whole_of(5));
  // And again, until it was dealt with.
  EXPECT_EQ(taker.take(1, 9, 4, 5).message, whole_of(5));
  ASSERT_TRUE(taker.parts->finished(client(1)).has_value());
  EXPECT_EQ(taker.files.all_paths(), std::vector<std::string>{"/parts/"});
  EXPECT_FALSE(taker.take(1, 9, 4, 5).message);
  EXPECT_EQ(taker.take(1, 10, 0, 1).message, whole_of(1));
}

TEST(MessagePartsTest, SendersDoNotMix) {
  Taker taker;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto a = taker.take(1, 5, i, 3);
    const auto b = taker.take(2, 5, i, 3);
    EXPECT_EQ(a.message.has_value(), i == 2);
    EXPECT_EQ(b.message.has_value(), i == 2);
  }
}

TEST(MessagePartsTest, WhatWillNeverBeWholeIsDroppedAndSaidOnce) {
  Taker taker;
  taker.take(1, 5, 0, 3);
  EXPECT_EQ(taker.take(1, 5, 2, 3).dropped, "the rest of it never came");  // a gap
  EXPECT_EQ(taker.take(1, 5, 1, 3).dropped, "");
  taker.take(1, 6, 0, 2);
  EXPECT_EQ(taker.take(1, 7, 0, 2).dropped, "the rest of it never came");  // another one follows
  EXPECT_EQ(taker.take(1, 7, 1, 2).message, whole_of(2));
  // The one that is whole was dealt with, or would have come again.
  EXPECT_EQ(taker.take(1, 8, 0, 2).dropped, "");
  // The end of one whose begin was not seen.
  EXPECT_EQ(taker.take(3, 8, 1, 2).dropped, "");
  EXPECT_FALSE(taker.take(3, 8, 1, 2).message);
}

TEST(MessagePartsTest, LimitsHold) {
  Taker taker;
  const Bytes large(MessageParts::kMaxMessage / 2 + 1);
  const auto give = [&](std::uint8_t sender, std::uint32_t index) {
    return taker.parts->take(client(sender), {.whole = 1, .index = index, .count = 3}, large)
        .value();
  };
  give(1, 0);
  EXPECT_EQ(give(1, 1).dropped, "it is too large");
  EXPECT_EQ(give(1, 2).dropped, "");
  std::uint8_t sender = 2;
  for (std::size_t held = 0; held + large.size() <= MessageParts::kMaxHeld; held += large.size()) {
    EXPECT_EQ(give(sender++, 0).dropped, "");
  }
  EXPECT_EQ(give(sender, 0).dropped, "it is too large");
  // The others go on.
  Taker many;
  for (std::uint8_t i = 0; i < MessageParts::kMaxSenders; ++i) many.take(i, 1, 0, 2);
  EXPECT_EQ(many.take(200, 1, 0, 2).dropped, "too many others are coming");
  EXPECT_EQ(many.take(7, 1, 1, 2).message, whole_of(2));
}

// However it came about, what is on the disk counts.
TEST(MessagePartsTest, WhatAnEarlierStartLeftCounts) {
  Taker taker;
  const Bytes large(MessageParts::kMaxMessage);
  ASSERT_TRUE(taker.files.create_directory(kFolder).has_value());
  for (std::uint8_t i = 0; i * large.size() <= MessageParts::kMaxHeld; ++i) {
    ASSERT_TRUE(write_new_file(taker.files, join_path(kFolder, hub::to_file_name(client(i))),
                               encode_part({.whole = 1, .index = 0, .count = 2}, large))
                    .has_value());
  }
  EXPECT_EQ(taker.take(100, 1, 0, 2).dropped, "it is too large");
}

TEST(MessagePartsTest, AFullDiskTakesNothing) {
  Taker taker;
  taker.take(1, 5, 0, 3);
  taker.files.limit_space(0);
  EXPECT_FALSE(
      taker.parts->take(client(1), {.whole = 5, .index = 1, .count = 3}, piece(1)).has_value());
  EXPECT_FALSE(
      taker.parts->take(client(2), {.whole = 5, .index = 0, .count = 3}, piece(0)).has_value());
  taker.files.limit_space(UINT64_MAX);
  taker.take(1, 5, 1, 3);
  EXPECT_EQ(taker.take(1, 5, 2, 3).message, whole_of(3));
}

// A hub that gives each part again until it was told, and a recipient that is told of a part only
// once it is synced.
TEST(MessagePartsTest, NoCallThatFailsAndNoCrashLosesAMessage) {
  constexpr std::uint32_t kCount = 3;
  for (const bool power : {false, true}) {
    std::uint64_t calls = 1;
    for (std::uint64_t stop = 0; stop < calls; ++stop) {
      Taker taker;
      taker.files.stop_at_call(stop);
      std::uint32_t told = 0;  // parts that the hub may have forgotten
      std::optional<Bytes> message;
      for (int tries = 0; tries < 2 && !message; ++tries) {
        for (std::uint32_t i = told; i < kCount; ++i) {
          auto outcome =
              taker.parts->take(client(1), {.whole = 4, .index = i, .count = kCount}, piece(i));
          if (!outcome.has_value()) break;
          EXPECT_EQ(outcome.value().dropped, "") << stop;
          if (!taker.parts->sync().has_value()) break;
          told = i + 1;
          if (outcome.value().message) message = outcome.value().message;
        }
        if (!taker.files.stopped()) break;
        if (told == kCount) told = kCount - 1;  // it was not dealt with
        message.reset();
        if (power) {
          taker.files.restart_after_power_loss(stop);
        } else {
          taker.files.restart_process();
        }
        taker.start();
      }
      if (stop == 0) {
        Taker counted;
        for (std::uint32_t i = 0; i < kCount; ++i) {
          counted.take(1, 4, i, kCount);
          ASSERT_TRUE(counted.parts->sync().has_value());
        }
        calls = counted.files.call_count();
      }
      EXPECT_EQ(message, whole_of(kCount)) << "stopped at call " << stop << ", power " << power;
    }
    EXPECT_GT(calls, 6U);
  }
}

TEST(MessagePartsTest, AFileIsReadUpToWhatIsWhole) {
  Bytes file;
  std::vector<std::size_t> ends{0};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Bytes record = encode_part({.whole = 7, .index = i, .count = 3}, piece(i));
    file.insert(file.end(), record.begin(), record.end());
    ends.push_back(file.size());
  }
  for (std::size_t size = 0; size <= file.size(); ++size) {
    const PartRun run = parse_parts(ByteSpan(file).first(size));
    const auto parts = static_cast<std::size_t>(
        std::ranges::count_if(ends, [&](std::size_t end) { return end > 0 && end <= size; }));
    EXPECT_EQ(run.next, parts) << size;
    EXPECT_EQ(run.data, whole_of(static_cast<std::uint32_t>(parts))) << size;
    EXPECT_EQ(run.end, ends[parts]);
    EXPECT_EQ(run.complete(), parts == 3);
  }
  for (std::size_t at = 0; at < file.size(); ++at) {
    Bytes damaged = file;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(parse_parts(damaged).complete()) << at;
  }
  // What an older, longer message left behind the newer one.
  Bytes over = encode_part({.whole = 8, .index = 0, .count = 2}, piece(0));
  std::ranges::copy(over, file.begin());
  EXPECT_EQ(parse_parts(file).next, 1U);
}

}  // namespace
}  // namespace sealane::node
