// Goal: forms of key files beyond the vectors: what says its size, what a person is warned of, what
// is refused. Method: one file each.
#include "entropy/key_file.h"

#include <gtest/gtest.h>

namespace sealane::entropy {
namespace {

std::string parsed(std::string_view text, bool allow_sample = false) {
  const auto result = parse_key_file(as_bytes(text), allow_sample);
  if (!result.has_value()) return "error " + std::to_string(static_cast<int>(result.error()));
  std::string out = to_hex(result.value().bytes.expose());
  for (const KeyWarning warning : result.value().warnings) {
    out += " " + std::to_string(static_cast<int>(warning));
  }
  return out;
}
std::string error(KeyFileError value) { return "error " + std::to_string(static_cast<int>(value)); }
std::string with(std::string hex, KeyWarning warning) {
  return hex + " " + std::to_string(static_cast<int>(warning));
}

const std::string kB = "42424242424242424242424242424242";

TEST(KeyFile, FormsThatSayWhatTheyAre) {
  EXPECT_EQ(parsed("hex:" + kB), kB);
  EXPECT_EQ(parsed("hex:" + kB + "\r\n"), kB);
  EXPECT_EQ(parsed("base64:QkJCQkJCQkJCQkJCQkJCQg=="), kB);
  EXPECT_EQ(parsed("base64:QkJCQkJCQkJCQkJCQkJCQg\n"), kB);
  EXPECT_EQ(parsed("hex:" + kB + "42"), error(KeyFileError::kWrongSize));
  EXPECT_EQ(parsed("hex:42"), error(KeyFileError::kWrongSize));
  EXPECT_EQ(parsed("hex:4242424242424242424242424242424g"), error(KeyFileError::kBadHex));
  EXPECT_EQ(parsed("base64:QkJCQkJCQkJCQkJCQkJCQkI="), error(KeyFileError::kWrongSize));
  EXPECT_EQ(parsed("base64:????????????????"), error(KeyFileError::kBadBase64));
}

TEST(KeyFile, TheSampleIsRefusedUnlessAskedFor) {
  for (const std::string_view text :
       {"0123456789012345", "01234567890123456\n", "hex:30313233343536373839303132333435"}) {
    EXPECT_EQ(parsed(text), error(KeyFileError::kSample)) << text;
    EXPECT_NE(parsed(text, true).find(to_hex(as_bytes(kSampleKey))), std::string::npos);
  }
}

TEST(KeyFile, APersonIsWarned) {
  const std::string letters = to_hex(as_bytes("sixteen letters!"));
  EXPECT_EQ(parsed("sixteen letters!"), letters);
  EXPECT_EQ(parsed("sixteen letters! and more"), with(letters, KeyWarning::kTruncated));
  EXPECT_EQ(parsed("00112233445566aa"),
            with(to_hex(as_bytes("00112233445566aa")), KeyWarning::kHexDigits));
  EXPECT_EQ(parsed("-----BEGIN EC PRIVATE KEY-----\nQkJCQkJCQkJCQkJCQkJCQg==\n-----END X-----\n"),
            with(kB, KeyWarning::kPrivateKey));
  const auto one = parse_key_file(as_bytes("sixteen letters!"));
  const auto other = parse_key_file(as_bytes("sixteen letters?"));
  EXPECT_TRUE(same_key_and_iv(one.value().bytes, one.value().bytes));
  EXPECT_FALSE(same_key_and_iv(one.value().bytes, other.value().bytes));
}

// White space of the foreign engine is Unicode's.
TEST(KeyFile, LinesOfAnArmoredBlockAreTrimmedAsThere) {
  for (const std::string blank :
       {" ", "\t", "\v", "\f", "\xc2\xa0", "\xe2\x80\x83", "\xe3\x80\x80"}) {
    const std::string begin = blank + "-----BEGIN X-----\n";
    EXPECT_EQ(
        parsed(begin + blank + "QkJCQkJCQkJCQkJCQkJCQg==" + blank + "\r\n" + blank + "-----END"),
        kB);
  }
  EXPECT_EQ(parsed("-----BEGIN X-----\nQkJCQkJC QkJCQkJCQkJCQg==\n-----END X-----\n"),
            error(KeyFileError::kBadBase64));
  EXPECT_EQ(parsed("\xe2\x80-----BEGIN"), error(KeyFileError::kNotText));
  // Only the first block counts, good or not.
  EXPECT_EQ(parsed("-----BEGIN X-----\nQkJC\n-----END X-----\n-----BEGIN X-----\n"
                   "QkJCQkJCQkJCQkJCQkJCQg==\n-----END X-----\n"),
            error(KeyFileError::kTooShort));
}

TEST(KeyFile, TooLongIsRefusedUnread) {
  EXPECT_EQ(parsed(std::string(kMaxKeyFileSize + 1, 'a')), error(KeyFileError::kTooLong));
  EXPECT_EQ(parsed(std::string(kMaxKeyFileSize, 'x')).substr(0, 4), "7878");
}

TEST(SecretFile, HasClearFormsOnly) {
  const auto text = [](std::string_view content) {
    const auto result = parse_secret_file(as_bytes(content));
    return result.has_value() ? to_hex(result.value().expose()) : error(result.error());
  };
  EXPECT_EQ(text("hex:" + kB + kB + "\n"), kB + kB);
  EXPECT_EQ(text("base64:QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="), kB + kB);
  EXPECT_EQ(text("hex:" + kB), error(KeyFileError::kWrongSize));
  EXPECT_EQ(text(kB + kB), error(KeyFileError::kBadHex));
  EXPECT_EQ(text(""), error(KeyFileError::kBadHex));
}

TEST(KeyFile, EveryErrorAndWarningHasItsSentence) {
  for (int i = 1; i <= static_cast<int>(KeyFileError::kSample); ++i) {
    EXPECT_FALSE(describe(static_cast<KeyFileError>(i)).empty());
  }
  for (int i = 1; i <= static_cast<int>(KeyWarning::kSameAsIv); ++i) {
    EXPECT_FALSE(describe(static_cast<KeyWarning>(i)).empty());
  }
}

}  // namespace
}  // namespace sealane::entropy
