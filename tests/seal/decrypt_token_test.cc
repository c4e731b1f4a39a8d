// Goal: the decryption token is judged as the Backupy tool judges it. Method: the 32 tokens of the
// vectors; every order of checks by tokens with two faults; expiry at the second.
#include "seal/decrypt_token.h"
#include "tests/support/data_path.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace sealane::seal {
namespace {

using nlohmann::json;
using Kind = TokenError::Kind;
using std::chrono::seconds;

const WallTime kNow{seconds(1800000000)};

json good_claims() {
  return {{"iss", "backupy-server"},
          {"aud", "backupy-decrypt"},
          {"exp", 1800000000},
          {"sub", "user"},
          {"run_id", "run"},
          {"company_id", "company"},
          {"dek", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="},
          {"alg", "AES-256-GCM"},
          {"format_version", 1}};
}
std::string token_of(const json& claims) {
  return "header." +
         to_base64(as_bytes(claims.dump()), Base64Alphabet::kUrl, Base64Padding::kUnpadded) +
         ".signature";
}
std::optional<TokenError> error_of(std::string_view text, WallTime now = kNow) {
  const auto parsed = parse_decrypt_token(text, now);
  if (parsed.has_value()) return std::nullopt;
  return parsed.error();
}

TEST(DecryptToken, JudgesEveryVector) {
  std::ifstream file(testing::data_path("chunkstream/tokens.json"));
  const json tokens = json::parse(file);
  std::size_t count = 0;
  for (const json& vector : tokens["tokens"]) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const std::string expect = vector["expect"].get<std::string>();
    const auto error = error_of(vector["jwt"].get<std::string>());
    if (expect == "token_expired") {
      ASSERT_TRUE(error);
      EXPECT_EQ(error->kind, Kind::kExpired);
    } else if (expect == "invalid_token") {
      ASSERT_TRUE(error);
      EXPECT_EQ(error->kind, Kind::kInvalid);
    } else if (expect == "unsupported_algorithm") {
      ASSERT_TRUE(error);
      EXPECT_EQ(error->kind, Kind::kUnsupportedAlgorithm);
    } else if (expect == "unsupported_format") {
      ASSERT_TRUE(error);
      EXPECT_EQ(error->kind, Kind::kUnsupportedFormat);
    } else {  // ok, sha256_mismatch, auth_failed: the token itself is fine
      EXPECT_FALSE(error);
    }
    ++count;
  }
  EXPECT_EQ(count, 32u);
}

TEST(DecryptToken, GivesKeyAndHash) {
  json claims = good_claims();
  claims["sha256"] = "ABcd";
  const auto token = parse_decrypt_token(token_of(claims), kNow);
  ASSERT_TRUE(token.has_value());
  EXPECT_EQ(to_hex(token.value().key.expose()),
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  EXPECT_EQ(token.value().sha256, "abcd");
  EXPECT_FALSE(token.value().expired);
  claims["sha256"] = 5;
  EXPECT_EQ(parse_decrypt_token(token_of(claims), kNow).value().sha256, "");
}

TEST(DecryptToken, ExpiresAfterItsSecondWithoutLeeway) {
  json claims = good_claims();
  EXPECT_FALSE(error_of(token_of(claims), kNow));
  const WallTime later = kNow + std::chrono::nanoseconds(1);
  EXPECT_EQ(error_of(token_of(claims), later)->kind, Kind::kExpired);
  const auto allowed = parse_decrypt_token(token_of(claims), later, TokenExpiry::kAllow);
  ASSERT_TRUE(allowed.has_value());
  EXPECT_TRUE(allowed.value().expired);
  claims["exp"] = 1800000000.9;  // the fraction is cut
  EXPECT_TRUE(error_of(token_of(claims), later));
  for (const double far : {1e300, 9.3e9, 253402300800.0}) {
    claims["exp"] = far;
    EXPECT_FALSE(error_of(token_of(claims), later));
    claims["exp"] = -far;
    EXPECT_EQ(error_of(token_of(claims), later)->kind, Kind::kExpired);
  }
}

TEST(DecryptToken, ChecksInTheDocumentedOrder) {
  // Each step breaks one more claim, from the last check to the first: the newest must win.
  struct Step {
    std::string name;
    json value;
    Kind kind;
    std::string_view detail;
  };
  const std::vector<Step> steps = {
      {"dek", "AAAA", Kind::kInvalid, "dek is not 32 bytes"},
      {"dek", "*", Kind::kInvalid, "dek is not base64"},
      {"format_version", 2.5, Kind::kUnsupportedFormat, "format_version is not 1"},
      {"alg", "AES-128-GCM", Kind::kUnsupportedAlgorithm, "alg is not AES-256-GCM"},
      {"format_version", "1", Kind::kInvalid, "format_version is missing or not a number"},
      {"alg", nullptr, Kind::kInvalid, "alg is missing or empty"},
      {"dek", "", Kind::kInvalid, "dek is missing or empty"},
      {"company_id", 7, Kind::kInvalid, "company_id is missing or empty"},
      {"run_id", "", Kind::kInvalid, "run_id is missing or empty"},
      {"sub", json::array({"user"}), Kind::kInvalid, "sub is missing or empty"},
      {"exp", 1799999999, Kind::kExpired, "exp is past"},
      {"exp", "1900000000", Kind::kInvalid, "exp is missing or not a number"},
      {"aud", json::array({"backupy-decrypt"}), Kind::kInvalid, "aud is not backupy-decrypt"},
      {"iss", "Backupy-server", Kind::kInvalid, "iss is not backupy-server"},
  };
  json claims = good_claims();
  for (const Step& step : steps) {
    claims[step.name] = step.value;
    const auto error = error_of(token_of(claims));
    ASSERT_TRUE(error) << step.detail;
    EXPECT_EQ(error->kind, step.kind) << step.detail;
    EXPECT_EQ(error->detail, step.detail);
  }
}

TEST(DecryptToken, RefusesWhatIsNoToken) {
  const std::string good = token_of(good_claims());
  for (std::size_t size = 0; size < good.rfind('.'); ++size) {
    EXPECT_TRUE(error_of(good.substr(0, size))) << size;
  }
  EXPECT_TRUE(error_of(good + ".x"));
  EXPECT_TRUE(error_of("a.W10.c")) << "an array";
  EXPECT_TRUE(error_of("a.e30=.c")) << "padding";
  EXPECT_TRUE(error_of(" " + good.substr(0, 6) + good.substr(7))) << "no first dot";
  EXPECT_TRUE(error_of(std::string(kMaxDecryptTokenSize + 1, '.')));
  std::string deep(40000, '[');
  EXPECT_TRUE(error_of(
      "a." + to_base64(as_bytes(deep), Base64Alphabet::kUrl, Base64Padding::kUnpadded) + ".c"));
}

}  // namespace
}  // namespace sealane::seal
