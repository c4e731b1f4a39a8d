// Goal: exactly the Bech32 of BIP-173. Method: the vectors of BIP-173, keys of age-keygen, every
// length, and every single changed character.
#include "identity/bech32.h"

#include <gtest/gtest.h>

#include <random>

namespace sealane::identity {
namespace {

TEST(Bech32, AcceptsTheValidVectorsOfBip173) {
  const std::vector<std::pair<std::string, std::size_t>> vectors = {
      {"A12UEL5L", 0},
      {"a12uel5l", 0},
      {"an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
       0},
      {"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw", 32},
      {"11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
       82},
      {"split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w", 48},
      {"?1ezyfcl", 0},
  };
  for (const auto& [text, count] : vectors) {
    const auto decoded = decode_bech32_groups(text);
    ASSERT_TRUE(decoded.has_value()) << text;
    EXPECT_EQ(decoded.value().groups.size(), count) << text;
  }
  const auto counted = decode_bech32_groups("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw");
  EXPECT_EQ(counted.value().prefix, "abcdef");
  for (std::size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(std::to_integer<std::size_t>(counted.value().groups.expose()[i]), i);
  }
}

TEST(Bech32, RefusesTheInvalidVectorsOfBip173) {
  const std::vector<std::pair<std::string, Bech32Error>> vectors = {
      {"\x20"
       "1nwldj5",
       Bech32Error::kCharacter},
      {"\x7f"
       "1axkwrx",
       Bech32Error::kCharacter},
      {"\x80"
       "1eym55h",
       Bech32Error::kCharacter},
      {"an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pv"
       "x",
       Bech32Error::kStructure},
      {"pzry9x0s0muk", Bech32Error::kStructure},
      {"1pzry9x0s0muk", Bech32Error::kStructure},
      {"x1b4n0q5v", Bech32Error::kCharacter},
      {"li1dgmt3", Bech32Error::kStructure},
      {"de1lg7wt\xff", Bech32Error::kCharacter},
      {"A1G7SGD8", Bech32Error::kChecksum},
      {"10a06t8", Bech32Error::kStructure},
      {"1qzzfhee", Bech32Error::kStructure},
      {"a12UEL5L", Bech32Error::kCharacter},
      {"", Bech32Error::kStructure},
  };
  for (const auto& [text, error] : vectors) {
    const auto decoded = decode_bech32_groups(text);
    ASSERT_FALSE(decoded.has_value()) << text;
    EXPECT_EQ(decoded.error(), error) << text;
  }
}

TEST(Bech32, ReadsWhatItWritesInBothCases) {
  std::mt19937 random(7);
  for (std::size_t size = 0; size <= 48; ++size) {
    Bytes data(size);
    for (std::byte& b : data) b = static_cast<std::byte>(random());
    for (const auto letters : {Bech32Case::kLower, Bech32Case::kUpper}) {
      const SecretBytes text = encode_bech32("age", data, letters);
      const auto decoded = decode_bech32(text.expose_text());
      ASSERT_TRUE(decoded.has_value()) << text.expose_text();
      EXPECT_EQ(decoded.value().prefix, "age");
      EXPECT_EQ(to_bytes(decoded.value().data.expose()), data);
    }
  }
}

TEST(Bech32, DetectsEveryChangedCharacter) {
  const std::string good = "age1j20jamh6etd3xj2r7ayf8m7rsu0ek8skr83rw33uc8tu6v6wd5jqsr9hg3";
  ASSERT_TRUE(decode_bech32(good).has_value());
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (char c = '!'; c <= '~'; ++c) {
      if (c == good[i]) continue;
      std::string changed = good;
      changed[i] = c;
      EXPECT_FALSE(decode_bech32(changed).has_value()) << changed;
    }
    EXPECT_FALSE(decode_bech32(good.substr(0, i)).has_value()) << i;
  }
}

TEST(Bech32, RefusesGroupsThatAreNoWholeBytes) {
  // Groups 0; 0 1; 0 0 0: whole groups left over, a bit set in the unused ones, again groups.
  for (const std::string_view text : {"a1q3g6mn3", "a1qpamnt9j", "a1qqqd87cpp"}) {
    ASSERT_TRUE(decode_bech32_groups(text).has_value()) << text;
    const auto decoded = decode_bech32(text);
    ASSERT_FALSE(decoded.has_value()) << text;
    EXPECT_EQ(decoded.error(), Bech32Error::kPadding) << text;
  }
  // Groups 0 4: the byte 1, and two unused bits that are zero.
  const auto one = decode_bech32("a1qy089ch6");
  ASSERT_TRUE(one.has_value());
  EXPECT_EQ(to_hex(one.value().data.expose()), "01");
}

}  // namespace
}  // namespace sealane::identity
