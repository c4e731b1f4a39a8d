// Goal: a header is taken only in the one form in which it is written, and no input makes the
// parser hold more than its limits. Method: round trips; one deviation at a time; cuts at every
// byte; bombs.
#include "seal/age_header.h"

#include <gtest/gtest.h>

#include "seal/age.h"

namespace sealane::seal {
namespace {

const std::string kMac = "--- HK2NmOBN9Dpq0Gw6xMCuhFcQlQLvZ/wQUi/2scLG75s\n";
const std::string kVersion = "age-encryption.org/v1\n";
const std::string kBody = "qRS0AMjdjPvZ/WT08U2KL4G+PIooA3hy38SvLpvaC1E\n";
const std::string kStanza = "-> X25519 XEl0dJ6y3C7KZkgmgWUicg63EyXJiwBJW8PdYJ/cYBE\n" + kBody;
const std::string kGood = kVersion + kStanza + kMac;

std::optional<SealError> error_of(std::string_view text, bool at_end = true) {
  const auto parsed = parse_age_header(as_bytes(text), at_end);
  if (parsed.has_value()) return std::nullopt;
  return parsed.error();
}

TEST(AgeHeader, ReadsWhatItWrites) {
  for (const std::size_t body_size : {0u, 1u, 31u, 32u, 47u, 48u, 49u, 95u, 96u, 97u, 1000u}) {
    const std::vector<AgeStanza> stanzas = {
        {.arguments = {"X25519", "abc"}, .body = Bytes(body_size, std::byte{7})},
        {.arguments = {"!~", "\"#$", "->", "---"}, .body = {}},
    };
    std::string text = encode_age_header_start(stanzas);
    const std::size_t covered = text.size();
    ByteArray<32> mac{};
    mac[31] = std::byte{0xff};
    text += encode_age_header_end(mac);
    const auto parsed = parse_age_header(as_bytes(text + "payload"), false);
    ASSERT_TRUE(parsed.has_value());
    const auto& header = std::get<AgeHeader>(parsed.value());
    EXPECT_EQ(header.stanzas, stanzas);
    EXPECT_EQ(header.mac, mac);
    EXPECT_EQ(header.mac_input_size, covered);
    EXPECT_EQ(header.size, text.size());
  }
}

TEST(AgeHeader, EveryCutAsksForMoreOrIsTruncated) {
  const std::string text =
      kVersion + "-> unknown a\n" + std::string(64, 'A') + "\n\n" + kStanza + kMac;
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto parsed = parse_age_header(as_bytes(text).first(size), false);
    ASSERT_TRUE(parsed.has_value()) << size;
    ASSERT_TRUE(std::holds_alternative<BytesNeeded>(parsed.value())) << size;
    EXPECT_GT(static_cast<std::size_t>(std::get<BytesNeeded>(parsed.value())), size);
    EXPECT_EQ(error_of(text.substr(0, size)), SealError::kTruncated) << size;
  }
  EXPECT_FALSE(error_of(text));
}

TEST(AgeHeader, RefusesEveryOtherForm) {
  EXPECT_FALSE(error_of(kGood));
  for (const std::string& text : std::vector<std::string>{
           "age-encryption.org/v2\n" + kStanza + kMac, "Age-encryption.org/v1\n" + kStanza + kMac,
           "age-encryption.org/v1\r\n" + kStanza + kMac,
           "age-encryption.org/v1 \n" + kStanza + kMac, "\n" + kGood, std::string("PK\3\4"),
           std::string("\0\0\1\0", 4)}) {
    EXPECT_EQ(error_of(text), SealError::kNotThisFormat) << text;
  }
  const std::string full(64, 'A');
  for (const std::string& middle : std::vector<std::string>{
           std::string(),                  // no stanza
           "->\n" + kBody,                 // no argument
           "-> \n" + kBody,                // an empty one
           "->  a\n" + kBody,              // the same, before another
           "-> a  b\n" + kBody,            //
           "-> a \n" + kBody,              // trailing space
           "->a\n" + kBody,                // no space
           "> a\n" + kBody,                //
           "--> a\n" + kBody,              //
           " -> a\n" + kBody,              //
           "-> a\tb\n" + kBody,            // not printable
           "-> a\x7f\n" + kBody,           //
           "-> \xc3\xa4\n" + kBody,        // not ASCII
           "-> a\r\n" + kBody,             // CRLF
           std::string("-> a\n"),          // no body line at all
           "-> a\n" + full + "\n",         // the last line is full
           "-> a\n" + full + "A\n\n",      // 65 columns
           "-> a\n" + full + "AAA\n\n",    //
           std::string("-> a\nAAA=\n"),    // padding
           std::string("-> a\nAAB\n"),     // unused bits set
           std::string("-> a\nA\n"),       // no whole byte
           std::string("-> a\nAA A\n"),    //
           std::string("-> a\nAA\r\n"),    //
           std::string("-> a\nAA\nAA\n"),  // two short lines
           std::string("-> a\n-_-_\n"),    // the other alphabet
           kStanza + "\n",                 // an empty line between
       }) {
    EXPECT_EQ(error_of(kVersion + middle + kMac), SealError::kHeaderMalformed) << middle;
  }
  const std::string mac_text = kMac.substr(4, 43);
  for (const std::string& end : std::vector<std::string>{
           "---" + mac_text + "\n", "---  " + mac_text + "\n", "--- " + mac_text + " \n",
           "--- " + mac_text + "=\n", "--- " + mac_text + "\r\n",
           "--- " + mac_text.substr(1) + "\n", "--- A" + mac_text + "\n", "---\n" + mac_text,
           "--- \n" + mac_text, "---- " + mac_text, "--- " + mac_text.substr(0, 42) + "t\n"}) {
    EXPECT_TRUE(error_of(kVersion + kStanza + end)) << end;
  }
}

TEST(AgeHeader, EveryChangedByteIsRefusedOrReadsAsSomethingElse) {
  // No two texts may mean the same: what still parses must encode to exactly the changed text.
  for (std::size_t at = 0; at < kGood.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      std::string text = kGood;
      text[at] = static_cast<char>(value);
      const auto parsed = parse_age_header(as_bytes(text), true);
      if (!parsed.has_value()) continue;
      const auto& header = std::get<AgeHeader>(parsed.value());
      ASSERT_EQ(encode_age_header_start(header.stanzas) + encode_age_header_end(header.mac), text);
    }
  }
}

TEST(AgeHeader, BombsEndAtTheLimits) {
  const auto many = [](std::size_t count) {
    std::string text = kVersion;
    for (std::size_t i = 0; i < count; ++i) text += "-> a\n\n";
    return text + kMac;
  };
  EXPECT_FALSE(error_of(many(kMaxAgeStanzas)));
  EXPECT_EQ(error_of(many(kMaxAgeStanzas + 1)), SealError::kHeaderTooLarge);
  const std::string long_argument = kVersion + "-> " + std::string(kMaxAgeHeaderSize, 'a');
  EXPECT_EQ(error_of(long_argument), SealError::kHeaderTooLarge);
  EXPECT_EQ(error_of(long_argument, false), SealError::kHeaderTooLarge);
  std::string long_body = kVersion + "-> a\n";
  while (long_body.size() < kMaxAgeHeaderSize) long_body += std::string(64, 'A') + "\n";
  EXPECT_EQ(error_of(long_body, false), SealError::kHeaderTooLarge);
  EXPECT_EQ(error_of(kVersion + std::string(100, 'x'), false), SealError::kHeaderMalformed)
      << "no need to read on";
  EXPECT_EQ(error_of(kVersion + "-> a\n" + std::string(100, 'A'), false),
            SealError::kHeaderMalformed);
}

TEST(AgeHeader, AsksForSoMuchThatTheWorkStaysLinear) {
  std::string text = kVersion;
  while (text.size() < kMaxAgeHeaderSize - 200) text += kStanza;
  text += kMac;
  std::size_t offered = 0;
  std::size_t scanned = 0;
  for (;;) {
    const auto parsed = parse_age_header(as_bytes(text).first(offered), offered == text.size());
    ASSERT_TRUE(parsed.has_value());
    scanned += offered;
    const auto* needed = std::get_if<BytesNeeded>(&parsed.value());
    if (needed == nullptr) break;
    offered = std::min(static_cast<std::size_t>(*needed), text.size());
  }
  EXPECT_LT(scanned, 3 * kMaxAgeHeaderSize);
}

}  // namespace
}  // namespace sealane::seal
