// Goal: the key derivations are the published ones and refuse what would cost too much. Method: RFC
// vectors; keys made by ssh-keygen; the limits from both sides.
#include "crypto/kdf.h"

#include <gtest/gtest.h>

#include "base/byte_reader.h"
#include "crypto/blowfish_tables.h"
#include "crypto/cipher.h"
#include "sealane/crypto/curve.h"
#include "tests/crypto/vector_file.h"

namespace sealane::crypto {
namespace {

using testing::read_vector_file;

TEST(Hkdf, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/hkdf.txt");
  EXPECT_EQ(vectors.size(), 3u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    const Bytes expected = vector.bytes("output");
    Bytes out(expected.size());
    hkdf_sha256(vector.bytes("key"), vector.bytes("salt"), vector.bytes("info"), out);
    EXPECT_EQ(to_hex(out), to_hex(expected));
  }
}

TEST(Hkdf, GivesPrefixesOfOneStreamUpToItsLimit) {
  const Bytes key = to_bytes(std::string_view("key material"));
  const Bytes info = to_bytes(std::string_view("info"));
  Bytes whole(255 * 64);
  hkdf_sha512(key, {}, info, whole);
  for (std::size_t size = 0; size <= 130; ++size) {
    Bytes part(size);
    hkdf_sha512(key, {}, info, part);
    EXPECT_TRUE(std::ranges::equal(part, ByteSpan(whole).first(size))) << size;
  }
}

TEST(Scrypt, MatchesThePublishedVectors) {
  const auto vectors = read_vector_file("crypto/scrypt.txt");
  EXPECT_EQ(vectors.size(), 3u);
  for (const auto& vector : vectors) {
    SCOPED_TRACE(vector.text("comment"));
    Bytes out(vector.bytes("output").size());
    const auto done = scrypt(vector.bytes("passphrase"), vector.bytes("salt"),
                             static_cast<unsigned>(vector.number("log2_n")),
                             static_cast<std::uint32_t>(vector.number("r")),
                             static_cast<std::uint32_t>(vector.number("p")), out);
    ASSERT_TRUE(done.has_value());
    EXPECT_EQ(to_hex(out), vector.text("output"));
  }
}

TEST(Scrypt, RefusesWhatCostsTooMuchMemory) {
  struct Case {
    unsigned log2_n;
    std::uint32_t r, p;
  };
  Bytes out(32);
  for (const Case& c : {Case{22, 8, 1},              // 4 GiB
                        Case{63, 8, 1},              // more than an address space
                        Case{16, 1, 1},              // N must be below 2^(16 r)
                        Case{4, 1, 0xffffffffu},     // p * r above 2^30 - 1
                        Case{4, 8, (1u << 30) / 9},  // p blocks of 1 KiB
                        Case{1, 0xffffffffu, 1}}) {
    const auto done = scrypt(as_bytes("p"), as_bytes("s"), c.log2_n, c.r, c.p, out);
    ASSERT_FALSE(done.has_value()) << c.log2_n << ' ' << c.r << ' ' << c.p;
    EXPECT_EQ(done.error(), KdfError::kLimits);
  }
}

TEST(BcryptPbkdf, MatchesThePublishedVectors) {
  int count = 0;
  for (const auto& vector : read_vector_file("crypto/bcrypt_pbkdf.txt")) {
    if (!vector.has("output")) continue;
    ++count;
    Bytes out(vector.bytes("output").size());
    ASSERT_TRUE(bcrypt_pbkdf(vector.bytes("passphrase"), vector.bytes("salt"),
                             static_cast<std::uint32_t>(vector.number("rounds")), out)
                    .has_value());
    EXPECT_EQ(to_hex(out), vector.text("output"));
  }
  EXPECT_EQ(count, 8);
}

TEST(BcryptPbkdf, OpensKeysOfSshKeygen) {
  int count = 0;
  for (const auto& vector : read_vector_file("crypto/bcrypt_pbkdf.txt")) {
    if (!vector.has("encrypted")) continue;
    ++count;
    ByteArray<48> derived;
    ASSERT_TRUE(bcrypt_pbkdf(vector.bytes("passphrase"), vector.bytes("salt"),
                             static_cast<std::uint32_t>(vector.number("rounds")), derived)
                    .has_value());
    Bytes plain = vector.bytes("encrypted");
    const std::span<const std::byte, 48> key_and_iv(derived);
    aes256_ctr_xor(key_and_iv.first<32>(), key_and_iv.last<16>(), plain, plain);
    ByteReader reader(plain);
    EXPECT_EQ(reader.u32(), reader.u32());
    ASSERT_EQ(as_text(reader.u32_prefixed(100).value_or(ByteSpan{})), "ssh-ed25519");
    ASSERT_EQ(to_hex(reader.u32_prefixed(32).value_or(ByteSpan{})), vector.text("public"));
    const ByteSpan pair = reader.u32_prefixed(64).value_or(ByteSpan{});
    ASSERT_EQ(pair.size(), 64u);
    const Ed25519Seed seed(pair.first<32>());
    EXPECT_EQ(to_hex(ed25519_public(seed).bytes), vector.text("public"));
  }
  EXPECT_EQ(count, 2);
}

TEST(BcryptPbkdf, KeepsItsLimits) {
  const ByteSpan some = as_bytes("x");
  const Bytes long_salt((1 << 20) + 1);
  Bytes out(1025);
  const auto refused = [](const Result<void, KdfError>& done) {
    return !done.has_value() && done.error() == KdfError::kLimits;
  };
  EXPECT_TRUE(refused(bcrypt_pbkdf({}, some, 1, MutableByteSpan(out).first(1))));
  EXPECT_TRUE(refused(bcrypt_pbkdf(some, {}, 1, MutableByteSpan(out).first(1))));
  EXPECT_TRUE(refused(bcrypt_pbkdf(some, some, 0, MutableByteSpan(out).first(1))));
  EXPECT_TRUE(refused(bcrypt_pbkdf(some, some, 1, {})));
  EXPECT_TRUE(refused(bcrypt_pbkdf(some, some, 1, out)));
  EXPECT_TRUE(refused(bcrypt_pbkdf(some, long_salt, 1, MutableByteSpan(out).first(1))));
  EXPECT_TRUE(
      bcrypt_pbkdf(some, ByteSpan(long_salt).first(1 << 20), 1, MutableByteSpan(out).first(1024))
          .has_value());
}

// A fixed-point number: word 0 before the point, the rest its fraction.
using Fixed = std::vector<std::uint32_t>;

// Divides in place, gives false once the quotient is zero.
bool divide(Fixed& number, std::uint32_t divisor) {
  std::uint64_t rest = 0;
  bool any = false;
  for (std::uint32_t& word : number) {
    rest = (rest << 32) | word;
    word = static_cast<std::uint32_t>(rest / divisor);
    rest %= divisor;
    any = any || word != 0;
  }
  return any;
}
void add(Fixed& sum, const Fixed& number, bool subtract) {
  std::uint64_t carry = subtract ? 1 : 0;
  for (std::size_t i = sum.size(); i-- > 0;) {
    carry += std::uint64_t{sum[i]} + (subtract ? ~number[i] : number[i]);
    sum[i] = static_cast<std::uint32_t>(carry);
    carry >>= 32;
  }
}
// sum += or -= factor * arctan(1 / x), by its series.
void add_arctan(Fixed& sum, std::uint32_t factor, std::uint32_t x, bool subtract) {
  Fixed power(sum.size());
  power[0] = factor;
  divide(power, x);
  for (std::uint32_t k = 1;; k += 2) {
    Fixed term = power;
    divide(term, k);
    add(sum, term, subtract != (k % 4 == 3));
    if (!divide(power, x * x)) return;
  }
}

TEST(BcryptPbkdf, HasBlowfishTablesThatArePi) {
  // Machin: pi = 16 arctan(1/5) - 4 arctan(1/239); two words more than needed, for rounding.
  Fixed pi(1 + kPiFraction.size() + 2);
  add_arctan(pi, 16, 5, false);
  add_arctan(pi, 4, 239, true);
  EXPECT_EQ(pi[0], 3u);
  EXPECT_TRUE(std::equal(kPiFraction.begin(), kPiFraction.end(), pi.begin() + 1));
}

}  // namespace
}  // namespace sealane::crypto
