#pragma once
// Secret: key material that is wiped, cannot be copied, and has one door.
#include <array>
#include <cstring>
#include <utility>

#include "sealane/base/bytes.h"

namespace sealane {

// Overwrites with zeros; never optimised away.
void cleanse(MutableByteSpan bytes);

// N bytes of key material. Move-only; wiped on destruction and when moved from. Tag names the kind.
template <class Tag, std::size_t N>
class Secret {
 public:
  static constexpr std::size_t kSize = N;
  explicit Secret(std::span<const std::byte, N> bytes) { std::ranges::copy(bytes, bytes_.begin()); }
  Secret(Secret&& other) noexcept : bytes_(other.bytes_) { other.wipe(); }
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      bytes_ = other.bytes_;
      other.wipe();
    }
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  // A deliberate second copy, named so that a reviewer can search for it.
  Secret duplicate() const { return Secret(std::span<const std::byte, N>(bytes_)); }
  // The one way to the bytes, named so that a reviewer can search for it. Valid while *this lives.
  std::span<const std::byte, N> expose() const { return bytes_; }

 private:
  void wipe() { cleanse(bytes_); }
  std::array<std::byte, N> bytes_;
};

// Secret bytes of a length known only at run time: passphrases, decrypted key files. Wiped when it
// dies, when moved from and when assigned to. Build it whole: it never grows, so no copy is left.
class SecretBytes {
 public:
  SecretBytes() = default;
  explicit SecretBytes(ByteSpan bytes) : bytes_(bytes.begin(), bytes.end()) {}
  explicit SecretBytes(std::string_view text) : SecretBytes(as_bytes(text)) {}
  explicit SecretBytes(std::size_t size) : bytes_(size) {}
  SecretBytes(SecretBytes&& other) noexcept : bytes_(std::move(other.bytes_)) {}
  SecretBytes& operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
      cleanse(bytes_);
      bytes_ = std::move(other.bytes_);
    }
    return *this;
  }
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { cleanse(bytes_); }

  ByteSpan expose() const { return bytes_; }
  std::string_view expose_text() const { return as_text(bytes_); }
  MutableByteSpan fill() { return bytes_; }  // for the code that creates it
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // Keeps the first `size` bytes, wipes the rest. REQUIRES: size <= size().
  void truncate(std::size_t size) {
    cleanse(MutableByteSpan(bytes_).subspan(size));
    bytes_.resize(size);
  }

 private:
  Bytes bytes_;
};

}  // namespace sealane
