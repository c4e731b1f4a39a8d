#pragma once
// Building blocks for foreign formats; new formats use aead.h. None of these authenticates.
#include <cstdint>
#include <memory>

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

// The original ChaCha20 (64-bit nonce, 64-bit block counter), one key, expanded. With an HChaCha20
// subkey and the last 8 bytes of its nonce it is XChaCha20. The key is wiped on destruction. Only
// the constructor allocates. Not thread-safe.
class ChaCha20 {
 public:
  static constexpr std::size_t kBlockSize = 64;
  using Nonce = std::span<const std::byte, 8>;
  explicit ChaCha20(std::span<const std::byte, 32> key);
  ~ChaCha20();
  ChaCha20(ChaCha20&&) noexcept;
  ChaCha20& operator=(ChaCha20&&) noexcept;
  // XORs the keystream from block `counter` on into `data`.
  void xor_in_place(Nonce nonce, std::uint64_t counter, MutableByteSpan data);
  // The same in pieces: start(), then proceed() with pieces of whole blocks but the last. For long
  // data that is touched a second time while it is in the cache.
  void start(Nonce nonce, std::uint64_t counter);
  void proceed(MutableByteSpan data);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Poly1305 as above, incremental, for long messages. Only the constructor allocates. Not
// thread-safe. start(), update()..., finish(); a key must be used for one message only.
class Poly1305 {
 public:
  Poly1305();
  ~Poly1305();
  Poly1305(Poly1305&&) noexcept;
  Poly1305& operator=(Poly1305&&) noexcept;
  void start(std::span<const std::byte, 32> one_time_key);
  void update(ByteSpan message);
  ByteArray<16> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// AES-256-CTR with a 128-bit big-endian counter block, as OpenSSH's aes256-ctr. In place allowed.
void aes256_ctr_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 16> iv,
                    ByteSpan in, MutableByteSpan out);

}  // namespace sealane::crypto
