#pragma once
// Private to this folder: libsodium, initialised (which chooses its code for this CPU).
#include <sodium.h>

#include "base/check.h"

namespace sealane::crypto {

// Call before any other function of libsodium. Thread-safe.
inline void ensure_sodium() {
  static const bool ready = sodium_init() >= 0;
  SEALANE_CHECK(ready);
}

}  // namespace sealane::crypto
