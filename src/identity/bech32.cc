#include "identity/bech32.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace sealane::identity {
namespace {

constexpr std::string_view kDigits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
constexpr std::size_t kChecksumSize = 6;
constexpr char kSeparator = '1';

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
char to_lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }
char to_upper(char c) { return is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }

// The remainder modulo the generator of the code over GF(32); 1 for a valid text.
class Checksum {
 public:
  explicit Checksum(std::string_view prefix) {
    for (const char c : prefix) add(static_cast<unsigned char>(c) >> 5);
    add(0);
    for (const char c : prefix) add(static_cast<unsigned char>(c) & 31);
  }
  void add(unsigned group) {
    constexpr std::array<std::uint32_t, 5> kGenerator = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa,
                                                         0x3d4233dd, 0x2a1462b3};
    const std::uint32_t top = value_ >> 25;
    value_ = (value_ & 0x1ffffff) << 5 ^ group;
    for (std::size_t i = 0; i < kGenerator.size(); ++i) {
      if ((top >> i & 1) != 0) value_ ^= kGenerator[i];
    }
  }
  std::uint32_t value() const { return value_; }

 private:
  std::uint32_t value_ = 1;
};

}  // namespace

Result<Bech32Groups, Bech32Error> decode_bech32_groups(std::string_view text) {
  if (text.size() > kMaxBech32Size) return Bech32Error::kStructure;
  const bool printable = std::ranges::all_of(text, [](char c) { return c >= '!' && c <= '~'; });
  if (!printable) return Bech32Error::kCharacter;
  if (std::ranges::any_of(text, is_lower) && std::ranges::any_of(text, is_upper)) {
    return Bech32Error::kCharacter;
  }
  const std::size_t separator = text.rfind(kSeparator);
  if (separator == std::string_view::npos || separator == 0) return Bech32Error::kStructure;
  const std::string_view body = text.substr(separator + 1);
  if (body.size() < kChecksumSize) return Bech32Error::kStructure;

  std::string prefix(text.substr(0, separator));
  std::ranges::transform(prefix, prefix.begin(), to_lower);
  Checksum checksum(prefix);
  SecretBytes groups(body.size());
  for (std::size_t i = 0; i < body.size(); ++i) {
    const std::size_t group = kDigits.find(to_lower(body[i]));
    if (group == std::string_view::npos) return Bech32Error::kCharacter;
    checksum.add(static_cast<unsigned>(group));
    groups.fill()[i] = static_cast<std::byte>(group);
  }
  if (checksum.value() != 1) return Bech32Error::kChecksum;
  groups.truncate(body.size() - kChecksumSize);
  return Bech32Groups{.prefix = std::move(prefix), .groups = std::move(groups)};
}

Result<Bech32Data, Bech32Error> decode_bech32(std::string_view text) {
  SEALANE_TRY(auto decoded, decode_bech32_groups(text));
  const ByteSpan groups = decoded.groups.expose();
  SecretBytes data(groups.size() * 5 / 8);
  std::uint32_t accumulator = 0;
  unsigned bits = 0;
  std::size_t size = 0;
  for (const std::byte group : groups) {
    accumulator = (accumulator << 5 | std::to_integer<std::uint32_t>(group)) & 0xfff;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      data.fill()[size++] = static_cast<std::byte>(accumulator >> bits & 0xff);
    }
  }
  // One value, one encoding: fewer than 5 unused bits, all zero.
  if (bits >= 5 || (accumulator & ((1u << bits) - 1)) != 0) return Bech32Error::kPadding;
  return Bech32Data{.prefix = std::move(decoded.prefix), .data = std::move(data)};
}

SecretBytes encode_bech32(std::string_view prefix, ByteSpan data, Bech32Case letters) {
  const std::size_t group_count = (data.size() * 8 + 4) / 5;
  SEALANE_CHECK(!prefix.empty());
  SEALANE_CHECK(
      std::ranges::all_of(prefix, [](char c) { return c >= '!' && c <= '~' && !is_upper(c); }));
  SecretBytes text(prefix.size() + 1 + group_count + kChecksumSize);
  SEALANE_CHECK(text.size() <= kMaxBech32Size);

  auto put = [&, at = std::size_t{0}](char c) mutable {
    const char cased = letters == Bech32Case::kUpper ? to_upper(c) : c;
    text.fill()[at++] = static_cast<std::byte>(cased);
  };
  for (const char c : prefix) put(c);
  put(kSeparator);

  Checksum checksum(prefix);
  const auto put_group = [&](std::uint32_t group) {
    checksum.add(group);
    put(kDigits[group]);
  };
  std::uint32_t accumulator = 0;
  unsigned bits = 0;
  for (const std::byte b : data) {
    accumulator = (accumulator << 8 | std::to_integer<std::uint32_t>(b)) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      put_group(accumulator >> bits & 31);
    }
  }
  if (bits > 0) put_group(accumulator << (5 - bits) & 31);

  for (std::size_t i = 0; i < kChecksumSize; ++i) checksum.add(0);
  const std::uint32_t remainder = checksum.value() ^ 1;
  for (std::size_t i = 0; i < kChecksumSize; ++i) {
    put(kDigits[remainder >> (5 * (kChecksumSize - 1 - i)) & 31]);
  }
  return text;
}

}  // namespace sealane::identity
