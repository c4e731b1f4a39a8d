// Goal: the codecs take exactly one encoding per value. Method: tables and round trips.
#include <gtest/gtest.h>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane {
namespace {

TEST(Hex, RoundTripsAndRefusesOthers) {
  EXPECT_EQ(to_hex(as_bytes(std::string_view("\x00\xff\x10", 3))), "00ff10");
  EXPECT_EQ(to_text(*from_hex("6869")), "hi");
  EXPECT_EQ(from_hex("00FF10"), from_hex("00ff10"));
  for (const char* bad : {"0", "0g", " 00", "00 ", "0x00"}) EXPECT_FALSE(from_hex(bad)) << bad;
}

TEST(Base64, TakesTheCanonicalFormOnly) {
  // RFC 4648, section 10.
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
      {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [text, encoded] : vectors) {
    EXPECT_EQ(to_base64(as_bytes(text)), encoded);
    ASSERT_TRUE(from_base64(encoded)) << encoded;
    EXPECT_EQ(to_text(*from_base64(encoded)), text);
  }
  for (const char* bad :
       {"Zg", "Zg=", "Zg===", "Zh==", "Zm9", "Zm9v\n", "Z g=", "====", "Zm9v====", "-_8="}) {
    EXPECT_FALSE(from_base64(bad)) << bad;
  }
  EXPECT_TRUE(from_base64("-_8", Base64Alphabet::kUrl, Base64Padding::kUnpadded));
  EXPECT_FALSE(from_base64("-_8=", Base64Alphabet::kUrl, Base64Padding::kUnpadded));
}

TEST(Printable, LeavesNothingThatSteersATerminal) {
  EXPECT_EQ(printable("plain äöü"), "plain äöü");
  EXPECT_EQ(printable("a\x1b[31m\n\x7f"), "a\\x1b[31m\\x0a\\x7f");
  EXPECT_EQ(printable("\xff\xc0\xaf"), "\\xff\\xc0\\xaf");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("abcdef", 3), "abc…");
}

TEST(Rfc3339, AcceptsExactlyWhatItWrites) {
  const auto time = from_rfc3339("2026-02-28T23:59:58Z");
  ASSERT_TRUE(time);
  EXPECT_EQ(to_rfc3339(*time), "2026-02-28T23:59:58Z");
  for (const char* bad : {"2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z",
                          "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "1969-01-01T00:00:00Z",
                          "9999-01-01T00:00:00Z", "2026-01-01T00:00:60Z"}) {
    EXPECT_FALSE(from_rfc3339(bad)) << bad;
  }
}

}  // namespace
}  // namespace sealane
