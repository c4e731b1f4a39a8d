#pragma once
// Challenge and response: the first frame of each side. Format: docs/protocol/hub.md, "Login".
//
// Challenge, hub to client, in clear:
//   offset   size  field
//        0      2  key_size   n, big-endian
//        2      n  key        the hub's public key, PEM
//    2 + n   rest  data       what the client signs: opaque, or a bound challenge
//
// Bound challenge: what a Sealane hub puts into data, so that the client's signature covers the
// hub's key and a man in the middle shows. Big-endian.
//   offset  size  field
//        0     8  magic     42 42 43 48 41 4C 31 0A ("BBCHAL1" LF)
//        8     1  version   1
//        9     1  flags     bit 0: the hub offers extensions; bit 1: it requires them
//       10    32  key_hash  SHA-256 of `key` above, byte for byte
//       42     8  time      the hub's, milliseconds since 1970
//       50    32  nonce     random
//       82  rest  padding   random, up to the hub's challenge_size
//
// Response, client to hub, encrypted to the hub's key:
//   offset  size  field
//        0    16  id
//       16  rest  signature  PSS over data
#include <cstdint>
#include <optional>
#include <string_view>

#include "crypto/hash.h"
#include "hub/ids.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::hub {

inline constexpr std::size_t kDefaultChallengeSize = 2048;    // as the Python hub
inline constexpr std::size_t kOneSegmentChallengeSize = 900;  // fits one segment with its key

struct Challenge {
  Bytes key;
  Bytes data;
  friend bool operator==(const Challenge&, const Challenge&) = default;
};
// The payload of the frame. REQUIRES: it fits in one.
Bytes encode(const Challenge& challenge);
// Nothing: shorter than it says.
std::optional<Challenge> decode_challenge(ByteSpan payload);

struct BoundChallenge {
  static constexpr std::size_t kSize = 82;  // without padding
  static constexpr std::uint8_t kOffers = 1;
  static constexpr std::uint8_t kRequires = 2;
  std::uint8_t flags = 0;
  crypto::Sha256Digest key_hash{};
  std::uint64_t time_ms = 0;
  ByteArray<32> nonce{};
  friend bool operator==(const BoundChallenge&, const BoundChallenge&) = default;
};
// Challenge data of `size` bytes, padded from `random`. REQUIRES: size >= kSize.
Bytes encode(const BoundChallenge& bound, std::size_t size, RandomSource& random);
bool has_bound_magic(ByteSpan data);
// Nothing without magic, of another version, or shorter than kSize. Unknown flags are kept.
std::optional<BoundChallenge> decode_bound_challenge(ByteSpan data);

struct Response {
  ClientId id;
  Bytes signature;
  friend bool operator==(const Response&, const Response&) = default;
};
Bytes encode(const Response& response);
std::optional<Response> decode_response(ByteSpan plain);  // nothing below 16 bytes

}  // namespace sealane::hub
