// bcrypt_pbkdf as OpenSSH uses it: PBKDF2's shape, with a bcrypt over SHA-512 hashes as its
// function and the output bytes spread over the blocks.
#include "base/byte_reader.h"
#include "crypto/blowfish_tables.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {
namespace {

constexpr std::size_t kMaxOutput = 1024;
constexpr std::size_t kMaxSalt = 1 << 20;
constexpr std::size_t kBlockSize = 32;

using Key = std::array<std::uint32_t, 16>;  // a SHA-512 hash in big-endian words

Key load_key(const Sha512Digest& digest) {
  Key key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = load<std::uint32_t>(ByteSpan(digest).subspan(4 * i, 4));
  }
  return key;
}

template <class T>
void cleanse_object(T& object) {
  cleanse(std::as_writable_bytes(std::span(&object, 1)));
}

// Schneier's Blowfish with the expensive key schedule of bcrypt. Its table look-ups depend on the
// key; that is how it is defined.
class Blowfish {
 public:
  Blowfish() {
    const auto* next = kPiFraction.begin();
    for (std::uint32_t& word : p_) word = *next++;
    for (auto& box : s_) {
      for (std::uint32_t& word : box) word = *next++;
    }
  }
  Blowfish(const Blowfish&) = delete;
  Blowfish& operator=(const Blowfish&) = delete;
  ~Blowfish() {
    cleanse_object(p_);
    cleanse_object(s_);
  }

  void expand(const Key& key) { expand(Key{}, key); }
  void expand(const Key& salt, const Key& key) {
    for (std::size_t i = 0; i < p_.size(); ++i) p_[i] ^= key[i % key.size()];
    std::uint32_t left = 0;
    std::uint32_t right = 0;
    std::size_t at = 0;
    const auto refill = [&](std::span<std::uint32_t> words) {
      for (std::size_t i = 0; i < words.size(); i += 2) {
        left ^= salt[at];
        right ^= salt[at + 1];
        at = (at + 2) % salt.size();
        encrypt(left, right);
        words[i] = left;
        words[i + 1] = right;
      }
    };
    refill(p_);
    for (auto& box : s_) refill(box);
  }

  void encrypt(std::uint32_t& left, std::uint32_t& right) const {
    std::uint32_t l = left ^ p_[0];
    std::uint32_t r = right;
    for (std::size_t i = 1; i < 17; i += 2) {
      r ^= mix(l) ^ p_[i];
      l ^= mix(r) ^ p_[i + 1];
    }
    left = r ^ p_[17];
    right = l;
  }

 private:
  std::uint32_t mix(std::uint32_t x) const {
    return ((s_[0][x >> 24] + s_[1][(x >> 16) & 0xff]) ^ s_[2][(x >> 8) & 0xff]) + s_[3][x & 0xff];
  }

  std::array<std::uint32_t, 18> p_;
  std::array<std::array<std::uint32_t, 256>, 4> s_;
};

ByteArray<kBlockSize> bcrypt_hash(const Key& passphrase, const Key& salt) {
  Blowfish cipher;
  cipher.expand(salt, passphrase);
  for (int i = 0; i < 64; ++i) {
    cipher.expand(salt);
    cipher.expand(passphrase);
  }
  constexpr std::string_view kMagic = "OxychromaticBlowfishSwatDynamite";
  ByteArray<kBlockSize> out;
  for (std::size_t at = 0; at < kBlockSize; at += 8) {
    auto left = load<std::uint32_t>(as_bytes(kMagic.substr(at, 4)));
    auto right = load<std::uint32_t>(as_bytes(kMagic.substr(at + 4, 4)));
    for (int i = 0; i < 64; ++i) cipher.encrypt(left, right);
    store_integer(MutableByteSpan(out).subspan(at), left, Endian::kLittle);
    store_integer(MutableByteSpan(out).subspan(at + 4), right, Endian::kLittle);
  }
  return out;
}

}  // namespace

Result<void, KdfError> bcrypt_pbkdf(ByteSpan passphrase, ByteSpan salt, std::uint32_t rounds,
                                    MutableByteSpan out) {
  if (rounds == 0 || passphrase.empty() || salt.empty() || salt.size() > kMaxSalt || out.empty() ||
      out.size() > kMaxOutput) {
    return KdfError::kLimits;
  }
  Sha512Digest digest = sha512(passphrase);
  Key key = load_key(digest);
  const std::size_t block_count = (out.size() + kBlockSize - 1) / kBlockSize;
  for (std::size_t block = 0; block < block_count; ++block) {
    Sha512 hash;
    ByteArray<4> number;
    store_integer(number, static_cast<std::uint32_t>(block + 1));
    hash.update(salt);
    hash.update(number);
    Key round_salt = load_key(hash.finish());
    ByteArray<kBlockSize> round = bcrypt_hash(key, round_salt);
    ByteArray<kBlockSize> sum = round;
    for (std::uint32_t i = 1; i < rounds; ++i) {
      hash.update(round);
      round_salt = load_key(hash.finish());
      round = bcrypt_hash(key, round_salt);
      for (std::size_t j = 0; j < kBlockSize; ++j) sum[j] ^= round[j];
    }
    // Byte j of block b is output byte j * block_count + b.
    for (std::size_t j = 0; j < kBlockSize && j * block_count + block < out.size(); ++j) {
      out[j * block_count + block] = sum[j];
    }
    cleanse_object(round_salt);
    cleanse(round);
    cleanse(sum);
  }
  cleanse(digest);
  cleanse_object(key);
  return success();
}

}  // namespace sealane::crypto
