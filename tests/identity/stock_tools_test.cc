// Goal: ssh-keygen and age-keygen read what we write, and we read what they write. Method: the real
// programs, run on keys made for the test; skipped by name where one is missing.
#include <gtest/gtest.h>

#include "sealane/identity/keys.h"
#include "sealane/identity/trust.h"
#include "sealane/store/system.h"
#include "tests/identity/tools.h"

namespace sealane::identity {
namespace {

using testing::read_text;
using testing::run_tool;
using testing::TempDirectory;
using testing::ToolResult;
using testing::write_text;

constexpr const char* kPassphrase = "a long passphrase with blanks";

SecretBytes passphrase() { return SecretBytes(std::string_view(kPassphrase)); }

// The second word of "256 SHA256:… comment (ED25519)".
std::string fingerprint_by_ssh_keygen(const std::string& path) {
  const ToolResult listed = run_tool({"ssh-keygen", "-l", "-f", path});
  EXPECT_EQ(listed.status, 0) << listed.output;
  const std::size_t start = listed.output.find(' ') + 1;
  return listed.output.substr(start, listed.output.find(' ', start) - start);
}

TEST(SshKeygen, MakesKeysThatWeRead) {
  SEALANE_NEEDS_TOOL("ssh-keygen");
  struct Case {
    std::string name, passphrase, rounds, comment;
  };
  for (const Case& c : {Case{"plain", "", "16", "a comment"}, Case{"silent", "", "16", ""},
                        Case{"one", kPassphrase, "1", "c"}, Case{"usual", kPassphrase, "16", "c"},
                        Case{"fifty", kPassphrase, "50", "c"}}) {
    const TempDirectory temp;
    const std::string path = temp / "key";
    const ToolResult made = run_tool({"ssh-keygen", "-q", "-t", "ed25519", "-N", c.passphrase, "-a",
                                      c.rounds, "-C", c.comment, "-f", path});
    ASSERT_EQ(made.status, 0) << made.output;
    const auto text = read_private_file(system_files(), path);
    ASSERT_TRUE(text.has_value()) << text.error().message;
    const SecretBytes with = passphrase();
    const auto key = parse_private_key(text.value().expose_text(), &with);
    ASSERT_TRUE(key.has_value()) << c.name << ": " << describe(key.error());
    EXPECT_EQ(key.value().comment(), c.comment);
    EXPECT_EQ(fingerprint(key.value().public_key()), fingerprint_by_ssh_keygen(path + ".pub"));
    // Without a comment ssh-keygen leaves a blank at the end.
    const std::string line = format_public_key_line({key.value().public_key(), c.comment});
    EXPECT_EQ(line + (c.comment.empty() ? " \n" : "\n"), read_text(path + ".pub"));
  }
}

TEST(SshKeygen, ReadsKeysThatWeMake) {
  SEALANE_NEEDS_TOOL("ssh-keygen");
  const TempDirectory temp;
  for (const std::string comment : {"", "1", "12", "123", "1234567", "a host"}) {
    const SigningKey key = SigningKey::generate(system_random(), comment);
    const std::string line = format_public_key_line({key.public_key(), comment});
    // The comments go through every size of padding; once with the rounds of daily use is enough.
    const std::uint32_t last = comment.empty() ? kBcryptRounds : 2;
    for (const std::uint32_t rounds : {0u, 1u, last}) {
      const SecretBytes with = passphrase();
      const SecretBytes text = rounds == 0
                                   ? format_private_key(key, system_random())
                                   : format_private_key(key, system_random(), &with, rounds);
      const std::string path = temp / "key";
      write_text(path, text.expose_text());
      const ToolResult shown =
          run_tool({"ssh-keygen", "-y", "-P", rounds == 0 ? "" : kPassphrase, "-f", path});
      EXPECT_EQ(shown.status, 0) << shown.output;
      EXPECT_EQ(shown.stdout_text, line + "\n") << rounds;
      if (rounds == 0) continue;
      EXPECT_NE(run_tool({"ssh-keygen", "-y", "-P", "wrong", "-f", path}).status, 0);
    }
    write_text(temp / "key.pub", line);
    EXPECT_EQ(fingerprint_by_ssh_keygen(temp / "key.pub"), fingerprint(key.public_key()));
  }
}

TEST(SshKeygen, AcceptsOurSignatures) {
  SEALANE_NEEDS_TOOL("ssh-keygen");
  const TempDirectory temp;
  const SigningKey key = SigningKey::generate(system_random(), "");
  TrustStore store;
  TrustedKey entry;
  entry.names = {"shop"};
  entry.key = key.public_key();
  entry.namespaces = {"sealane-commit@v1", "other"};
  entry.valid_after = from_rfc3339("2026-01-01T00:00:00Z");
  entry.valid_before = from_rfc3339("2026-12-31T00:00:00Z");
  store.add(entry);
  write_text(temp / "trust", store.format());
  const std::string message = "what is signed\n";
  write_text(temp / "sig", sign(key, "sealane-commit@v1", as_bytes(message)));

  const ToolResult loose = run_tool(
      {"ssh-keygen", "-Y", "check-novalidate", "-n", "sealane-commit@v1", "-s", temp / "sig"},
      message);
  EXPECT_EQ(loose.status, 0) << loose.output;
  EXPECT_NE(loose.output.find(fingerprint(key.public_key())), std::string::npos) << loose.output;

  // Our trust file, read by ssh-keygen, and the same times by us.
  const auto verify_at = [&](const std::string& time, const std::string& text) {
    return run_tool({"ssh-keygen", "-Y", "verify", "-f", temp / "trust", "-I", "shop", "-n",
                     "sealane-commit@v1", "-s", temp / "sig", "-Overify-time=" + time},
                    text)
        .status;
  };
  for (const std::string time :
       {"20251231235959", "20260101000000", "20260601", "20261231000000", "20261231000001"}) {
    const auto probe = TrustStore::parse("a valid-after=\"" + time + "\" " +
                                         format_public_key_line({key.public_key(), ""}));
    const WallTime at = probe.value().keys()[0].valid_after.value();
    EXPECT_EQ(verify_at(time, message) == 0,
              store.may_sign(key.public_key(), "sealane-commit@v1", at))
        << time;
  }
  EXPECT_NE(verify_at("20260601", message + "x"), 0);
}

TEST(SshKeygen, MakesSignaturesThatWeAccept) {
  SEALANE_NEEDS_TOOL("ssh-keygen");
  const TempDirectory temp;
  const SigningKey key = SigningKey::generate(system_random(), "");
  write_text(temp / "key", format_private_key(key, system_random()).expose_text());
  const std::string message(100'000, 'm');
  for (const std::string hash : {"sha512", "sha256"}) {
    const ToolResult made = run_tool(
        {"ssh-keygen", "-Y", "sign", "-f", temp / "key", "-n", "ns", "-O", "hashalg=" + hash},
        message);
    ASSERT_EQ(made.status, 0) << made.output;
    const auto signer = verify(made.stdout_text, "ns", as_bytes(message));
    ASSERT_TRUE(signer.has_value()) << describe(signer.error());
    EXPECT_EQ(signer.value(), key.public_key());
  }
}

TEST(AgeKeygen, MakesIdentitiesThatWeRead) {
  SEALANE_NEEDS_TOOL("age-keygen");
  const ToolResult made = run_tool({"age-keygen"});
  ASSERT_EQ(made.status, 0) << made.output;
  const auto keys = parse_identities(made.stdout_text);
  ASSERT_TRUE(keys.has_value()) << describe(keys.error());
  const auto& key = std::get<AgeIdentity>(keys.value().at(0));
  const std::string recipient = AgeRecipient{key.public_key()}.format();
  EXPECT_NE(made.stdout_text.find("# public key: " + recipient + "\n"), std::string::npos);
}

TEST(AgeKeygen, ReadsIdentitiesThatWeMake) {
  SEALANE_NEEDS_TOOL("age-keygen");
  const AgeIdentity key = AgeIdentity::generate(system_random());
  const ToolResult shown = run_tool({"age-keygen", "-y"}, key.format().expose_text());
  EXPECT_EQ(shown.status, 0) << shown.output;
  EXPECT_EQ(shown.stdout_text, AgeRecipient{key.public_key()}.format() + "\n");
}

}  // namespace
}  // namespace sealane::identity
