// Goal: the raw ciphers are the published ones. Method: vectors; cuts; in place against out of
// place.
#include "crypto/cipher.h"

#include <gtest/gtest.h>

#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

TEST(Ciphers, MatchThePublishedVectors) {
  int count = 0;
  for (const auto& vector : testing::read_vector_file("crypto/cipher.txt")) {
    SCOPED_TRACE(vector.text("source"));
    const std::string& algorithm = vector.text("algorithm");
    const auto key = vector.array<32>("key");
    Bytes out;
    if (algorithm == "hchacha20") {
      out.resize(32);
      hchacha20(key, vector.array<16>("nonce"), std::span<std::byte, 32>(out));
    } else if (algorithm == "poly1305") {
      const ByteArray<16> tag = poly1305(key, vector.bytes("input"));
      out = to_bytes(tag);
    } else {
      out = vector.bytes("input");
      if (algorithm == "chacha20") {
        chacha20_xor(key, vector.array<12>("nonce"),
                     static_cast<std::uint32_t>(vector.number("counter")), out, out);
      } else {
        ASSERT_EQ(algorithm, "aes256-ctr");
        aes256_ctr_xor(key, vector.array<16>("nonce"), out, out);
      }
    }
    EXPECT_EQ(to_hex(out), vector.text("output"));
    ++count;
  }
  EXPECT_EQ(count, 4);
}

TEST(ChaCha20, CountsBlocksUpToTheLastCounter) {
  const ByteArray<32> key{std::byte{1}};
  const ByteArray<12> nonce{std::byte{2}};
  const Bytes zeros(1000);
  Bytes whole(zeros.size());
  chacha20_xor(key, nonce, 5, zeros, whole);
  for (std::size_t block = 0; block < 16; ++block) {
    const std::size_t size = std::min<std::size_t>(64, zeros.size() - 64 * block);
    Bytes part(size);
    chacha20_xor(key, nonce, static_cast<std::uint32_t>(5 + block), ByteSpan(zeros).first(size),
                 part);
    EXPECT_TRUE(std::ranges::equal(part, ByteSpan(whole).subspan(64 * block, size))) << block;
  }
  Bytes last(128);
  chacha20_xor(key, nonce, 0xfffffffe, ByteSpan(zeros).first(128), last);
  EXPECT_DEATH(chacha20_xor(key, nonce, 0xffffffff, ByteSpan(zeros).first(65),
                            MutableByteSpan(last).first(65)),
               "blocks");
}

// Each length and any piece against single blocks, which another library makes.
TEST(ChaCha20Original, IsTheSameInOneCallInPiecesAndByBlocks) {
  const ByteArray<32> key{std::byte{1}, std::byte{9}};
  const ByteArray<8> nonce{std::byte{2}, std::byte{0}, std::byte{5}};
  ChaCha20 cipher(key);
  for (const std::uint64_t counter :
       {std::uint64_t{0}, std::uint64_t{7}, (std::uint64_t{1} << 32) - 3, std::uint64_t{1} << 40}) {
    Bytes expected(1000);
    for (std::size_t at = 0; at < expected.size(); at += 64) {
      cipher.xor_in_place(
          nonce, counter + at / 64,
          MutableByteSpan(expected).subspan(at, std::min<std::size_t>(64, expected.size() - at)));
    }
    for (std::size_t size = 0; size <= expected.size(); ++size) {
      Bytes out(size);
      cipher.xor_in_place(nonce, counter, out);
      ASSERT_TRUE(std::ranges::equal(out, ByteSpan(expected).first(size))) << size;
    }
    Bytes pieces(expected.size());
    cipher.start(nonce, counter);
    for (std::size_t at = 0; at < pieces.size(); at += 192) {
      cipher.proceed(
          MutableByteSpan(pieces).subspan(at, std::min<std::size_t>(192, pieces.size() - at)));
    }
    EXPECT_EQ(pieces, expected);
  }
}

// The 96-bit nonce of RFC 8439 with four zero bytes in front is the same cipher for small counters.
TEST(ChaCha20Original, AgreesWithRfc8439) {
  const ByteArray<32> key{std::byte{4}};
  const ByteArray<8> nonce{std::byte{1}, std::byte{2}};
  ByteArray<12> longer{};
  std::ranges::copy(nonce, longer.begin() + 4);
  const Bytes zeros(500);
  Bytes expected(zeros.size());
  chacha20_xor(key, longer, 3, zeros, expected);
  Bytes out(zeros.size());
  ChaCha20(key).xor_in_place(nonce, 3, out);
  EXPECT_EQ(out, expected);
}

TEST(Poly1305Incremental, AgreesWithOneShot) {
  Poly1305 incremental;
  ByteArray<32> key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 11 + 3);
  Bytes message(700);
  for (std::size_t i = 0; i < message.size(); ++i) message[i] = static_cast<std::byte>(i * 5);
  for (std::size_t size = 0; size <= message.size(); ++size) {
    incremental.start(key);
    for (std::size_t at = 0; at < size; at += 37) {
      incremental.update(ByteSpan(message).subspan(at, std::min<std::size_t>(37, size - at)));
    }
    ASSERT_EQ(incremental.finish(), poly1305(key, ByteSpan(message).first(size))) << size;
    key[0] ^= std::byte{1};
  }
}

TEST(Aes256Ctr, CarriesThroughTheWholeCounterBlock) {
  const ByteArray<32> key{std::byte{7}};
  ByteArray<16> counter;
  counter.fill(std::byte{0xff});
  const Bytes zeros(32);
  Bytes whole(32);
  aes256_ctr_xor(key, counter, zeros, whole);
  Bytes second(16);
  aes256_ctr_xor(key, ByteArray<16>{}, ByteSpan(zeros).first(16), second);
  EXPECT_TRUE(std::ranges::equal(second, ByteSpan(whole).last(16)));
}

TEST(Ciphers, WorkInPlaceAsOutOfPlace) {
  const ByteArray<32> key{std::byte{3}};
  for (std::size_t size = 0; size <= 300; ++size) {
    Bytes message(size);
    for (std::size_t i = 0; i < size; ++i) message[i] = static_cast<std::byte>(i);
    Bytes apart(size);
    chacha20_xor(key, ByteArray<12>{}, 0, message, apart);
    Bytes in_place = message;
    chacha20_xor(key, ByteArray<12>{}, 0, in_place, in_place);
    EXPECT_EQ(apart, in_place) << size;
    aes256_ctr_xor(key, ByteArray<16>{}, message, apart);
    in_place = message;
    aes256_ctr_xor(key, ByteArray<16>{}, in_place, in_place);
    EXPECT_EQ(apart, in_place) << size;
  }
}

}  // namespace
}  // namespace sealane::crypto
