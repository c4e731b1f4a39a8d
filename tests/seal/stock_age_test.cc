// Goal: the age program opens what we seal. Method: files for every kind of recipient that works
// without a terminal, at the boundary sizes, binary and armored, through `age -d`.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "seal/age.h"
#include "seal/armor.h"
#include "tests/seal/driver.h"
#include "tests/support/data_path.h"

namespace sealane::seal {
namespace {

const std::string kData = testing::data_path("age/");

class StockAge : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v age > /dev/null") != 0) GTEST_SKIP() << "age is not installed";
    std::string pattern = std::filesystem::temp_directory_path() / "sealane-age-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    // Git keeps no modes, and age does not care, but ssh keys are private files.
    for (const std::string name : {"x25519_one.key", "ssh_one"}) {
      std::filesystem::copy_file(kData + name, directory_ / name);
      std::filesystem::permissions(directory_ / name, std::filesystem::perms::owner_read);
    }
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void expect_opens(std::string_view sealed, const std::string& key, ByteSpan plaintext) {
    const std::string in = directory_ / "in";
    const std::string out = directory_ / "out";
    std::ofstream(in, std::ios::binary) << sealed;
    const std::string command =
        "age -d -i " + (directory_ / key).string() + " -o " + out + " " + in;
    ASSERT_EQ(std::system(command.c_str()), 0);
    EXPECT_EQ(read(out), as_text(plaintext));
  }

  std::filesystem::path directory_;
};

TEST_F(StockAge, OpensEveryKindOfRecipientAndSize) {
  testing::ScriptedRandom random;
  const auto keys = identity::parse_identities(read(kData + "x25519_one.key"));
  const auto& identity = std::get<identity::AgeIdentity>(keys.value().at(0));
  std::vector<identity::Recipient> recipients = {identity::AgeRecipient{identity.public_key()}};
  for (const std::string name : {"ssh_two.pub", "ssh_one.pub"}) {
    const auto parsed = identity::parse_recipients(read(kData + name));
    ASSERT_TRUE(parsed.has_value());
    recipients.push_back(parsed.value().at(0));
  }
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 65537u, 200000u}) {
    SCOPED_TRACE(size);
    const Bytes plaintext = testing::pattern(1, size);
    const auto sealer = make_age_sealer({.recipients = recipients}, random);
    const Bytes sealed = testing::seal_all(*sealer.value(), plaintext);
    expect_opens(as_text(sealed), "x25519_one.key", plaintext);
    expect_opens(as_text(sealed), "ssh_one", plaintext);
    ArmorEncoder encoder;
    std::string armored;
    encoder.update(sealed, armored);
    encoder.finish(armored);
    expect_opens(armored, "x25519_one.key", plaintext);
  }
}

}  // namespace
}  // namespace sealane::seal
