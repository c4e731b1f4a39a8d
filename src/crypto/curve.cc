#include "sealane/crypto/curve.h"

#include "crypto/sodium.h"

namespace sealane::crypto {
namespace {

// libsodium's secret key: the seed, then the public key.
using ExpandedSeed = Secret<struct ExpandedSeedTag, crypto_sign_ed25519_SECRETKEYBYTES>;

ExpandedSeed expand(const Ed25519Seed& seed, Ed25519Public& public_key) {
  ensure_sodium();
  ByteArray<crypto_sign_ed25519_SECRETKEYBYTES> bytes;
  crypto_sign_ed25519_seed_keypair(as_uchar(MutableByteSpan(public_key.bytes)),
                                   as_uchar(MutableByteSpan(bytes)), as_uchar(seed.expose()));
  ExpandedSeed expanded(bytes);
  cleanse(bytes);
  return expanded;
}

template <class Key>
Key generate(RandomSource& random) {
  ByteArray<32> bytes;
  random.fill(bytes);
  Key key(bytes);
  cleanse(bytes);
  return key;
}

}  // namespace

X25519Private x25519_generate(RandomSource& random) { return generate<X25519Private>(random); }

X25519Public x25519_public(const X25519Private& key) {
  ensure_sodium();
  X25519Public result;
  SEALANE_CHECK(crypto_scalarmult_curve25519_base(as_uchar(MutableByteSpan(result)),
                                                  as_uchar(key.expose())) == 0);
  return result;
}

Result<SharedSecret, CurveError> x25519(const X25519Private& key, const X25519Public& peer) {
  ensure_sodium();
  ByteArray<32> bytes{};
  const int done = crypto_scalarmult_curve25519(as_uchar(MutableByteSpan(bytes)),
                                                as_uchar(key.expose()), as_uchar(ByteSpan(peer)));
  SharedSecret shared(bytes);
  cleanse(bytes);
  if (done != 0) return CurveError::kLowOrder;
  return shared;
}

Ed25519Seed ed25519_generate(RandomSource& random) { return generate<Ed25519Seed>(random); }

Ed25519Public ed25519_public(const Ed25519Seed& seed) {
  Ed25519Public public_key;
  const ExpandedSeed expanded = expand(seed, public_key);
  return public_key;
}

Ed25519Signature ed25519_sign(const Ed25519Seed& seed, ByteSpan message) {
  // The public key is computed anew: signing with a wrong one would give the seed away.
  Ed25519Public public_key;
  const ExpandedSeed expanded = expand(seed, public_key);
  Ed25519Signature signature;
  SEALANE_CHECK(crypto_sign_ed25519_detached(as_uchar(MutableByteSpan(signature)), nullptr,
                                             as_uchar(message), message.size(),
                                             as_uchar(expanded.expose())) == 0);
  return signature;
}

Result<void, CurveError> ed25519_verify(const Ed25519Public& key, ByteSpan message,
                                        const Ed25519Signature& signature) {
  ensure_sodium();
  const auto* point = as_uchar(ByteSpan(key.bytes));
  if (crypto_sign_ed25519_verify_detached(as_uchar(ByteSpan(signature)), as_uchar(message),
                                          message.size(), point) == 0) {
    return success();
  }
  // Only now, since it costs as much as the verification.
  if (crypto_core_ed25519_is_valid_point(point) != 1) return CurveError::kBadPoint;
  return CurveError::kBadSignature;
}

Result<X25519Public, CurveError> ed25519_to_x25519(const Ed25519Public& key) {
  ensure_sodium();
  X25519Public result;
  if (crypto_sign_ed25519_pk_to_curve25519(as_uchar(MutableByteSpan(result)),
                                           as_uchar(ByteSpan(key.bytes))) != 0) {
    return CurveError::kBadPoint;
  }
  return result;
}

X25519Private ed25519_to_x25519(const Ed25519Seed& seed) {
  ensure_sodium();
  // The first half of SHA-512 of the seed, clamped (RFC 8032, 5.1.5); the rest of libsodium's
  // secret key, the public key, plays no part here.
  Ed25519Public public_key;
  const ExpandedSeed expanded = expand(seed, public_key);
  ByteArray<32> bytes;
  SEALANE_CHECK(crypto_sign_ed25519_sk_to_curve25519(as_uchar(MutableByteSpan(bytes)),
                                                     as_uchar(expanded.expose())) == 0);
  X25519Private key(bytes);
  cleanse(bytes);
  return key;
}

}  // namespace sealane::crypto
