#pragma once
// Backoff: how long to wait before the next try. Exponential with full jitter, and reset by
// success.
#include <chrono>

#include "sealane/base/seams.h"

namespace sealane {

class Backoff {
 public:
  using Duration = std::chrono::nanoseconds;
  // REQUIRES: 0 < first <= maximum.
  Backoff(Duration first, Duration maximum) : first_(first), maximum_(maximum), ceiling_(first) {}
  // Uniform in [ceiling/2, ceiling]; then the ceiling doubles up to the maximum.
  Duration next(RandomSource& random);
  void reset() { ceiling_ = first_; }

 private:
  Duration first_;
  Duration maximum_;
  Duration ceiling_;
};

}  // namespace sealane
