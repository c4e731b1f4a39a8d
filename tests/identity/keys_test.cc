// Goal: OpenSSH keys are read as ssh-keygen wrote them, and nothing that is damaged or of another
// kind passes. Method: golden files of ssh-keygen, round trips, every byte cut, targeted damage.
#include "sealane/identity/keys.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/byte_reader.h"
#include "base/limits.h"
#include "tests/identity/tools.h"
#include "tests/support/doubles.h"

namespace sealane::identity {
namespace {

using testing::identity_data;
using testing::SeededRandom;

const SecretBytes& passphrase() {
  static const SecretBytes value(std::string_view("correct horse"));
  return value;
}

std::string without_line_end(std::string text) {
  while (text.ends_with('\n') || text.ends_with(' ')) text.pop_back();
  return text;
}

// The binary inside a plain key file, and a file around a binary.
Bytes unwrap(const std::string& text) {
  std::string digits;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("-----")) digits += line;
  }
  return from_base64(digits).value();
}
std::string wrap(ByteSpan binary) {
  return "-----BEGIN OPENSSH PRIVATE KEY-----\n" + to_base64(binary) +
         "\n-----END OPENSSH PRIVATE KEY-----\n";
}

KeyError error_of(std::string_view text, const SecretBytes* with = nullptr) {
  const auto key = parse_private_key(text, with);
  return key.has_value() ? KeyError{} : key.error();
}

TEST(PublicKey, ReadsAndWritesLinesOfSshKeygen) {
  const std::string text = without_line_end(identity_data("ed25519_plain.pub"));
  const auto line = parse_public_key_line(text);
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line.value().comment, "sealane test key (worthless)");
  EXPECT_EQ(format_public_key_line(line.value()), text);

  const std::string bare = without_line_end(identity_data("ed25519_no_comment.pub"));
  const auto without = parse_public_key_line(bare);
  ASSERT_TRUE(without.has_value());
  EXPECT_EQ(without.value().comment, "");
}

TEST(PublicKey, RefusesWhatIsNoEd25519Line) {
  const auto error = [](std::string_view text) { return parse_public_key_line(text).error(); };
  EXPECT_EQ(error(""), KeyError::kNotAKey);
  EXPECT_EQ(error("hello world"), KeyError::kNotAKey);
  EXPECT_EQ(error("ssh-rsa AAAA"), KeyError::kUnsupportedType);
  EXPECT_EQ(error("ecdsa-sha2-nistp256 AAAA"), KeyError::kUnsupportedType);
  EXPECT_EQ(error("sk-ssh-ed25519@openssh.com AAAA"), KeyError::kUnsupportedType);
  EXPECT_EQ(error("ssh-ed25519"), KeyError::kMalformed);
  EXPECT_EQ(error("ssh-ed25519 !"), KeyError::kMalformed);
  const std::string good = without_line_end(identity_data("ed25519_no_comment.pub"));
  EXPECT_EQ(error(good + " a\x01"), KeyError::kMalformed);
  EXPECT_EQ(error(good + " " + std::string(kMaxCommentSize + 1, 'a')), KeyError::kMalformed);
  EXPECT_EQ(error(good + " " + std::string(5000, 'a')), KeyError::kLimits);
  for (std::size_t size = std::string_view("ssh-ed25519").size(); size < good.size(); ++size) {
    EXPECT_EQ(error(good.substr(0, size)), KeyError::kMalformed) << size;
  }
}

TEST(PublicKey, BlobsAreExact) {
  crypto::Ed25519Public key;
  key.bytes.fill(std::byte{7});
  const Bytes blob = encode_public_key_blob(key);
  EXPECT_EQ(decode_public_key_blob(blob).value(), key);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    EXPECT_FALSE(decode_public_key_blob(ByteSpan(blob).first(size)).has_value()) << size;
  }
  Bytes longer = blob;
  longer.push_back(std::byte{0});
  EXPECT_EQ(decode_public_key_blob(longer).error(), KeyError::kMalformed);
}

TEST(PrivateKey, ReadsGoldenFilesAndTheirFingerprints) {
  std::istringstream list(identity_data("fingerprints.txt"));
  std::string name;
  std::string expected;
  int count = 0;
  while (list >> name >> expected) {
    const std::string text = identity_data(name);
    const bool encrypted = name.find("rounds") != std::string::npos;
    EXPECT_EQ(private_key_is_encrypted(text), encrypted) << name;
    EXPECT_EQ(private_key_cipher(text), encrypted ? "aes256-ctr" : "none") << name;
    const auto key = parse_private_key(text, &passphrase());
    ASSERT_TRUE(key.has_value()) << name << ": " << describe(key.error());
    EXPECT_EQ(fingerprint(key.value().public_key()), expected) << name;
    EXPECT_EQ(private_key_public_part(text).value(), key.value().public_key()) << name;
    ++count;
  }
  EXPECT_EQ(count, 5);
  EXPECT_EQ(parse_private_key(identity_data("ed25519_rounds_50"), &passphrase()).value().comment(),
            "käse");
}

TEST(PrivateKey, SaysWhyItRefuses) {
  const std::string encrypted = identity_data("ed25519_rounds_1");
  EXPECT_EQ(error_of(encrypted), KeyError::kPassphraseRequired);
  const SecretBytes wrong(std::string_view("wrong"));
  EXPECT_EQ(error_of(encrypted, &wrong), KeyError::kWrongPassphrase);
  const SecretBytes empty;
  EXPECT_EQ(error_of(encrypted, &empty), KeyError::kWrongPassphrase);
  const SecretBytes huge(limits::kPassphraseSize + 1);
  EXPECT_EQ(error_of(encrypted, &huge), KeyError::kLimits);
  EXPECT_EQ(parse_private_key(identity_data("ed25519_rounds_50"), &passphrase(), 49).error(),
            KeyError::kLimits);

  EXPECT_EQ(error_of(identity_data("ed25519_gcm"), &passphrase()), KeyError::kUnsupportedCipher);
  EXPECT_EQ(private_key_cipher(identity_data("ed25519_gcm")), "aes256-gcm@openssh.com");
  EXPECT_EQ(error_of(identity_data("ed25519_chacha"), &passphrase()), KeyError::kUnsupportedCipher);
  EXPECT_EQ(private_key_cipher(identity_data("ed25519_chacha")), "chacha20-poly1305@openssh.com");
  EXPECT_EQ(error_of(identity_data("rsa")), KeyError::kUnsupportedType);
  EXPECT_EQ(error_of(identity_data("ecdsa")), KeyError::kUnsupportedType);
  EXPECT_EQ(error_of(identity_data("pkcs8.pem")), KeyError::kUnsupportedType);
  EXPECT_EQ(error_of(identity_data("ed25519_plain.pub")), KeyError::kNotAKey);
  EXPECT_EQ(error_of(""), KeyError::kNotAKey);
  EXPECT_EQ(error_of(std::string(limits::kKeyFileSize + 1, ' ')), KeyError::kLimits);
  EXPECT_EQ(private_key_cipher("hello"), "");
  EXPECT_EQ(private_key_public_part("hello").error(), KeyError::kNotAKey);
  EXPECT_EQ(private_key_public_part(identity_data("rsa")).error(), KeyError::kUnsupportedType);
}

TEST(PrivateKey, ReadsWhatItWrites) {
  SeededRandom random(1);
  for (const std::string comment : {"", "a", "user@host with blanks", "käse"}) {
    const SigningKey key = SigningKey::generate(random, comment);
    for (const bool encrypted : {false, true}) {
      const SecretBytes* with = encrypted ? &passphrase() : nullptr;
      const SecretBytes text = format_private_key(key, random, with, 2);
      const auto again = parse_private_key(text.expose_text(), with);
      ASSERT_TRUE(again.has_value()) << describe(again.error());
      EXPECT_EQ(again.value().public_key(), key.public_key());
      EXPECT_EQ(again.value().comment(), comment);
    }
  }
}

TEST(PrivateKey, WritesTheSameTextAsSshKeygen) {
  // Check ints are random there, zero-seeded here; take them from the golden file.
  class CheckInts final : public RandomSource {
   public:
    explicit CheckInts(ByteSpan value) : value_(value) {}
    void fill(MutableByteSpan out) override {
      std::ranges::copy(value_.first(out.size()), out.begin());
    }

   private:
    ByteSpan value_;
  };
  const std::string golden = identity_data("ed25519_plain");
  const Bytes binary = unwrap(golden);
  const std::size_t check_at = 15 + 8 + 8 + 4 + 4 + (4 + 51) + 4;
  CheckInts random(ByteSpan(binary).subspan(check_at));
  const auto key = parse_private_key(golden);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(format_private_key(key.value(), random).expose_text(), golden);
}

TEST(PrivateKey, ToleratesOtherLineWidthsAndEnds) {
  const std::string golden = identity_data("ed25519_plain");
  std::string crlf = "\r\n\n";
  for (const char c : golden) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_TRUE(parse_private_key(crlf).has_value());
  EXPECT_TRUE(parse_private_key(wrap(unwrap(golden))).has_value());
  EXPECT_TRUE(parse_private_key(without_line_end(golden)).has_value());
  EXPECT_EQ(error_of(golden + "more"), KeyError::kMalformed);
  EXPECT_EQ(error_of("more\n" + golden), KeyError::kNotAKey);
}

TEST(PrivateKey, RefusesEveryCut) {
  const std::string golden = without_line_end(identity_data("ed25519_plain"));
  for (std::size_t size = 0; size < golden.size(); ++size) {
    EXPECT_FALSE(parse_private_key(golden.substr(0, size)).has_value()) << size;
  }
  const Bytes binary = unwrap(golden);
  for (std::size_t size = 0; size < binary.size(); ++size) {
    EXPECT_EQ(error_of(wrap(ByteSpan(binary).first(size))), KeyError::kMalformed) << size;
  }
}

TEST(PrivateKey, RefusesEveryFlippedByteButOfTheComment) {
  const Bytes binary = unwrap(identity_data("ed25519_plain"));
  const std::string_view text = as_text(binary);
  const std::size_t comment_at = text.find("sealane test key");
  const std::size_t comment_end =
      comment_at + std::string_view("sealane test key (worthless)").size();
  for (std::size_t i = 0; i < binary.size(); ++i) {
    Bytes flipped = binary;
    flipped[i] ^= std::byte{1};
    const bool in_comment = i >= comment_at && i < comment_end;
    EXPECT_EQ(parse_private_key(wrap(flipped)).has_value(), in_comment) << i;
  }
}

TEST(PrivateKey, RefusesAPublicHalfOfAnotherKey) {
  // All three copies of the public key changed alike still do not belong to the seed.
  const Bytes binary = unwrap(identity_data("ed25519_no_comment"));
  const auto other = parse_public_key_line(without_line_end(identity_data("ed25519_plain.pub")));
  const auto own = parse_public_key_line(without_line_end(identity_data("ed25519_no_comment.pub")));
  std::string text = to_text(binary);
  const std::string from(as_text(own.value().key.bytes));
  int replaced = 0;
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; ++replaced) {
    text.replace(at, from.size(), as_text(other.value().key.bytes));
  }
  EXPECT_EQ(replaced, 3);
  EXPECT_EQ(error_of(wrap(as_bytes(text))), KeyError::kMalformed);
}

TEST(PrivateKey, RefusesRoundsBeyondTheLimitBeforeItComputes) {
  Bytes binary = unwrap(identity_data("ed25519_rounds_1"));
  const std::size_t rounds_at = 15 + 4 + 10 + 4 + 6 + 4 + 4 + 16;
  EXPECT_EQ(load<std::uint32_t>(ByteSpan(binary).subspan(rounds_at)), 1u);
  store_integer(MutableByteSpan(binary).subspan(rounds_at), kMaxBcryptRounds + 1);
  EXPECT_EQ(error_of(wrap(binary), &passphrase()), KeyError::kLimits);
  store_integer(MutableByteSpan(binary).subspan(rounds_at), std::uint32_t{0});
  EXPECT_EQ(error_of(wrap(binary), &passphrase()), KeyError::kMalformed);
}

TEST(AgeKey, ReadsAndWritesWhatAgeKeygenMade) {
  std::string line;
  std::istringstream lines(identity_data("age_identity.txt"));
  while (std::getline(lines, line) && line.starts_with('#')) {
  }
  const auto key = AgeIdentity::parse(line);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key.value().format().expose_text(), line);
  const std::string recipient = without_line_end(identity_data("age_recipient.txt"));
  EXPECT_EQ(AgeRecipient{key.value().public_key()}.format(), recipient);
  EXPECT_EQ(AgeRecipient::parse(recipient).value().key, key.value().public_key());
}

TEST(AgeKey, SaysWhyItRefuses) {
  const std::string recipient = without_line_end(identity_data("age_recipient.txt"));
  const auto error = [](std::string_view text) {
    const auto parsed = AgeRecipient::parse(text);
    return parsed.has_value() ? KeyError{} : parsed.error();
  };
  EXPECT_EQ(error("hello"), KeyError::kNotAKey);
  EXPECT_EQ(error(recipient.substr(0, 40)), KeyError::kMalformed);
  EXPECT_EQ(error(recipient + " "), KeyError::kMalformed);
  EXPECT_EQ(error("age1a"), KeyError::kMalformed);
  // A plugin's recipient of valid Bech32, and one longer than Bech32 allows.
  EXPECT_EQ(error("age1yubikey1qpzry9x8gf2tvdw0s3jn54khce6mua7lqpzry9x8gf2tvdw0s3jn54khml5w43"),
            KeyError::kUnsupportedType);
  EXPECT_EQ(error("age1plugin1" + std::string(100, 'q')), KeyError::kUnsupportedType);
  EXPECT_EQ(AgeIdentity::parse("AGE-PLUGIN-YUBIKEY-1QQQQQQ").error(), KeyError::kUnsupportedType);
  EXPECT_EQ(AgeIdentity::parse(recipient).error(), KeyError::kNotAKey);
  EXPECT_EQ(AgeIdentity::parse("AGE-SECRET-KEY-1QQQQQQ").error(), KeyError::kMalformed);
}

TEST(RecipientFile, SkipsCommentsAndNamesTheLineOfAnError) {
  const std::string age = identity_data("age_recipient.txt");
  const std::string ssh = identity_data("ed25519_plain.pub");
  const auto both = parse_recipients("# who may open\n\n  " + age + "\r\n" + ssh);
  ASSERT_TRUE(both.has_value()) << describe(both.error());
  ASSERT_EQ(both.value().size(), 2u);
  EXPECT_EQ(format_recipient(both.value()[0]) + "\n", age);
  EXPECT_TRUE(ssh.starts_with(format_recipient(both.value()[1]) + " "));

  const auto wrong = parse_recipients(age + "\n# fine\nage1broken\n" + ssh);
  EXPECT_EQ(wrong.error().line, 4u);
  EXPECT_EQ(describe(wrong.error()), "line 4: it is damaged");
  EXPECT_EQ(parse_recipients(age + "ssh-rsa AAAA").error().error, KeyError::kUnsupportedType);
  EXPECT_EQ(parse_recipients("# nobody\n").error().line, 0u);
  EXPECT_EQ(describe(parse_recipients("").error()), "it holds no key");
}

TEST(RecipientFile, HasLimits) {
  const std::string age = identity_data("age_recipient.txt");
  std::string text;
  for (std::size_t i = 0; i < kMaxKeysPerFile; ++i) text += age;
  EXPECT_EQ(parse_recipients(text).value().size(), kMaxKeysPerFile);
  EXPECT_EQ(parse_recipients(text + age).error().error, KeyError::kLimits);
  EXPECT_EQ(parse_recipients(text + age).error().line, kMaxKeysPerFile + 1);
  EXPECT_EQ(parse_recipients(std::string(limits::kRecipientFileSize + 1, '\n')).error().error,
            KeyError::kLimits);
}

TEST(RecipientFile, RefusesPointsOfSmallOrder) {
  // The neutral element: every signature and every secret of it is known to all.
  crypto::Ed25519Public neutral;
  neutral.bytes[0] = std::byte{1};
  const auto recipient = parse_recipient(format_public_key_line({.key = neutral, .comment = {}}));
  ASSERT_FALSE(recipient.has_value());
  EXPECT_EQ(recipient.error(), KeyError::kMalformed);
}

TEST(IdentityFile, HoldsAgeIdentitiesOrOneOpenSshKey) {
  const std::string age = identity_data("age_identity.txt");
  const auto two = parse_identities(age + age);
  ASSERT_TRUE(two.has_value());
  EXPECT_EQ(two.value().size(), 2u);
  EXPECT_TRUE(std::holds_alternative<AgeIdentity>(two.value()[0]));

  const auto ssh = parse_identities("\n" + identity_data("ed25519_plain"));
  ASSERT_TRUE(ssh.has_value());
  EXPECT_TRUE(std::holds_alternative<SigningKey>(ssh.value()[0]));

  EXPECT_EQ(parse_identities(age + "nonsense").error().line, 4u);
  EXPECT_EQ(parse_identities("# none\n").error().line, 0u);
  EXPECT_EQ(parse_identities(identity_data("ed25519_rounds_1")).error().error,
            KeyError::kPassphraseRequired);
  EXPECT_EQ(parse_identities("-----BEGIN AGE ENCRYPTED FILE-----\n").error().error,
            KeyError::kNotAKey);
}

}  // namespace
}  // namespace sealane::identity
