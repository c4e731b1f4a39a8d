// Goal: keys in the encodings that foreign systems write are read and written exactly, weak or
// damaged ones are refused, and a refusal tells nothing. Method: the keys of a recorded hub, keys
// made here in each size, damage at every byte; stock OpenSSL's idea of the same keys.
#include "crypto/rsa.h"
#include "tests/support/data_path.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace sealane::crypto {
namespace {

const nlohmann::json& recorded() {
  static const nlohmann::json content = [] {
    std::ifstream file(testing::data_path("backbone/capture.json"));
    return nlohmann::json::parse(file);
  }();
  return content;
}
std::string pem_of(const std::string& who, const std::string& which) {
  return recorded().at("keys").at(who).at(which + "_pem").get<std::string>();
}
RsaPrivateKey private_key(const std::string& who) {
  return RsaPrivateKey::from_pem(as_bytes(pem_of(who, "private"))).value();
}
std::string key_file(const std::string& name) {
  std::ifstream file(testing::data_path("backbone/" + name));
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Rsa, ReadsAndWritesPkcs1ByteForByte) {
  for (const char* who : {"server", "A", "B", "stranger"}) {
    const RsaPrivateKey key = private_key(who);
    EXPECT_EQ(key.to_pem().expose_text(), pem_of(who, "private"));
    EXPECT_EQ(key.public_key().to_pem(), pem_of(who, "public"));
    const auto read = RsaPublicKey::from_pem(as_bytes(pem_of(who, "public")));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read.value(), key.public_key());
    EXPECT_EQ(read.value().size(), 256u);
    EXPECT_EQ(read.value().max_plain_size(), 190u);
  }
  EXPECT_FALSE(private_key("A").public_key() == private_key("B").public_key());
}

TEST(Rsa, ReadsSpkiPkcs8CrlfAndTextAround) {
  // spki.pem and pkcs8.pem: key A as `openssl pkey` writes it; the fingerprint is its SHA-256 over
  // the DER of the former.
  const RsaPublicKey expected = private_key("A").public_key();
  EXPECT_EQ(RsaPublicKey::from_pem(as_bytes(key_file("spki.pem"))).value(), expected);
  EXPECT_EQ(RsaPrivateKey::from_pem(as_bytes(key_file("pkcs8.pem"))).value().public_key(),
            expected);
  EXPECT_EQ(to_hex(expected.fingerprint()) + "\n", key_file("spki.sha256"));
  std::string crlf;
  for (const char c : pem_of("A", "public")) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(RsaPublicKey::from_pem(as_bytes(crlf)).value(), expected);
  const std::string around = "the key of A:\n" + pem_of("A", "public") + "and a word after it";
  EXPECT_EQ(RsaPublicKey::from_pem(as_bytes(around)).value(), expected);
}

TEST(Rsa, RefusesWhatIsNoUsableKey) {
  const auto refused = [](std::string_view text) {
    const auto key = RsaPublicKey::from_pem(as_bytes(text));
    return key.has_value() ? std::optional<RsaKeyError>() : key.error();
  };
  EXPECT_EQ(refused(""), RsaKeyError::kNotAKey);
  // As a peer's challenge without a key gives it: no bytes, at no place.
  EXPECT_EQ(RsaPublicKey::from_pem({}).error(), RsaKeyError::kNotAKey);
  EXPECT_EQ(RsaPrivateKey::from_pem({}).error(), RsaKeyError::kNotAKey);
  EXPECT_EQ(refused(pem_of("A", "private")), RsaKeyError::kNotAKey);
  EXPECT_EQ(refused(key_file("ed25519.pem")), RsaKeyError::kNotAKey);
  EXPECT_EQ(refused(key_file("rsa_pss.pem")), RsaKeyError::kNotAKey);
  EXPECT_EQ(refused(key_file("rsa_1024.pem")), RsaKeyError::kUnsupportedSize);
  EXPECT_EQ(refused(key_file("rsa_8192.pem")), RsaKeyError::kUnsupportedSize);
  EXPECT_EQ(refused(key_file("even_modulus.pem")), RsaKeyError::kUnsupportedSize);
  EXPECT_EQ(refused(key_file("exponent_1.pem")), RsaKeyError::kUnsupportedSize);
  EXPECT_EQ(refused(std::string(kMaxRsaPemSize, ' ') + pem_of("A", "public")),
            RsaKeyError::kNotAKey);
  EXPECT_EQ(RsaPrivateKey::from_pem(as_bytes(pem_of("A", "public"))).error(),
            RsaKeyError::kNotAKey);
  EXPECT_EQ(RsaPrivateKey::from_pem(as_bytes(key_file("encrypted_pkcs8.pem"))).error(),
            RsaKeyError::kPassphrase);
  EXPECT_EQ(RsaPrivateKey::from_pem(as_bytes(key_file("encrypted_pkcs1.pem"))).error(),
            RsaKeyError::kPassphrase);
  EXPECT_EQ(RsaPrivateKey::from_pem(as_bytes(key_file("wrong_prime.pem"))).error(),
            RsaKeyError::kNotAKey);
  EXPECT_NE(describe(RsaKeyError::kPassphrase), describe(RsaKeyError::kNotAKey));
}

TEST(Rsa, ACutKeyIsNoKey) {
  const std::string text = pem_of("A", "public");
  const std::size_t end = text.size() - 1;  // the last line feed is not needed
  for (std::size_t cut = 0; cut < end; ++cut) {
    EXPECT_FALSE(RsaPublicKey::from_pem(as_bytes(text).first(cut)).has_value()) << cut;
  }
}

TEST(Rsa, EverySizeDoesAll) {
  const RsaPrivateKey keys[] = {
      RsaPrivateKey::generate(2048),
      RsaPrivateKey::from_pem(as_bytes(key_file("rsa_3072.pem"))).value(),
      RsaPrivateKey::from_pem(as_bytes(key_file("rsa_4096.pem"))).value()};
  std::size_t size_expected = 256;
  for (const RsaPrivateKey& key : keys) {
    EXPECT_EQ(key.size(), size_expected);
    EXPECT_EQ(key.public_key().max_plain_size(), size_expected - 66);
    size_expected += 128;
    EXPECT_EQ(RsaPrivateKey::from_pem(key.to_pem().expose()).value().public_key(),
              key.public_key());
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{190}, key.public_key().max_plain_size()}) {
      const Bytes plain(size, std::byte{7});
      const Bytes cipher = key.public_key().encrypt(plain);
      EXPECT_EQ(cipher.size(), key.size());
      EXPECT_EQ(key.decrypt(cipher).value(), plain);
      EXPECT_NE(key.public_key().encrypt(plain), cipher);
    }
    const Bytes signature = key.sign(as_bytes("challenge"));
    for (const PssSalt salt : {PssSalt::kAny, PssSalt::kMaximum}) {
      EXPECT_TRUE(key.public_key().verify(as_bytes("challenge"), signature, salt).has_value());
      EXPECT_FALSE(key.public_key().verify(as_bytes("challengf"), signature, salt).has_value());
    }
    EXPECT_FALSE(
        key.public_key().verify(as_bytes("challenge"), signature, PssSalt::kDigest).has_value());
  }
}

TEST(Rsa, RecordedCiphertextsAndSignatures) {
  const RsaPrivateKey key = private_key("A");
  for (const auto& row : recorded().at("crypto").at("sign_with_A")) {
    const Bytes data = *from_hex(row.at("data").get<std::string>());
    const Bytes signature = *from_hex(row.at("signature").get<std::string>());
    EXPECT_TRUE(key.public_key().verify(data, signature, PssSalt::kAny).has_value());
    EXPECT_TRUE(key.public_key().verify(data, signature, PssSalt::kMaximum).has_value());
    EXPECT_FALSE(private_key("B").public_key().verify(data, signature).has_value());
  }
}

TEST(Rsa, DamageIsRefusedWhereverItIs) {
  const RsaPrivateKey key = private_key("A");
  const Bytes cipher = key.public_key().encrypt(as_bytes("hello"));
  const Bytes signature = key.sign(as_bytes("hello"));
  for (std::size_t at = 0; at < cipher.size(); at += 17) {
    Bytes damaged = cipher;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(key.decrypt(damaged).has_value()) << at;
    Bytes forged = signature;
    forged[at] ^= std::byte{1};
    EXPECT_FALSE(key.public_key().verify(as_bytes("hello"), forged).has_value()) << at;
  }
  EXPECT_FALSE(key.decrypt(ByteSpan(cipher).first(255)).has_value());
  EXPECT_FALSE(key.decrypt({}).has_value());
  EXPECT_FALSE(private_key("B").decrypt(cipher).has_value());
  // What failed leaves nothing behind for the next block, nor does a label.
  EXPECT_EQ(key.decrypt(cipher).value(), to_bytes(as_bytes("hello")));
  const Bytes labelled = key.public_key().encrypt(as_bytes("hello"), as_bytes("label"));
  EXPECT_FALSE(key.decrypt(labelled).has_value());
  EXPECT_EQ(key.decrypt(labelled, as_bytes("label")).value(), to_bytes(as_bytes("hello")));
  EXPECT_EQ(key.decrypt(cipher).value(), to_bytes(as_bytes("hello")));
}

TEST(Rsa, OneKeyServesManyThreads) {
  const RsaPrivateKey key = private_key("A");
  std::vector<std::thread> threads;
  for (int number = 0; number < 8; ++number) {
    threads.emplace_back([&key, number] {
      const Bytes plain(20, static_cast<std::byte>(number));
      for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(key.decrypt(key.public_key().encrypt(plain)).value(), plain);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace sealane::crypto
