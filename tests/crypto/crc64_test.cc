#include "crypto/crc64.h"

#include <gtest/gtest.h>

#include <random>

namespace sealane::crypto {
namespace {

Bytes random_input(std::size_t size) {
  std::mt19937_64 random(7);
  Bytes input(size);
  for (std::byte& byte : input) byte = static_cast<std::byte>(random());
  return input;
}

// Straight from the definition: one bit after the other.
std::uint64_t crc64_by_bit(std::uint64_t crc, ByteSpan data) {
  for (const std::byte byte : data) {
    crc ^= std::to_integer<std::uint64_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x95ac9329ac4bc9b5U : 0);
    }
  }
  return crc;
}

TEST(Crc64, HasTheCheckValueThatRedisNames) {
  EXPECT_EQ(crc64(0, as_bytes(std::string_view("123456789"))), 0xe9c6d914c4b8d9caU);
  EXPECT_EQ(crc64(0, {}), 0U);
  EXPECT_EQ(crc64(5, {}), 5U);
}

TEST(Crc64, IsTheSameOnAnyCpuAtAnySizeAndPlace) {
  const Bytes input = random_input(1200);
  std::uint64_t expected = 0;
  for (std::size_t size = 0; size < 1100; ++size) {
    const ByteSpan data = ByteSpan(input).subspan(size % 17, size);
    expected = crc64_by_bit(size, data);
    ASSERT_EQ(crc64(size, data), expected) << size;
    ASSERT_EQ(crc64_by_table(size, data), expected) << size;
  }
}

TEST(Crc64, GoesOnWhereItEnded) {
  const Bytes input = random_input(3000);
  const std::uint64_t whole = crc64_by_table(0, input);
  for (std::size_t cut = 0; cut <= input.size(); cut += 7) {
    const std::uint64_t front = crc64(0, ByteSpan(input).first(cut));
    ASSERT_EQ(crc64(front, ByteSpan(input).subspan(cut)), whole) << cut;
  }
}

}  // namespace
}  // namespace sealane::crypto
