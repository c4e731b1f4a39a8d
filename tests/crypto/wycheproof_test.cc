// Goal: the known traps of each primitive are avoided. Method: the vectors of the Wycheproof
// project, every case of every file; which cases cannot apply is decided by their parameters and
// counted, never by result.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "crypto/aead.h"
#include "crypto/aes_cbc.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "crypto/rsa.h"
#include "sealane/crypto/curve.h"
#include "tests/support/data_path.h"

namespace sealane::crypto {
namespace {

using nlohmann::json;

struct Counts {
  int valid = 0;
  int invalid = 0;
  int acceptable = 0;
  int not_applicable = 0;
};

Bytes bytes_of(const json& test, const char* key) {
  auto decoded = from_hex(test.at(key).get<std::string>());
  if (!decoded) throw std::runtime_error("not hex");
  return std::move(*decoded);
}
template <std::size_t N>
std::span<const std::byte, N> exactly(const Bytes& bytes) {
  if (bytes.size() != N) throw std::runtime_error("wrong size");
  return std::span<const std::byte, N>(bytes);
}
template <std::size_t N>
ByteArray<N> array_of(const Bytes& bytes) {
  ByteArray<N> out;
  std::ranges::copy(exactly<N>(bytes), out.begin());
  return out;
}

class Wycheproof : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* chosen = std::getenv("SEALANE_VECTORS");
    folder_ = std::filesystem::path(chosen != nullptr ? chosen : testing::shared_vectors()) /
              "wycheproof";
    if (!std::filesystem::exists(folder_)) {
      GTEST_SKIP() << "Wycheproof vectors: no folder " << folder_.filename()
                   << " in SEALANE_VECTORS or its default place";
    }
  }

  // Calls check(group, test, expected result) for every case; it says whether the case applies.
  // Then the counts must add up to what the file says of itself.
  template <class Check>
  void run(const std::string& name, const Check& check) {
    std::ifstream file(folder_ / (name + "_test.json"));
    ASSERT_TRUE(file) << name;
    const json content = json::parse(file);
    Counts counts;
    for (const json& group : content.at("testGroups")) {
      for (const json& test : group.at("tests")) {
        const auto result = test.at("result").get<std::string>();
        SCOPED_TRACE(name + " " + std::to_string(test.at("tcId").get<int>()) + " " + result + " " +
                     test.at("comment").get<std::string>());
        if (!check(group, test, result == "valid")) {
          ++counts.not_applicable;
        } else if (result == "valid") {
          ++counts.valid;
        } else if (result == "invalid") {
          ++counts.invalid;
        } else {
          ASSERT_EQ(result, "acceptable");
          ++counts.acceptable;
        }
      }
    }
    std::cout << name << ": " << counts.valid << " valid, " << counts.invalid << " invalid, "
              << counts.acceptable << " acceptable, " << counts.not_applicable
              << " not applicable\n";
    EXPECT_EQ(counts.valid + counts.invalid + counts.acceptable + counts.not_applicable,
              content.at("numberOfTests").get<int>());
    EXPECT_GT(counts.valid, 0);
  }

  // `make` gives the AEAD for a key and the whole nonce, and cuts the latter to its 12 bytes.
  template <class Make>
  void run_aead(const std::string& name, int nonce_bits, const Make& make) {
    run(name, [&](const json& group, const json& test, bool valid) {
      if (group.at("keySize") != 256 || group.at("ivSize") != nonce_bits ||
          group.at("tagSize") != 128) {
        return false;
      }
      const Bytes message = bytes_of(test, "msg");
      const Bytes associated_data = bytes_of(test, "aad");
      Bytes sealed = bytes_of(test, "ct");
      const Bytes tag = bytes_of(test, "tag");
      sealed.insert(sealed.end(), tag.begin(), tag.end());
      const auto [aead, nonce] = make(bytes_of(test, "key"), bytes_of(test, "iv"));
      Bytes opened(sealed.size() - kAeadTagSize, std::byte{0xee});
      const bool authentic = aead->open(nonce, associated_data, sealed, opened).has_value();
      EXPECT_EQ(authentic, valid);
      if (valid) {
        EXPECT_EQ(to_hex(opened), to_hex(message));
        Bytes out(message.size() + kAeadTagSize);
        aead->seal(nonce, associated_data, message, out);
        EXPECT_EQ(to_hex(out), to_hex(sealed));
      } else {
        EXPECT_EQ(opened, Bytes(opened.size()));
      }
      return true;
    });
  }

  template <class Hkdf>
  void run_hkdf(const std::string& name, std::size_t limit, const Hkdf& hkdf) {
    run(name, [&](const json&, const json& test, bool valid) {
      Bytes out(test.at("size").get<std::size_t>());
      if (!valid) {
        // Only the size can be wrong, and that is for the caller to know (REQUIRES).
        EXPECT_GT(out.size(), limit);
        EXPECT_DEATH(
            hkdf(bytes_of(test, "ikm"), bytes_of(test, "salt"), bytes_of(test, "info"), out),
            "out.size");
        return true;
      }
      hkdf(bytes_of(test, "ikm"), bytes_of(test, "salt"), bytes_of(test, "info"), out);
      EXPECT_EQ(to_hex(out), test.at("okm").get<std::string>());
      return true;
    });
  }

  std::filesystem::path folder_;
};

struct PreparedAead {
  std::unique_ptr<Aead> aead;
  AeadNonce nonce;
};

TEST_F(Wycheproof, AesGcmByOpenSsl) {
  run_aead("aes_gcm", 96, [](const Bytes& key, const Bytes& nonce) {
    return PreparedAead{
        make_aead(AeadAlgorithm::kAes256Gcm, AeadKey(exactly<32>(key)), AeadEngine::kOpenSsl),
        array_of<12>(nonce)};
  });
}

TEST_F(Wycheproof, AesGcmByVaes) {
  if (!aead_engine_available(AeadAlgorithm::kAes256Gcm, AeadEngine::kVaes)) {
    GTEST_SKIP() << "the CPU lacks VAES or VPCLMULQDQ, or SEALANE_CPU=generic";
  }
  run_aead("aes_gcm", 96, [](const Bytes& key, const Bytes& nonce) {
    return PreparedAead{
        make_aead(AeadAlgorithm::kAes256Gcm, AeadKey(exactly<32>(key)), AeadEngine::kVaes),
        array_of<12>(nonce)};
  });
}

TEST_F(Wycheproof, AesGcmByIpsecMb) {
  if (!aead_engine_available(AeadAlgorithm::kAes256Gcm, AeadEngine::kIpsecMb)) {
    GTEST_SKIP() << "libipsec-mb: not in this build, or the CPU lacks AVX-512, or "
                    "SEALANE_CPU=generic";
  }
  run_aead("aes_gcm", 96, [](const Bytes& key, const Bytes& nonce) {
    return PreparedAead{
        make_aead(AeadAlgorithm::kAes256Gcm, AeadKey(exactly<32>(key)), AeadEngine::kIpsecMb),
        array_of<12>(nonce)};
  });
}

void run_aes_cbc(const json& test, bool valid, AesCbcEngine engine) {
  const Bytes message = bytes_of(test, "msg");
  const Bytes ciphertext = bytes_of(test, "ct");
  const auto cipher = make_aes_cbc(AesCbcKey(exactly<16>(bytes_of(test, "key"))),
                                   AesCbcIv(exactly<16>(bytes_of(test, "iv"))), engine);
  // An empty one cannot be said in our types: whoever cuts chunks refuses it.
  if (ciphertext.empty()) {
    EXPECT_FALSE(valid);
    return;
  }
  Bytes opened(ciphertext.size());
  const AesCbc::Opened result = cipher->decrypt(ciphertext, opened);
  EXPECT_EQ(result.padding_good, valid);
  if (!valid) return;
  EXPECT_EQ(to_hex(ByteSpan(opened).first(result.size)), to_hex(message));
  Bytes out(AesCbc::padded_size(message.size()));
  const AesCbc::Piece piece{message, out};
  cipher->encrypt(std::span(&piece, 1));
  EXPECT_EQ(to_hex(out), to_hex(ciphertext));
}

TEST_F(Wycheproof, AesCbcPkcs5) {
  run("aes_cbc_pkcs5", [](const json& group, const json& test, bool valid) {
    if (group.at("keySize") != 128) return false;
    run_aes_cbc(test, valid, AesCbcEngine::kOpenSsl);
    if (aes_cbc_engine_available(AesCbcEngine::kIpsecMb)) {
      run_aes_cbc(test, valid, AesCbcEngine::kIpsecMb);
    }
    return true;
  });
}

TEST_F(Wycheproof, ChaCha20Poly1305ByOpenSsl) {
  run_aead("chacha20_poly1305", 96, [](const Bytes& key, const Bytes& nonce) {
    return PreparedAead{make_aead(AeadAlgorithm::kChaCha20Poly1305, AeadKey(exactly<32>(key)),
                                  AeadEngine::kOpenSsl),
                        array_of<12>(nonce)};
  });
}

TEST_F(Wycheproof, ChaCha20Poly1305ByIpsecMb) {
  if (!aead_engine_available(AeadAlgorithm::kChaCha20Poly1305, AeadEngine::kIpsecMb)) {
    GTEST_SKIP() << "libipsec-mb: not in this build, or the CPU lacks AVX-512, or "
                    "SEALANE_CPU=generic";
  }
  run_aead("chacha20_poly1305", 96, [](const Bytes& key, const Bytes& nonce) {
    return PreparedAead{make_aead(AeadAlgorithm::kChaCha20Poly1305, AeadKey(exactly<32>(key)),
                                  AeadEngine::kIpsecMb),
                        array_of<12>(nonce)};
  });
}

// XChaCha20-Poly1305: the subkey of HChaCha20 from the first 16 bytes of the nonce; then
// ChaCha20-Poly1305 with four zeros and the other 8 (draft-irtf-cfrg-xchacha-03, 2.3).
TEST_F(Wycheproof, XChaCha20Poly1305) {
  run_aead("xchacha20_poly1305", 192, [](const Bytes& key, const Bytes& nonce) {
    ByteArray<32> subkey;
    hchacha20(exactly<32>(key), exactly<24>(nonce).first<16>(), subkey);
    AeadNonce short_nonce{};
    std::ranges::copy(exactly<24>(nonce).last<8>(), short_nonce.begin() + 4);
    return PreparedAead{make_aead(AeadAlgorithm::kChaCha20Poly1305, AeadKey(subkey)), short_nonce};
  });
}

TEST_F(Wycheproof, Ed25519) {
  run("ed25519", [](const json& group, const json& test, bool valid) {
    const Ed25519Public key{array_of<32>(bytes_of(group.at("publicKey"), "pk"))};
    const Bytes signature = bytes_of(test, "sig");
    // Other sizes cannot be said in our types: whoever parses a signature refuses them.
    if (signature.size() != 64) {
      EXPECT_FALSE(valid);
      return false;
    }
    const auto verified = ed25519_verify(key, bytes_of(test, "msg"), array_of<64>(signature));
    EXPECT_EQ(verified.has_value(), valid);
    return true;
  });
}

TEST_F(Wycheproof, X25519) {
  int refused = 0;
  run("x25519", [&](const json&, const json& test, bool valid) {
    const Bytes private_bytes = bytes_of(test, "private");
    const X25519Private key(exactly<32>(private_bytes));
    const auto shared = x25519(key, array_of<32>(bytes_of(test, "public")));
    // "Acceptable" are points that strict code may refuse; we refuse those, and only those, that
    // give an all-zero secret.
    const std::string expected = test.at("shared").get<std::string>();
    const bool zero = expected.find_first_not_of('0') == std::string::npos;
    EXPECT_EQ(shared.has_value(), !zero);
    if (shared.has_value()) {
      EXPECT_EQ(to_hex(shared.value().expose()), expected);
    } else {
      EXPECT_EQ(shared.error(), CurveError::kLowOrder);
      EXPECT_FALSE(valid);
      ++refused;
    }
    return true;
  });
  std::cout << "x25519: " << refused << " of the acceptable refused as of low order\n";
  EXPECT_GT(refused, 0);
}

TEST_F(Wycheproof, RsaOaep2048Sha256) {
  std::optional<RsaPrivateKey> key;  // one group: checking it costs more than all the tests
  run("rsa_oaep_2048_sha256_mgf1sha256", [&](const json& group, const json& test, bool valid) {
    if (!key) {
      key = RsaPrivateKey::from_pem(as_bytes(group.at("privateKeyPem").get<std::string>())).value();
    }
    const Bytes message = bytes_of(test, "msg");
    const Bytes label = bytes_of(test, "label");
    const auto opened = key->decrypt(bytes_of(test, "ct"), label);
    EXPECT_EQ(opened.has_value(), valid);
    if (valid) {
      EXPECT_EQ(opened.value(), message);
      const Bytes again = key->public_key().encrypt(message, label);
      EXPECT_EQ(key->decrypt(again, label).value(), message);
    }
    return true;
  });
}

TEST_F(Wycheproof, RsaPss2048Sha256) {
  int other_salt = 0;
  run("rsa_pss_2048_sha256_mgf1_32", [&](const json& group, const json& test, bool valid) {
    const auto pem = group.at("publicKeyPem").get<std::string>();
    const auto key = RsaPublicKey::from_pem(as_bytes(pem));
    EXPECT_TRUE(key.has_value());
    const Bytes message = bytes_of(test, "msg");
    const Bytes signature = bytes_of(test, "sig");
    EXPECT_EQ(key.value().verify(message, signature, PssSalt::kDigest).has_value(), valid);
    // With any salt, those are right as well whose only fault is another salt length.
    const bool salt = test.at("comment").get<std::string>().starts_with("s_len changed to");
    EXPECT_EQ(key.value().verify(message, signature, PssSalt::kAny).has_value(), valid || salt);
    const bool longest = test.at("comment") == "s_len changed to 222";
    EXPECT_EQ(key.value().verify(message, signature, PssSalt::kMaximum).has_value(), longest);
    if (salt) ++other_salt;
    return true;
  });
  EXPECT_EQ(other_salt, 6);
}

TEST_F(Wycheproof, HkdfSha256) { run_hkdf("hkdf_sha256", 255 * 32, &hkdf_sha256); }
TEST_F(Wycheproof, HkdfSha512) { run_hkdf("hkdf_sha512", 255 * 64, &hkdf_sha512); }

TEST_F(Wycheproof, HmacSha256) {
  run("hmac_sha256", [](const json& group, const json& test, bool valid) {
    const Bytes tag = bytes_of(test, "tag");
    const Sha256Digest full = hmac_sha256(bytes_of(test, "key"), bytes_of(test, "msg"));
    const std::size_t size = group.at("tagSize").get<std::size_t>() / 8;
    EXPECT_EQ(constant_time_equal(ByteSpan(full).first(size), tag), valid);
    return true;
  });
}

}  // namespace
}  // namespace sealane::crypto
