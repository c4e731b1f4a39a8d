#pragma once
// RandomSource: the seam for randomness. Tests and simulations pass a seeded
// one; the real one: store/system.h. Thread-safe.
#include "sealane/base/bytes.h"

namespace sealane {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  // Fills `out` completely. A system without randomness cannot go on safely: the process ends.
  virtual void fill(MutableByteSpan out) = 0;
};

}  // namespace sealane
