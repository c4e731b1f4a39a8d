#pragma once
// Building blocks for foreign formats; new formats use aead.h. None of these authenticates.
#include <cstdint>

#include "sealane/base/bytes.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

// ChaCha20 of RFC 8439 (32-bit block counter, 96-bit nonce). In place allowed. REQUIRES: equal
// sizes, and the counter does not wrap.
void chacha20_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 12> nonce,
                  std::uint32_t counter, ByteSpan in, MutableByteSpan out);
// HChaCha20 (draft-irtf-cfrg-xchacha-03, 2.2): the subkey of XChaCha20.
void hchacha20(std::span<const std::byte, 32> key, std::span<const std::byte, 16> input,
               std::span<std::byte, 32> out);
// Poly1305 of RFC 8439, 2.5. The key must be used for one message only.
ByteArray<16> poly1305(std::span<const std::byte, 32> one_time_key, ByteSpan message);
// AES-256-CTR with a 128-bit big-endian counter block, as OpenSSH's aes256-ctr. In place allowed.
void aes256_ctr_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 16> iv,
                    ByteSpan in, MutableByteSpan out);

}  // namespace sealane::crypto
