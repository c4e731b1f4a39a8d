// Goal: armor is decoded from exactly one text per value, however it is cut. Method: round trips by
// length; each deviation of the strict form; every cut; blanks at their limit.
#include "seal/armor.h"

#include <gtest/gtest.h>

#include "tests/seal/driver.h"

namespace sealane::seal {
namespace {

const std::string kBegin = "-----BEGIN AGE ENCRYPTED FILE-----\n";
const std::string kEnd = "-----END AGE ENCRYPTED FILE-----\n";

std::string encode(ByteSpan data, std::size_t step) {
  ArmorEncoder encoder;
  std::string out;
  for (; !data.empty(); data = data.subspan(std::min(step, data.size()))) {
    encoder.update(data.first(std::min(step, data.size())), out);
  }
  encoder.finish(out);
  return out;
}

struct Decoded {
  Bytes data;
  std::optional<SealError> error;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};
Decoded decode(std::string_view text, std::size_t step = 1 << 20) {
  ArmorDecoder decoder;
  Decoded result;
  for (; !text.empty(); text.remove_prefix(std::min(step, text.size()))) {
    const auto updated = decoder.update(as_bytes(text.substr(0, step)), result.data);
    if (!updated.has_value()) {
      EXPECT_FALSE(decoder.finish().has_value()) << "errors are final";
      result.error = updated.error();
      return result;
    }
  }
  const auto finished = decoder.finish();
  if (!finished.has_value()) result.error = finished.error();
  return result;
}

TEST(Armor, RoundTripsEveryLengthAtEveryCut) {
  for (std::size_t size = 1; size < 200; ++size) {
    const Bytes data = testing::pattern(size, size);
    const std::string text = encode(data, size);
    for (const std::size_t step : {1u, 2u, 47u, 48u, 49u, 63u, 64u, 65u}) {
      EXPECT_EQ(encode(data, step), text);
      const Decoded decoded = decode(text, step);
      EXPECT_FALSE(decoded.error);
      EXPECT_EQ(decoded.data, data);
    }
    std::string crlf;
    for (const char c : text) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
    EXPECT_EQ(decode(crlf, 7).data, data);
    EXPECT_FALSE(decode(crlf, 7).error);
  }
}

TEST(Armor, EveryTruncationIsRefused) {
  const std::string text = encode(testing::pattern(0, 100), 100);
  // The very last line end is the only byte that may be missing.
  EXPECT_FALSE(decode(text.substr(0, text.size() - 1)).error);
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_TRUE(decode(text.substr(0, size)).error) << size;
  }
}

TEST(Armor, RefusesEveryOtherForm) {
  const std::string full(64, 'A');
  EXPECT_FALSE(decode(kBegin + full + "\n" + kEnd).error);
  EXPECT_FALSE(decode(kBegin + full + "\nAA==\n" + kEnd).error);
  for (const std::string& text : std::vector<std::string>{
           std::string("-----BEGIN AGE ENCRYPTED FILE----- \nAAAA\n") + kEnd,
           std::string(" -----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n") + kEnd,
           std::string("-----BEGIN AGE ENCRYPTED FILE----\nAAAA\n") + kEnd,
           std::string("-----begin age encrypted file-----\nAAAA\n") + kEnd,
           std::string("-----BEGIN AGE FILE-----\nAAAA\n") + kEnd,
           "x\n" + kBegin + "AAAA\n" + kEnd,
           kBegin + "Comment: x\n\nAAAA\n" + kEnd,
           kBegin + kEnd,                    // nothing is no age file
           kBegin + "\n" + kEnd,             //
           kBegin + "AAAA\n\n" + kEnd,       //
           kBegin + "\nAAAA\n" + kEnd,       //
           kBegin + full + "\n\n" + kEnd,    //
           kBegin + "AAAA\nAAAA\n" + kEnd,   // a short line that is not the last
           kBegin + full + "AAAA\n" + kEnd,  // a long line
           kBegin + std::string(1000, 'A') + "\n" + kEnd,
           kBegin + "AAA\n" + kEnd,         // no padding
           kBegin + "AAB=\n" + kEnd,        // unused bits set
           kBegin + "AA=\n" + kEnd,         //
           kBegin + "AA\n==\n" + kEnd,      //
           kBegin + "AA-_\n" + kEnd,        // the other alphabet
           kBegin + " AAAA\n" + kEnd,       //
           kBegin + "AAAA \n" + kEnd,       //
           kBegin + "AAAA\r\r\n" + kEnd,    //
           kBegin + "AA==\n=AAA\n" + kEnd,  // a PGP checksum
           kBegin + "AAAA\n-----END AGE ENCRYPTED FILE-----x\n",
           kBegin + "AAAA\n-----END OTHER FILE-----\n",
           kBegin + "AAAA\n " + kEnd,
       }) {
    EXPECT_EQ(decode(text).error, SealError::kArmor) << text;
  }
  const std::string good = kBegin + "AAAA\n" + kEnd;
  EXPECT_EQ(decode(good + "x").error, SealError::kTrailingData);
  EXPECT_EQ(decode(good + good).error, SealError::kTrailingData);
  EXPECT_EQ(decode(good + std::string(1, '\0')).error, SealError::kTrailingData);
}

TEST(Armor, AllowsBoundedBlanksAround) {
  const std::string good = kBegin + "AAAA\n" + kEnd;
  EXPECT_FALSE(decode("\n \t\r\n" + good + "\r\n\t \n").error);
  const std::string most = std::string(kMaxArmorBlanks - 1, ' ') + "\n";
  EXPECT_FALSE(decode(most + good + most).error);
  EXPECT_EQ(decode("\n" + most + good).error, SealError::kArmor);
  EXPECT_EQ(decode(good + most + "\n").error, SealError::kTrailingData);
  EXPECT_EQ(decode(std::string(100000, ' '), 100).error, SealError::kArmor);
  EXPECT_TRUE(looks_armored(as_bytes(most + good)));
  EXPECT_FALSE(looks_armored(as_bytes("\n" + most + good)));
  EXPECT_FALSE(looks_armored(as_bytes("age-encryption.org/v1\n")));
  EXPECT_FALSE(looks_armored({}));
}

TEST(Armor, AnyCutOfAnyTextGivesTheSame) {
  const std::string good = encode(testing::pattern(0, 100), 100);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string text = good;
    text[at] = static_cast<char>(text[at] ^ 0x10);
    const Decoded whole = decode(text);
    for (const std::size_t step : {1u, 3u, 64u}) EXPECT_EQ(decode(text, step), whole) << at;
  }
}

}  // namespace
}  // namespace sealane::seal
