#pragma once
// ByteReader, ByteWriter: the one place where integers meet bytes.
#include <array>
#include <bit>
#include <concepts>
#include <cstdint>
#include <optional>

#include "base/check.h"
#include "sealane/base/bytes.h"

namespace sealane {

enum class Endian : std::uint8_t { kBig, kLittle };

// The bytes of `value` in the other order.
template <class T>
constexpr T swap_bytes(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return static_cast<T>(__builtin_bswap16(value));
  if constexpr (sizeof(T) == 4) return static_cast<T>(__builtin_bswap32(value));
  if constexpr (sizeof(T) == 8) return static_cast<T>(__builtin_bswap64(value));
}
constexpr bool is_native(Endian endian) {
  return (endian == Endian::kLittle) == (std::endian::native == std::endian::little);
}

// Both are one instruction or two: g++ 12 leaves a loop over the bytes one.
//
// Writes `value` at the start of `out`. REQUIRES: out.size() >= sizeof(T).
template <std::unsigned_integral T>
constexpr void store_integer(MutableByteSpan out, T value, Endian endian = Endian::kBig) {
  if (!is_native(endian)) value = swap_bytes(value);
  const auto bytes = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
  for (std::size_t i = 0; i < sizeof(T); ++i) out[i] = bytes[i];
}
// REQUIRES: in.size() >= sizeof(T).
template <std::unsigned_integral T>
constexpr T load(ByteSpan in, Endian endian = Endian::kBig) {
  std::array<std::byte, sizeof(T)> bytes{};
  for (std::size_t i = 0; i < sizeof(T); ++i) bytes[i] = in[i];
  const T value = std::bit_cast<T>(bytes);
  return is_native(endian) ? value : swap_bytes(value);
}

// Reads from a span that must outlive it. Every read says whether enough was left; after a failed
// one nothing was consumed. End a decoder with empty().
class ByteReader {
 public:
  explicit ByteReader(ByteSpan input) : rest_(input) {}

  template <class T>
  std::optional<T> integer(Endian endian = Endian::kBig) {
    if (rest_.size() < sizeof(T)) return std::nullopt;
    const T value = load<T>(rest_, endian);
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::optional<std::uint8_t> u8() { return integer<std::uint8_t>(); }
  std::optional<std::uint16_t> u16() { return integer<std::uint16_t>(); }
  std::optional<std::uint32_t> u32() { return integer<std::uint32_t>(); }
  std::optional<std::uint64_t> u64() { return integer<std::uint64_t>(); }

  std::optional<ByteSpan> bytes(std::size_t count) {
    if (rest_.size() < count) return std::nullopt;
    const ByteSpan taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  template <std::size_t N>
  std::optional<ByteArray<N>> array() {
    const auto taken = bytes(N);
    if (!taken) return std::nullopt;
    ByteArray<N> out;
    std::ranges::copy(*taken, out.begin());
    return out;
  }
  // A big-endian 32-bit length and that many bytes (the SSH "string"); refused above `limit`.
  std::optional<ByteSpan> u32_prefixed(std::size_t limit) {
    ByteReader probe(rest_);
    const auto size = probe.u32();
    if (!size || *size > limit) return std::nullopt;
    const auto taken = probe.bytes(*size);
    if (taken) rest_ = probe.rest_;
    return taken;
  }

  ByteSpan rest() const { return rest_; }
  std::size_t remaining() const { return rest_.size(); }
  bool empty() const { return rest_.empty(); }

 private:
  ByteSpan rest_;
};

// Appends to a buffer of its own. Not for secrets: growing leaves copies behind.
class ByteWriter {
 public:
  template <class T>
  ByteWriter& integer(T value, Endian endian = Endian::kBig) {
    const std::size_t at = buffer_.size();
    buffer_.resize(at + sizeof(T));
    store_integer(MutableByteSpan(buffer_).subspan(at), value, endian);
    return *this;
  }
  ByteWriter& u8(std::uint8_t value) { return integer(value); }
  ByteWriter& u16(std::uint16_t value) { return integer(value); }
  ByteWriter& u32(std::uint32_t value) { return integer(value); }
  ByteWriter& u64(std::uint64_t value) { return integer(value); }
  ByteWriter& bytes(ByteSpan data) {
    buffer_.insert(buffer_.end(), data.begin(), data.end());
    return *this;
  }
  ByteWriter& text(std::string_view data) { return bytes(as_bytes(data)); }
  // REQUIRES: data.size() fits in 32 bits.
  ByteWriter& u32_prefixed(ByteSpan data) {
    SEALANE_CHECK(data.size() <= 0xffffffffu);
    return u32(static_cast<std::uint32_t>(data.size())).bytes(data);
  }
  ByteWriter& u32_prefixed(std::string_view data) { return u32_prefixed(as_bytes(data)); }

  ByteSpan view() const { return buffer_; }
  Bytes take() { return std::move(buffer_); }

 private:
  Bytes buffer_;
};

}  // namespace sealane
