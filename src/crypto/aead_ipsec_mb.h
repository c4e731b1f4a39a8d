#pragma once
// Private to this folder: both algorithms by libipsec-mb.
#include <memory>

#include "crypto/aead.h"

namespace sealane::crypto {

// Whether this build has the library and this CPU what its fast code needs.
bool ipsec_mb_available();
// REQUIRES: ipsec_mb_available()
std::unique_ptr<Aead> make_ipsec_mb_aead(AeadAlgorithm algorithm, const AeadKey& key);

}  // namespace sealane::crypto
