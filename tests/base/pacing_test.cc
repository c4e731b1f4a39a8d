// Goal: the bucket keeps the average rate and the back-off its bounds. Method: virtual time.
#include <gtest/gtest.h>

#include "base/backoff.h"
#include "base/byte_reader.h"
#include "base/token_bucket.h"
#include "tests/support/doubles.h"

namespace sealane {
namespace {
using namespace std::chrono_literals;

TEST(TokenBucket, KeepsTheRateOverTimeAndTheBurst) {
  SteadyTime now{};
  TokenBucket bucket(1000, 100, now);
  EXPECT_TRUE(bucket.try_take(100, now));
  EXPECT_FALSE(bucket.try_take(1, now));
  EXPECT_TRUE(bucket.try_take(50, now + 50ms));
  EXPECT_EQ(bucket.take(1000, now + 50ms), now + 1050ms);  // ten bursts, into debt
  EXPECT_FALSE(bucket.try_take(1, now + 1050ms));
  EXPECT_TRUE(bucket.try_take(1, now + 1060ms));
  EXPECT_FALSE(bucket.try_take(101, now + 1h)) << "never above the burst";
}

TEST(TokenBucket, ANewRateCountsFromItsMomentAndDebtsStay) {
  SteadyTime now{};
  TokenBucket bucket(1000, 100, now);
  EXPECT_EQ(bucket.take(600, now), now + 500ms);
  bucket.set_rate(100, now + 200ms);  // 300 are left to pay
  EXPECT_FALSE(bucket.try_take(1, now + 3200ms));
  EXPECT_TRUE(bucket.try_take(1, now + 3220ms));
  bucket.set_rate(1'000'000, now + 3220ms);
  EXPECT_TRUE(bucket.try_take(100, now + 3221ms));
  EXPECT_FALSE(bucket.try_take(1, now + 3221ms)) << "the burst stays";
}

TEST(Backoff, DoublesWithJitterUpToTheMaximumAndResets) {
  testing::SeededRandom random(1);
  Backoff backoff(100ms, 1s);
  std::chrono::nanoseconds ceiling = 100ms;
  for (int i = 0; i < 8; ++i) {
    const auto wait = backoff.next(random);
    EXPECT_GE(wait, ceiling / 2);
    EXPECT_LE(wait, ceiling);
    ceiling = std::min<std::chrono::nanoseconds>(ceiling * 2, 1s);
  }
  backoff.reset();
  EXPECT_LE(backoff.next(random), 100ms);
}

TEST(ByteReader, SaysWhenNotEnoughIsLeftAndConsumesNothing) {
  ByteWriter writer;
  writer.u16(0x0102).integer<std::uint32_t>(0x03040506, Endian::kLittle).u32_prefixed("abc").u64(7);
  ByteReader reader(writer.view());
  EXPECT_EQ(reader.u16(), 0x0102);
  EXPECT_EQ(reader.integer<std::uint32_t>(Endian::kLittle), 0x03040506u);
  EXPECT_FALSE(reader.u32_prefixed(2)) << "above the limit";
  EXPECT_EQ(as_text(*reader.u32_prefixed(3)), "abc");
  EXPECT_FALSE(reader.bytes(9));
  EXPECT_EQ(reader.u64(), 7u);
  EXPECT_TRUE(reader.empty());
  EXPECT_FALSE(reader.u8());
  ByteReader lying(
      as_bytes(std::string_view("\xff\xff\xff\xff"
                                "x",
                                5)));
  EXPECT_FALSE(lying.u32_prefixed(0xffffffff));
  EXPECT_EQ(lying.remaining(), 5u);
}

}  // namespace
}  // namespace sealane
