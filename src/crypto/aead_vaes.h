#pragma once
// Private to this folder: AES-256-GCM on 256-bit registers, for CPUs that have VAES and VPCLMULQDQ
// but not AVX-512. OpenSSL 3.0 and libipsec-mb 1.3 use 128-bit registers there.
#include <memory>

#include "crypto/aead.h"

namespace sealane::crypto {

// Whether this build and this CPU have what it needs.
bool vaes_available();
// REQUIRES: vaes_available()
std::unique_ptr<Aead> make_vaes_gcm(const AeadKey& key);

}  // namespace sealane::crypto
