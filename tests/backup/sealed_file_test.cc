// Goal: the public functions for one sealed file: what was sealed opens to the same bytes under
// every kind of key, what is wrong is told apart, and a failure leaves no file. Method: the
// simulated file system, which also fails at each call in turn.
#include "sealane/backup/sealed_file.h"

#include <gtest/gtest.h>

#include "memory_streams.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::backup {
namespace {

using testing::random_bytes;

class SealedFileTest : public ::testing::Test {
 protected:
  void write(const std::string& path, ByteSpan content) {
    ASSERT_TRUE(replace_file(files, random, path, content, 0600).has_value());
  }
  Bytes content_of(const std::string& path) {
    auto content = read_file(files, path, 1 << 24);
    EXPECT_TRUE(content.has_value()) << path;
    return content.has_value() ? content.value() : Bytes{};
  }

  testing::SimulatedFiles files;
  testing::SeededRandom random{7};
  identity::OpeningKey key{identity::AgeIdentity::generate(random)};
  identity::Recipient recipient{
      identity::AgeRecipient{std::get<identity::AgeIdentity>(key).public_key()}};
  SecretBytes passphrase{as_bytes("correct horse")};
};

TEST_F(SealedFileTest, OpensToTheSameBytesUnderEveryKindOfKey) {
  for (const std::size_t size : {0U, 1U, 65535U, 65536U, 65537U, 300000U}) {
    for (const bool armor : {false, true}) {
      SCOPED_TRACE(std::to_string(size) + (armor ? " armored" : ""));
      const std::string name = "/f" + std::to_string(size) + (armor ? "a" : "b");
      const Bytes plain = random_bytes(size, 3);
      write(name, plain);
      const auto sealed = seal_file(files, random, name, name + ".age",
                                    {.recipients = std::span(&recipient, 1), .armor = armor});
      ASSERT_TRUE(sealed.has_value()) << sealed.error().message;
      EXPECT_EQ(sealed.value().plain_size, size);
      const auto opened =
          open_file(files, random, name + ".age", name + ".out", {.keys = std::span(&key, 1)});
      ASSERT_TRUE(opened.has_value()) << opened.error().message;
      EXPECT_EQ(opened.value().plain_size, size);
      EXPECT_EQ(opened.value().sealed_size, sealed.value().sealed_size);
      EXPECT_EQ(content_of(name + ".out"), plain);
    }
  }
}

TEST_F(SealedFileTest, APassphraseOpensAndAnotherDoesNot) {
  write("/f", random_bytes(1000, 1));
  ASSERT_TRUE(seal_file(files, random, "/f", "/f.age", {.passphrase = &passphrase}).has_value());
  EXPECT_TRUE(open_file(files, random, "/f.age", "/out", {.passphrase = &passphrase}).has_value());
  const SecretBytes other(as_bytes("wrong horse"));
  const auto refused = open_file(files, random, "/f.age", "/none", {.passphrase = &other});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kWrongKey);
  EXPECT_FALSE(files.status("/none").has_value());
}

TEST_F(SealedFileTest, TellsApartWhatIsWrongAndLeavesNoFile) {
  const Bytes plain = random_bytes(200000, 2);
  write("/f", plain);
  const SealTo to{.recipients = std::span(&recipient, 1)};
  const OpenWith with{.keys = std::span(&key, 1)};
  ASSERT_TRUE(seal_file(files, random, "/f", "/f.age", to).has_value());
  const auto kind_of = [&](const Result<SealedFileReport, Error>& result) {
    EXPECT_FALSE(result.has_value());
    EXPECT_FALSE(files.status("/out").has_value());
    return result.has_value() ? ErrorKind{} : result.error().kind;
  };
  const identity::OpeningKey stranger(identity::AgeIdentity::generate(random));
  EXPECT_EQ(kind_of(open_file(files, random, "/f.age", "/out", {.keys = std::span(&stranger, 1)})),
            ErrorKind::kWrongKey);
  EXPECT_EQ(kind_of(open_file(files, random, "/f.age", "/out", {})), ErrorKind::kUsage);
  EXPECT_EQ(kind_of(open_file(files, random, "/f", "/out", with)), ErrorKind::kVerificationFailed);
  EXPECT_EQ(kind_of(seal_file(files, random, "/f", "/out", {})), ErrorKind::kUsage);
  EXPECT_EQ(kind_of(seal_file(files, random, "/f", "/out",
                              {.recipients = std::span(&recipient, 1), .passphrase = &passphrase})),
            ErrorKind::kUsage);
  EXPECT_FALSE(open_file(files, random, "/f.age", "/f", with).has_value()) << "never overwrites";
  EXPECT_EQ(content_of("/f"), plain);

  const Bytes sealed = content_of("/f.age");
  for (const std::size_t at : {std::size_t{30}, sealed.size() / 2, sealed.size() - 1}) {
    Bytes flipped = sealed;
    flipped[at] ^= std::byte{1};
    write("/g.age", flipped);
    kind_of(open_file(files, random, "/g.age", "/out", with));
    write("/g.age", ByteSpan(sealed).first(at));
    EXPECT_EQ(kind_of(open_file(files, random, "/g.age", "/out", with)),
              ErrorKind::kVerificationFailed)
        << at;
  }
}

}  // namespace
}  // namespace sealane::backup
