// Goal: BLAKE3 is the published function in every mode, at every cut and offset, by every code
// path. Method: its official vectors with and without the wide code; each wide form against the
// plain one.
#include <gtest/gtest.h>

#include <cstdlib>

#include "crypto/blake3_core.h"
#include "crypto/hash.h"
#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

constexpr std::string_view kKey = "whats the Elvish word for friend";
constexpr std::string_view kContext = "BLAKE3 2019-12-27 16:29:52 test vectors context";

Bytes counting_input(std::size_t size) {
  Bytes input(size);
  for (std::size_t i = 0; i < size; ++i) input[i] = static_cast<std::byte>(i % 251);
  return input;
}
Blake3 keyed() { return Blake3(std::span<const std::byte, 32>(as_bytes(kKey))); }

void expect_output(const Blake3& hash, const std::string& hex) {
  Bytes out(hex.size() / 2);
  hash.finish(out);
  EXPECT_EQ(to_hex(out), hex);
  Bytes digest(32);
  hash.finish(digest);
  EXPECT_EQ(to_hex(digest), hex.substr(0, 64));
}

void check_vectors() {
  int count = 0;
  for (const auto& vector : testing::read_vector_file("crypto/blake3.txt")) {
    SCOPED_TRACE(vector.text("input_size"));
    const Bytes input = counting_input(vector.number("input_size"));
    EXPECT_EQ(to_hex(blake3(input)), vector.text("hash").substr(0, 64));
    Blake3 hash;
    hash.update(input);
    expect_output(hash, vector.text("hash"));
    ++count;
    if (!vector.has("keyed_hash")) continue;
    Blake3 keyed_hash = keyed();
    keyed_hash.update(input);
    expect_output(keyed_hash, vector.text("keyed_hash"));
    Blake3 derived = Blake3::derive_key(kContext);
    derived.update(input);
    expect_output(derived, vector.text("derive_key"));
  }
  EXPECT_EQ(count, 38);
}

TEST(Blake3, MatchesThePublishedVectors) { check_vectors(); }

TEST(Blake3, MatchesThePublishedVectorsOnAnyCpu) {
  const char* before = std::getenv("SEALANE_CPU");
  const std::string saved = before == nullptr ? "" : before;
  setenv("SEALANE_CPU", "generic", 1);
  EXPECT_TRUE(blake3_core::available_lane_code().empty());
  check_vectors();
  if (before == nullptr) {
    unsetenv("SEALANE_CPU");
  } else {
    setenv("SEALANE_CPU", saved.c_str(), 1);
  }
}

TEST(Blake3, GivesTheSameForEveryCut) {
  const Bytes input = counting_input(5 * 1024 + 3);
  const Blake3Digest whole = blake3(input);
  for (std::size_t cut = 0; cut <= input.size(); cut += cut < 2100 ? 1 : 61) {
    Blake3 hash;
    hash.update(ByteSpan(input).first(cut));
    hash.update(ByteSpan(input).subspan(cut));
    Blake3Digest digest;
    hash.finish(digest);
    ASSERT_EQ(to_hex(digest), to_hex(whole)) << cut;
  }
}

TEST(Blake3, GivesTheSameForPiecesOfAnySize) {
  const Bytes input = counting_input(300 * 1024 + 17);
  const Blake3Digest whole = blake3(input);
  for (const std::size_t piece :
       {1000u, 1024u, 1025u, 2048u, 3000u, 4096u, 7 * 1024u, 65536u, 131072u, 131073u}) {
    Blake3 hash;
    for (std::size_t at = 0; at < input.size(); at += piece) {
      hash.update(ByteSpan(input).subspan(at, std::min(piece, input.size() - at)));
    }
    Blake3Digest digest;
    hash.finish(digest);
    EXPECT_EQ(to_hex(digest), to_hex(whole)) << piece;
  }
}

// Parts of every size, alone, one after the other, and among bytes that were hashed in order.
TEST(Blake3, GivesTheSameForPartsHashedApart) {
  const Bytes input = counting_input(1024 * 1024 + 5);
  for (std::size_t size = Blake3Part::kMinSize; size <= 1024 * 1024; size *= 2) {
    for (const std::size_t whole_size : {size, 2 * size, 3 * size, 3 * size + 1024, 2 * size + 1}) {
      if (whole_size > input.size()) continue;
      const ByteSpan whole = ByteSpan(input).first(whole_size);
      for (const std::size_t bytes_first : {std::size_t{0}, size}) {
        Blake3 hash;
        std::size_t at = std::min(bytes_first, whole_size);
        hash.update(whole.first(at));
        for (; at + size <= whole_size; at += size) {
          hash.update(Blake3Part(at, whole.subspan(at, size)));
        }
        hash.update(whole.subspan(at));
        Blake3Digest digest;
        hash.finish(digest);
        ASSERT_EQ(to_hex(digest), to_hex(blake3(whole))) << size << " of " << whole_size;
      }
    }
  }
}

TEST(Blake3, MayGoOnAfterFinish) {
  const Bytes input = counting_input(9000);
  Blake3 hash;
  for (std::size_t size = 0; size <= input.size(); size += 500) {
    Blake3Digest digest;
    hash.finish(digest);
    ASSERT_EQ(to_hex(digest), to_hex(blake3(ByteSpan(input).first(size)))) << size;
    if (size < input.size()) hash.update(ByteSpan(input).subspan(size, 500));
  }
}

TEST(Blake3, SeeksInItsOutput) {
  Blake3 hash = keyed();
  hash.update(as_bytes("input"));
  Bytes whole(1000);
  hash.finish(whole);
  for (std::size_t offset = 0; offset < 200; ++offset) {
    Bytes part(130);
    hash.finish(part, offset);
    EXPECT_TRUE(std::ranges::equal(part, ByteSpan(whole).subspan(offset, part.size()))) << offset;
  }
  // Past 2^32 blocks the counter's high word matters: the same by one long and two short reads.
  constexpr std::uint64_t kFar = (std::uint64_t{1} << 38) - 64;
  Bytes far(128);
  hash.finish(far, kFar);
  Bytes second(64);
  hash.finish(second, kFar + 64);
  EXPECT_TRUE(std::ranges::equal(second, ByteSpan(far).last(64)));
  EXPECT_FALSE(std::ranges::equal(second, ByteSpan(whole).first(64)));
}

TEST(Blake3, WideCodeIsThePlainOne) {
  const auto code = blake3_core::available_lane_code();
  if (code.empty()) GTEST_SKIP() << "no wide code: the CPU lacks SSE4.1, or SEALANE_CPU=generic";
  const Bytes input = counting_input(16 * 1024);
  const std::array<std::uint32_t, 8> key = {1, 2, 3, 0xffffffff, 5, 6, 7, 0x80000000};
  std::array<const std::byte*, 16> messages;
  for (const auto& wide : code) {
    for (const std::size_t block_count : {1u, 2u, 16u}) {
      for (const bool counting : {false, true}) {
        // The last counter carries into the high word within the lanes.
        for (const std::uint64_t counter : {std::uint64_t{0}, std::uint64_t{0xfffffffe}}) {
          for (std::size_t i = 0; i < messages.size(); ++i) {
            messages[i] = input.data() + i * block_count * 64;
          }
          blake3_core::LaneInput job{messages.data(), block_count, key.data(), counter,
                                     counting,        16,          1,          2};
          Bytes out(wide.lanes * 32);
          wide.run(job, out.data());
          for (std::size_t lane = 0; lane < wide.lanes; ++lane) {
            job.messages = &messages[lane];
            job.counter = counter + (counting ? lane : 0);
            Bytes expected(32);
            blake3_core::run_one_lane(job, expected.data());
            EXPECT_EQ(to_hex(ByteSpan(out).subspan(lane * 32, 32)), to_hex(expected))
                << wide.lanes << ' ' << block_count << ' ' << lane;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sealane::crypto
