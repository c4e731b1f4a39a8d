// Goal: the Go library's key files, byte by byte, and never a key in the wrong place. Method: the
// published files; damaged ones; the directory's life on a simulated disk that fails at each call.
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sealane/identity/keys.h"
#include "tests/support/data_path.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"

namespace sealane::identity {
namespace {

using testing::SeededRandom;
using testing::SimulatedFiles;

const nlohmann::json& key_files() {
  static const nlohmann::json loaded =
      nlohmann::json::parse(std::ifstream(testing::data_path("session/secureio_vectors.json")))
          .at("key_files");
  return loaded;
}

TEST(PemKeys, Vectors) {
  for (const auto& entry : key_files()) {
    const std::string private_text = entry["id_ed25519"];
    const std::string public_text = entry["id_ed25519.pub"];
    const auto key = parse_pem_private_key(private_text);
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(format_pem_private_key(key.value()).expose_text(), private_text);
    EXPECT_EQ(parse_pem_public_key(public_text).value(), key.value().public_key());
    EXPECT_EQ(format_pem_public_key(key.value().public_key()), public_text);
    EXPECT_EQ(parse_peer_key(public_text).value(), key.value().public_key());
    EXPECT_EQ(parse_peer_key(format_public_key_line({key.value().public_key(), "a comment"}) + "\n")
                  .value(),
              key.value().public_key());
  }
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

TEST(PemKeys, WhatIsTolerated) {
  const std::string text = key_files()[0]["id_ed25519"];
  const auto expected = parse_pem_private_key(text).value().public_key();
  const std::string with_headers =
      replaced(text, "KEY-----\nAAEC", "KEY-----\nProc-Type: 4\nA: b\n\nAAEC");
  ASSERT_NE(with_headers, text);
  for (const std::string& variant :
       {"a word before\n" + text, replaced(text, "\n", "\r\n"), with_headers, text + "after\n",
        text.substr(0, text.size() - 1)}) {
    const auto key = parse_pem_private_key(variant);
    ASSERT_TRUE(key.has_value()) << variant;
    EXPECT_EQ(key.value().public_key(), expected);
  }
}

TEST(PemKeys, WhatIsRefused) {
  const std::string text = key_files()[0]["id_ed25519"];
  const std::string other = key_files()[1]["id_ed25519"];
  const std::string public_text = key_files()[0]["id_ed25519.pub"];
  EXPECT_EQ(parse_pem_private_key("").error(), KeyError::kNotAKey);
  EXPECT_EQ(parse_pem_private_key("-----BEGIN -----\n").error(), KeyError::kUnsupportedType);
  EXPECT_EQ(parse_pem_private_key("-----BEGIN ----").error(), KeyError::kNotAKey);
  EXPECT_EQ(parse_pem_private_key(public_text).error(), KeyError::kUnsupportedType);
  EXPECT_EQ(parse_pem_public_key(text).error(), KeyError::kUnsupportedType);
  EXPECT_EQ(parse_pem_private_key(replaced(text, "-----END ED", "-----END X")).error(),
            KeyError::kMalformed);
  EXPECT_EQ(parse_pem_private_key(std::string(100'000, ' ')).error(), KeyError::kLimits);
  // The halves of two keys: 32 bytes are not whole base64 groups, so by way of the bytes.
  const auto halves = [](const std::string& pem) {
    std::string digits = replaced(pem.substr(pem.find('\n')), "\n", "");
    return from_base64(digits.substr(0, digits.find("-----"))).value();
  };
  Bytes mixed = halves(text);
  const Bytes others = halves(other);
  std::copy(others.begin() + 32, others.end(), mixed.begin() + 32);
  const auto pem = [](const Bytes& content) {
    return "-----BEGIN ED25519 PRIVATE KEY-----\n" + to_base64(content) +
           "\n-----END ED25519 PRIVATE KEY-----\n";
  };
  EXPECT_TRUE(parse_pem_private_key(pem(others)).has_value());
  EXPECT_EQ(parse_pem_private_key(pem(mixed)).error(), KeyError::kMalformed);
  for (const std::size_t size : {0u, 1u, 32u, 63u, 65u}) {
    EXPECT_EQ(parse_pem_private_key(pem(Bytes(size))).error(), KeyError::kMalformed) << size;
  }
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    EXPECT_FALSE(parse_pem_private_key(std::string_view(text).substr(0, size)).has_value()) << size;
  }
  EXPECT_EQ(parse_peer_key("").error(), KeyError::kNotAKey);
  const std::string line =
      format_public_key_line({parse_pem_public_key(public_text).value(), "one"});
  EXPECT_FALSE(parse_peer_key(line + "\n" + line).has_value());
}

TEST(PemIdentity, IsMadeOnFirstUseAndStays) {
  SimulatedFiles files;
  SeededRandom random(1);
  const auto first = open_pem_identity(files, random, "/id");
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(files.status("/id/id_ed25519").value().mode, 0600u);
  EXPECT_EQ(
      parse_pem_public_key(as_text(read_file(files, "/id/id_ed25519.pub", 1000).value())).value(),
      first.value().public_key());
  EXPECT_EQ(open_pem_identity(files, random, "/id").value().public_key(),
            first.value().public_key());
  ASSERT_TRUE(files.remove("/id/id_ed25519.pub").has_value());
  EXPECT_EQ(open_pem_identity(files, random, "/id").value().public_key(),
            first.value().public_key());
  EXPECT_TRUE(files.status("/id/id_ed25519.pub").has_value());
}

TEST(PemIdentity, OpenSshFilesAreReadAndLeftAlone) {
  SimulatedFiles files;
  SeededRandom random(1);
  const SigningKey key = SigningKey::generate(random, "somebody@host");
  ASSERT_TRUE(files.create_directory("/ssh").has_value());
  const SecretBytes text = format_private_key(key, random);
  ASSERT_TRUE(write_private_file(files, "/ssh/id_ed25519", text).has_value());
  EXPECT_EQ(open_pem_identity(files, random, "/ssh").value().public_key(), key.public_key());
  EXPECT_EQ(files.all_paths(), (std::vector<std::string>{"/ssh/", "/ssh/id_ed25519"}));
  EXPECT_EQ(to_text(read_file(files, "/ssh/id_ed25519", 10000).value()), text.expose_text());

  ASSERT_TRUE(files.create_directory("/locked").has_value());
  const SecretBytes passphrase(std::string_view("open"));
  ASSERT_TRUE(write_private_file(files, "/locked/id_ed25519",
                                 format_private_key(key, random, &passphrase, 1))
                  .has_value());
  EXPECT_FALSE(open_pem_identity(files, random, "/locked").has_value());
}

TEST(PemIdentity, RefusesWhatDoesNotBelongTogether) {
  SimulatedFiles files;
  SeededRandom random(1);
  ASSERT_TRUE(open_pem_identity(files, random, "/a").has_value());
  ASSERT_TRUE(open_pem_identity(files, random, "/b").has_value());
  const Bytes of_b = read_file(files, "/b/id_ed25519.pub", 1000).value();
  ASSERT_TRUE(files.remove("/a/id_ed25519.pub").has_value());
  ASSERT_TRUE(write_new_file(files, "/a/id_ed25519.pub", of_b).has_value());
  EXPECT_FALSE(open_pem_identity(files, random, "/a").has_value());
  // A public file alone, an OpenSSH line for instance: nothing is made beside it.
  ASSERT_TRUE(files.remove("/a/id_ed25519").has_value());
  EXPECT_FALSE(open_pem_identity(files, random, "/a").has_value());
  EXPECT_FALSE(files.status("/a/id_ed25519").has_value());
  ASSERT_TRUE(write_private_file(files, "/a/id_ed25519", SecretBytes(std::string_view("junk")))
                  .has_value());
  EXPECT_FALSE(open_pem_identity(files, random, "/a").has_value());
}

TEST(PemIdentity, EachFailureAndPowerCutLeavesOneKey) {
  for (std::uint64_t call = 0;; ++call) {
    SimulatedFiles files;
    SeededRandom random(1);
    files.stop_at_call(call);
    const auto cut = open_pem_identity(files, random, "/id");
    const bool stopped = files.stopped();
    if (stopped) files.restart_after_power_loss(call);
    files.clear_faults();
    const auto after = open_pem_identity(files, random, "/id");
    ASSERT_TRUE(after.has_value()) << call << ": " << after.error().message;
    if (cut.has_value()) {
      EXPECT_EQ(after.value().public_key(), cut.value().public_key());
    }
    if (!stopped) break;
    ASSERT_LT(call, 100u);
  }
}

}  // namespace
}  // namespace sealane::identity
