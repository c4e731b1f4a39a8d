#pragma once
// Private to this folder: both algorithms by libipsec-mb, and what both engines share.
#include <memory>

#include "base/check.h"
#include "crypto/aead.h"

namespace sealane::crypto {

// OpenSSL counts in int; the contract leaves room for the tag.
inline constexpr std::size_t kAeadCallLimit = (std::size_t{1} << 31) - 64;

inline void check_aead_sizes(ByteSpan associated_data, std::size_t plaintext_size,
                             std::size_t room) {
  SEALANE_CHECK(plaintext_size == room);
  SEALANE_CHECK(plaintext_size <= kAeadCallLimit && associated_data.size() <= kAeadCallLimit);
}

// Whether this build has the library and this CPU what its fast code needs.
bool ipsec_mb_available();
// REQUIRES: ipsec_mb_available()
std::unique_ptr<Aead> make_ipsec_mb_aead(AeadAlgorithm algorithm, const AeadKey& key);

}  // namespace sealane::crypto
