#pragma once
// Key derivation: HKDF (RFC 5869), scrypt (RFC 7914), bcrypt_pbkdf (OpenSSH's private key files).
#include <cstdint>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::crypto {

// REQUIRES: out.size() <= 255 * 32 (or 64).
void hkdf_sha256(ByteSpan key_material, ByteSpan salt, ByteSpan info, MutableByteSpan out);
void hkdf_sha512(ByteSpan key_material, ByteSpan salt, ByteSpan info, MutableByteSpan out);

enum class KdfError : std::uint8_t { kLimits = 1, kOutOfMemory };

// N = 2^log2_n, memory 128 * r * N bytes. Refused with kLimits above 2 GiB of memory; callers set
// their own, lower bound. REQUIRES: 1 <= log2_n <= 63, r >= 1, p >= 1.
Result<void, KdfError> scrypt(ByteSpan passphrase, ByteSpan salt, unsigned log2_n, std::uint32_t r,
                              std::uint32_t p, MutableByteSpan out);

// kLimits: rounds 0, empty passphrase or salt, out empty or above 1024 bytes, salt above 1 MiB.
Result<void, KdfError> bcrypt_pbkdf(ByteSpan passphrase, ByteSpan salt, std::uint32_t rounds,
                                    MutableByteSpan out);

}  // namespace sealane::crypto
