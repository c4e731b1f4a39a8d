#include "crypto/hash.h"

#include <openssl/crypto.h>

#include <utility>

#include "base/copy_bytes.h"
#include "crypto/openssl.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {
namespace {

const EVP_MD* sha256_method() {
  static const EVP_MD* const method = fetch_digest("SHA256");
  return method;
}
const EVP_MD* sha512_method() {
  static const EVP_MD* const method = fetch_digest("SHA512");
  return method;
}

void start(EVP_MD_CTX* context, const EVP_MD* method) {
  SEALANE_CHECK(EVP_DigestInit_ex2(context, method, nullptr) == 1);
}

template <class Digest>
Digest finish_and_restart(EVP_MD_CTX* context) {
  Digest digest;
  unsigned size = 0;
  SEALANE_CHECK(EVP_DigestFinal_ex(context, as_uchar(MutableByteSpan(digest)), &size) == 1);
  SEALANE_CHECK(size == digest.size());
  start(context, nullptr);
  return digest;
}

// RFC 2104, section 2. The hash object's memory, which depends on the key, is wiped by its owner.
template <class Hash, class Digest, std::size_t kBlockSize>
Digest hmac(ByteSpan key, ByteSpan data) {
  ByteArray<kBlockSize> pad{};
  Hash hash;
  if (key.size() > kBlockSize) {
    hash.update(key);
    Digest short_key = hash.finish();
    copy_bytes(short_key, pad.begin());
    cleanse(short_key);
  } else {
    copy_bytes(key, pad.begin());
  }
  for (std::byte& b : pad) b ^= std::byte{0x36};
  hash.update(pad);
  hash.update(data);
  Digest inner = hash.finish();
  for (std::byte& b : pad) b ^= std::byte{0x36 ^ 0x5c};
  hash.update(pad);
  hash.update(inner);
  cleanse(pad);
  cleanse(inner);
  return hash.finish();
}

}  // namespace

struct Sha256::State {
  DigestContext context = make_digest_context();
};
Sha256::Sha256() : state_(std::make_unique<State>()) {
  start(state_->context.get(), sha256_method());
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;
void Sha256::update(ByteSpan data) {
  SEALANE_CHECK(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()) == 1);
}
Sha256Digest Sha256::finish() { return finish_and_restart<Sha256Digest>(state_->context.get()); }

struct Sha512::State {
  DigestContext context = make_digest_context();
};
Sha512::Sha512() : state_(std::make_unique<State>()) {
  start(state_->context.get(), sha512_method());
}
Sha512::~Sha512() = default;
Sha512::Sha512(Sha512&&) noexcept = default;
Sha512& Sha512::operator=(Sha512&&) noexcept = default;
void Sha512::update(ByteSpan data) {
  SEALANE_CHECK(EVP_DigestUpdate(state_->context.get(), data.data(), data.size()) == 1);
}
Sha512Digest Sha512::finish() { return finish_and_restart<Sha512Digest>(state_->context.get()); }

Sha256Digest sha256(ByteSpan data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}
Sha512Digest sha512(ByteSpan data) {
  Sha512 hash;
  hash.update(data);
  return hash.finish();
}
Sha3Digest sha3_256(ByteSpan data) {
  static const EVP_MD* const method = fetch_digest("SHA3-256");
  Sha3Digest digest;
  SEALANE_CHECK(EVP_Digest(data.data(), data.size(), as_uchar(MutableByteSpan(digest)), nullptr,
                           method, nullptr) == 1);
  return digest;
}

Sha256Digest hmac_sha256(ByteSpan key, ByteSpan data) {
  return hmac<Sha256, Sha256Digest, 64>(key, data);
}
Sha512Digest hmac_sha512(ByteSpan key, ByteSpan data) {
  return hmac<Sha512, Sha512Digest, 128>(key, data);
}

bool constant_time_equal(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace sealane::crypto
