// Goal: every peer gets its rounds in time, whatever the others do. Method: virtual time and seeded
// randomness; peers that fail, hang and come back; the waits are measured.
#include "warm/rounds.h"

#include <gtest/gtest.h>

#include "tests/support/doubles.h"

namespace sealane::warm {
namespace {

using std::chrono::seconds;

TEST(Rounds, GoodPeersComeOncePerIntervalWithJitter) {
  testing::SeededRandom random(1);
  SteadyTime now{};
  Rounds rounds({"a", "b", "c"}, {}, random, now);
  std::vector<SteadyTime> last(3);
  const SteadyTime end = now + std::chrono::hours(24);
  bool varied = false;
  while (now < end) {
    while (const auto peer = rounds.take_due(now)) {
      if (rounds.counters(*peer).rounds > 0) {
        const auto wait = now - last[*peer];
        EXPECT_GE(wait, seconds(270));
        EXPECT_LE(wait, seconds(330));
        varied = varied || wait < seconds(290) || wait > seconds(310);
      }
      last[*peer] = now;
      rounds.finished(*peer, {.good = true, .keys = 2, .bytes = 10}, now);
    }
    ASSERT_TRUE(rounds.next_due());
    now = std::max(now + seconds(1), *rounds.next_due());
  }
  EXPECT_TRUE(varied);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(static_cast<double>(rounds.counters(i).rounds), 288.0, 15.0);
    EXPECT_EQ(rounds.counters(i).keys, 2 * rounds.counters(i).rounds);
  }
}

TEST(Rounds, AFailingPeerBacksOffAndABusyOneDelaysNobody) {
  testing::SeededRandom random(2);
  SteadyTime now{};
  Rounds rounds({"down", "hangs", "good"}, {}, random, now);
  std::vector<std::chrono::nanoseconds> waits;
  SteadyTime last{};
  for (const SteadyTime end = now + std::chrono::hours(3); now < end; now += seconds(1)) {
    while (const auto peer = rounds.take_due(now)) {
      if (rounds.name(*peer) == "hangs") continue;
      if (rounds.name(*peer) == "down") {
        if (rounds.counters(*peer).rounds > 0) waits.push_back(now - last);
        last = now;
      }
      rounds.finished(*peer, {.good = rounds.name(*peer) == "good", .keys = 0, .bytes = 0}, now);
    }
  }
  EXPECT_EQ(rounds.counters(1).rounds, 0U);
  EXPECT_GE(rounds.counters(2).rounds, 30U);
  EXPECT_EQ(rounds.counters(0).failures, rounds.counters(0).rounds);
  ASSERT_GT(waits.size(), 12U);
  EXPECT_LE(waits.front(), seconds(2));
  for (const auto wait : waits) EXPECT_LE(wait, seconds(301)) << "never longer than the interval";
  EXPECT_GE(waits.back(), seconds(150));
  // It is back: the next round is an ordinary one again.
  while (true) {
    const auto peer = rounds.take_due(now);
    if (peer && rounds.name(*peer) == "down") {
      rounds.finished(*peer, {.good = true, .keys = 0, .bytes = 0}, now);
      break;
    }
    if (peer && rounds.name(*peer) == "good") {
      rounds.finished(*peer, {.good = true, .keys = 0, .bytes = 0}, now);
    }
    now += seconds(1);
  }
  EXPECT_EQ(rounds.counters(0).failures_in_a_row, 0U);
}

TEST(Rounds, ALongRoundIsFollowedAtOnceAndNotTwice) {
  testing::SeededRandom random(3);
  Rounds rounds({"slow"}, {}, random, SteadyTime{});
  ASSERT_TRUE(rounds.take_due(SteadyTime{}));
  EXPECT_FALSE(rounds.next_due()) << "all are busy";
  const SteadyTime later = SteadyTime{} + seconds(2000);
  rounds.finished(0, {.good = true, .keys = 0, .bytes = 0}, later);
  EXPECT_EQ(rounds.counters(0).last_duration, seconds(2000));
  ASSERT_EQ(rounds.take_due(later), 0U);
  rounds.finished(0, {.good = true, .keys = 0, .bytes = 0}, later + seconds(1));
  EXPECT_FALSE(rounds.take_due(later + seconds(2)));
}

}  // namespace
}  // namespace sealane::warm
