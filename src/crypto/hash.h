#pragma once
// Hashes and what is made of them: SHA-256, SHA-512 (FIPS 180-4), SHA3-256 (FIPS 202), HMAC
// (RFC 2104), BLAKE3.
#include <array>
#include <memory>

#include "sealane/base/bytes.h"

namespace sealane::crypto {

using Sha256Digest = ByteArray<32>;
using Sha512Digest = ByteArray<64>;
using Blake3Digest = ByteArray<32>;

// Incremental. Not thread-safe. After finish() it is as new.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(ByteSpan data);
  Sha256Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class Sha512 {
 public:
  Sha512();
  ~Sha512();
  Sha512(Sha512&&) noexcept;
  Sha512& operator=(Sha512&&) noexcept;
  void update(ByteSpan data);
  Sha512Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256Digest sha256(ByteSpan data);
Sha512Digest sha512(ByteSpan data);
using Sha3Digest = ByteArray<32>;
Sha3Digest sha3_256(ByteSpan data);
Sha256Digest hmac_sha256(ByteSpan key, ByteSpan data);
Sha512Digest hmac_sha512(ByteSpan key, ByteSpan data);

// A part of an input to the plain BLAKE3 hash, hashed apart from the rest and on any thread. Its
// size is a power of two from kMinSize on, and divides its offset, so that it is a whole tree.
class Blake3Part {
 public:
  static constexpr std::size_t kMinSize = 2048;
  Blake3Part(std::uint64_t offset, ByteSpan data);
  std::uint64_t offset() const { return offset_; }
  std::size_t size() const { return size_; }

 private:
  friend class Blake3;
  std::uint64_t offset_;
  std::size_t size_;
  std::array<std::array<std::uint32_t, 8>, 2> halves_;  // their chaining values
};

// BLAKE3 (the paper of 2020-01-09), whole: hash, keyed hash, key derivation, extendable output.
// Incremental; not thread-safe. SEALANE_CPU=generic in the environment keeps to code for every CPU.
class Blake3 {
 public:
  Blake3();                                             // hash
  explicit Blake3(std::span<const std::byte, 32> key);  // keyed hash
  static Blake3 derive_key(std::string_view context);   // then update() with the key material
  ~Blake3();
  Blake3(Blake3&&) noexcept;
  Blake3& operator=(Blake3&&) noexcept;
  void update(ByteSpan data);
  void update(const Blake3Part& part);  // the plain hash only, after part.offset() bytes of input
  // Output bytes from `offset` on; may be called often, at any length. More update() may follow.
  void finish(MutableByteSpan out, std::uint64_t offset = 0) const;

 private:
  struct State;
  explicit Blake3(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};
Blake3Digest blake3(ByteSpan data);

// Compares without a branch on the content. Different sizes: false.
bool constant_time_equal(ByteSpan a, ByteSpan b);

}  // namespace sealane::crypto
