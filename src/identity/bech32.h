#pragma once
// Bech32 (BIP-173): text of lower or upper case with a checksum, as age writes its keys.
//
//   prefix, 1 .. 83 characters "!" .. "~" | "1" | 5-bit groups, one character each | 6 of checksum
//
// At most 90 characters in all. Not Bech32m.
#include <string>
#include <string_view>

#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::identity {

inline constexpr std::size_t kMaxBech32Size = 90;  // where the checksum's guarantee ends

enum class Bech32Error : std::uint8_t {
  kCharacter = 1,  // outside the alphabet, or upper and lower case mixed
  kStructure,      // too long or short, no separator, no prefix
  kChecksum,
  kPadding,  // the groups are no whole number of bytes, or unused bits are set
};
enum class Bech32Case : std::uint8_t { kLower, kUpper };

// The groups may hold a private key, so they are kept as one.
struct Bech32Groups {
  std::string prefix;  // lower case
  SecretBytes groups;  // one per byte, each below 32
};
Result<Bech32Groups, Bech32Error> decode_bech32_groups(std::string_view text);

struct Bech32Data {
  std::string prefix;  // lower case
  SecretBytes data;
};
Result<Bech32Data, Bech32Error> decode_bech32(std::string_view text);
// REQUIRES: `prefix` is lower case and valid, and the result is not longer than kMaxBech32Size.
SecretBytes encode_bech32(std::string_view prefix, ByteSpan data, Bech32Case letters);

}  // namespace sealane::identity
