// Goal: agreement with the published age vectors. Method: a selection of the testkit; the class of
// failure must be the vector's.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "crypto/hash.h"
#include "seal/age.h"
#include "seal/armor.h"
#include "tests/seal/driver.h"
#include "tests/support/data_path.h"

namespace sealane::seal {
namespace {

struct Vector {
  std::string name;
  std::map<std::string, std::string> keys;
  std::string file;
};

std::vector<Vector> read_vectors() {
  std::ifstream in(testing::data_path("age/testkit.txt"));
  std::vector<Vector> vectors;
  bool in_keys = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("=== ")) {
      vectors.push_back({.name = line.substr(4), .keys = {}, .file = {}});
      in_keys = true;
    } else if (vectors.empty()) {
      continue;
    } else if (in_keys && line.empty()) {
      in_keys = false;
    } else if (in_keys) {
      const std::size_t colon = line.find(": ");
      vectors.back().keys[line.substr(0, colon)] = line.substr(colon + 2);
    } else {
      vectors.back().file += line + '\n';
    }
  }
  return vectors;
}

std::string class_of(SealError error) {
  switch (error) {
    case SealError::kNotThisFormat:
    case SealError::kHeaderMalformed:
    case SealError::kWorkFactorTooHigh:
      return "header failure";
    case SealError::kNoMatchingKey:
      return "no match";
    case SealError::kHeaderMac:
      return "HMAC failure";
    case SealError::kArmor:
      return "armor failure";
    default:
      return std::string(describe(error));
  }
}

// The verdict in the testkit's words.
std::string open_vector(Vector& vector, Bytes& plaintext) {
  Bytes file = to_bytes(vector.file);
  if (vector.keys.contains("armored")) {
    ArmorDecoder armor;
    file.clear();
    const auto decoded = armor.update(as_bytes(vector.file), file);
    if (!decoded.has_value()) return class_of(decoded.error());
    if (const auto finished = armor.finish(); !finished.has_value()) {
      return class_of(finished.error());
    }
  } else {
    const Bytes payload =
        *from_hex("eecf62c7ce91b433274e68d4f2f9134cb74c5bfef7beaa52c8f0bc0e992c1e8331fb66");
    file.insert(file.end(), payload.begin(), payload.end());
  }
  const auto size = age_header_size(file, true);
  if (!size.has_value()) return class_of(size.error());
  std::vector<identity::OpeningKey> keys;
  if (vector.keys.contains("identity")) {
    keys.emplace_back(identity::AgeIdentity::parse(vector.keys["identity"]).value());
  }
  const SecretBytes passphrase(std::string_view(vector.keys["passphrase"]));
  const std::size_t header = std::get<std::size_t>(size.value());
  const auto opener =
      make_age_opener(ByteSpan(file).first(header),
                      {.keys = keys, .passphrase = passphrase.empty() ? nullptr : &passphrase});
  if (!opener.has_value()) return class_of(opener.error());
  auto opened = testing::open_all(*opener.value(), ByteSpan(file).subspan(header), 1000);
  if (opened.error) return class_of(*opened.error);
  plaintext = std::move(opened.plaintext);
  return "success";
}

TEST(AgeTestkit, EveryVectorHasItsVerdict) {
  auto vectors = read_vectors();
  EXPECT_EQ(vectors.size(), 27u);
  for (Vector& vector : vectors) {
    SCOPED_TRACE(vector.name);
    Bytes plaintext;
    EXPECT_EQ(open_vector(vector, plaintext), vector.keys["expect"]);
    if (vector.keys["expect"] == "success") {
      EXPECT_EQ(to_hex(crypto::sha256(plaintext)), vector.keys["payload"]);
    }
  }
}

}  // namespace
}  // namespace sealane::seal
