// Goal: signatures of ssh-keygen are accepted as they are, and nothing else. Method: golden
// signatures, round trips, every character changed, every byte cut.
#include "sealane/identity/keys.h"

#include <gtest/gtest.h>

#include "tests/identity/tools.h"
#include "tests/support/doubles.h"

namespace sealane::identity {
namespace {

using testing::identity_data;

constexpr std::string_view kNamespace = "sealane-test@v1";

SignatureError error_of(std::string_view armoured, std::string_view name_space,
                        std::string_view message) {
  const auto verified = verify(armoured, name_space, as_bytes(message));
  return verified.has_value() ? SignatureError{} : verified.error();
}

TEST(SshSig, AcceptsSignaturesOfSshKeygen) {
  const auto signer = parse_private_key(identity_data("ed25519_plain"));
  const std::string message = identity_data("message");
  for (const std::string_view name : {"message.sha512.sig", "message.sha256.sig"}) {
    const auto key = verify(identity_data(name), kNamespace, as_bytes(message));
    ASSERT_TRUE(key.has_value()) << name << ": " << describe(key.error());
    EXPECT_EQ(key.value(), signer.value().public_key()) << name;
  }
}

TEST(SshSig, WritesTheSameTextAsSshKeygen) {
  const auto key = parse_private_key(identity_data("ed25519_plain"));
  EXPECT_EQ(sign(key.value(), kNamespace, as_bytes(identity_data("message"))),
            identity_data("message.sha512.sig"));
}

TEST(SshSig, SaysWhyItRefuses) {
  const std::string good = identity_data("message.sha512.sig");
  const std::string message = identity_data("message");
  EXPECT_EQ(error_of(good, "sealane-test@v2", message), SignatureError::kNamespace);
  EXPECT_EQ(error_of(good, "", message), SignatureError::kNamespace);
  EXPECT_EQ(error_of(good, kNamespace, message + "x"), SignatureError::kNotValid);
  EXPECT_EQ(error_of(good, kNamespace, ""), SignatureError::kNotValid);
  EXPECT_EQ(error_of(identity_data("message.rsa.sig"), kNamespace, message),
            SignatureError::kMalformed);
  EXPECT_EQ(error_of("", kNamespace, message), SignatureError::kMalformed);
  EXPECT_EQ(error_of("\n" + good, kNamespace, message), SignatureError::kMalformed);
  EXPECT_EQ(error_of(good + "\n", kNamespace, message), SignatureError::kMalformed);
  EXPECT_EQ(error_of(good + good, kNamespace, message), SignatureError::kMalformed);
}

TEST(SshSig, RefusesEveryCutAndEveryChange) {
  const std::string good = identity_data("message.sha512.sig");
  const std::string message = identity_data("message");
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(error_of(good.substr(0, size), kNamespace, message), SignatureError::kMalformed);
  }
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (const char c : {'A', 'q', '7', '/', '=', ' ', '\n', '-'}) {
      if (good[i] == c) continue;
      std::string changed = good;
      changed[i] = c;
      EXPECT_NE(error_of(changed, kNamespace, message), SignatureError{}) << i << c;
    }
  }
}

TEST(SshSig, LinesHaveOneWidth) {
  const std::string good = identity_data("message.sha512.sig");
  const std::string message = identity_data("message");
  const std::size_t start = good.find('\n') + 1;
  const std::size_t end = good.rfind("-----END");
  std::string digits;
  for (const char c : good.substr(start, end - start)) {
    if (c != '\n') digits += c;
  }
  const auto wrapped = [&](std::size_t columns) {
    std::string text = good.substr(0, start);
    for (std::size_t at = 0; at < digits.size(); at += columns) {
      text += digits.substr(at, columns) + "\n";
    }
    return text + good.substr(end);
  };
  for (const std::size_t columns : {64u, 70u, 76u}) {
    EXPECT_EQ(error_of(wrapped(columns), kNamespace, message), SignatureError{}) << columns;
  }
  for (const std::size_t columns : {4u, 63u, 77u, 1000u}) {
    EXPECT_EQ(error_of(wrapped(columns), kNamespace, message), SignatureError::kMalformed)
        << columns;
  }
}

TEST(SshSig, VerifiesItsOwnOfAnySize) {
  testing::SeededRandom random(3);
  const SigningKey key = SigningKey::generate(random, "");
  for (const std::size_t size : {0u, 1u, 1000u}) {
    Bytes message(size);
    random.fill(message);
    const auto signer = verify(sign(key, "n", message), "n", message);
    ASSERT_TRUE(signer.has_value());
    EXPECT_EQ(signer.value(), key.public_key());
  }
}

}  // namespace
}  // namespace sealane::identity
