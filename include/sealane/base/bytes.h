#pragma once
// Bytes: spans, views of text as bytes, hexadecimal and base64.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sealane {

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;
using Bytes = std::vector<std::byte>;
template <std::size_t N>
using ByteArray = std::array<std::byte, N>;

// Views of the same memory; valid as long as it.
inline ByteSpan as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline const unsigned char* as_uchar(ByteSpan bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
inline unsigned char* as_uchar(MutableByteSpan bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
inline Bytes to_bytes(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }
inline Bytes to_bytes(std::string_view text) { return to_bytes(as_bytes(text)); }
inline std::string to_text(ByteSpan bytes) { return std::string(as_text(bytes)); }

std::string to_hex(ByteSpan bytes);  // lower case
// Nothing unless `text` is an even number of hex digits, either case, and nothing else.
std::optional<Bytes> from_hex(std::string_view text);

enum class Base64Alphabet : std::uint8_t { kStandard, kUrl };
enum class Base64Padding : std::uint8_t { kPadded, kUnpadded };
std::string to_base64(ByteSpan bytes, Base64Alphabet alphabet = Base64Alphabet::kStandard,
                      Base64Padding padding = Base64Padding::kPadded);
// Canonical only: exact padding as asked, no white space, unused bits zero. One value, one
// encoding.
std::optional<Bytes> from_base64(std::string_view text,
                                 Base64Alphabet alphabet = Base64Alphabet::kStandard,
                                 Base64Padding padding = Base64Padding::kPadded);

}  // namespace sealane
