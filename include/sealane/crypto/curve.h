#pragma once
// X25519 (RFC 7748) and Ed25519 (RFC 8032).
#include <cstdint>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

enum class CurveError : std::uint8_t {
  kLowOrder = 1,  // the shared secret would be all zeros
  kBadPoint,      // not a point, or of small order
  kBadSignature,
};

using X25519Private = Secret<struct X25519PrivateTag, 32>;
using X25519Public = ByteArray<32>;
using SharedSecret = Secret<struct SharedSecretTag, 32>;

X25519Private x25519_generate(RandomSource& random);
X25519Public x25519_public(const X25519Private& key);
// kLowOrder for an all-zero result, so a peer cannot choose the secret (RFC 7748, 6.1).
Result<SharedSecret, CurveError> x25519(const X25519Private& key, const X25519Public& peer);

using Ed25519Seed = Secret<struct Ed25519SeedTag, 32>;
struct Ed25519Public {
  ByteArray<32> bytes{};
  friend auto operator<=>(const Ed25519Public&, const Ed25519Public&) = default;
};
using Ed25519Signature = ByteArray<64>;

Ed25519Seed ed25519_generate(RandomSource& random);
Ed25519Public ed25519_public(const Ed25519Seed& seed);
Ed25519Signature ed25519_sign(const Ed25519Seed& seed, ByteSpan message);
// Strict: canonical S, no small-order key. kBadPoint or kBadSignature.
Result<void, CurveError> ed25519_verify(const Ed25519Public& key, ByteSpan message,
                                        const Ed25519Signature& signature);
// The birationally equivalent X25519 keys (age's ssh-ed25519 stanza). kBadPoint for small order.
Result<X25519Public, CurveError> ed25519_to_x25519(const Ed25519Public& key);
X25519Private ed25519_to_x25519(const Ed25519Seed& seed);

}  // namespace sealane::crypto
