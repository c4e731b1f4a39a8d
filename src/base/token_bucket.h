#pragma once
// TokenBucket: at most `rate` units a second, in bursts of at most `burst`.
#include "sealane/base/seams.h"

namespace sealane {

// Not thread-safe. Time comes from the caller, so it can be simulated.
class TokenBucket {
 public:
  // REQUIRES: rate_per_second > 0, burst > 0. Starts full.
  TokenBucket(std::uint64_t rate_per_second, std::uint64_t burst, SteadyTime now);
  // Takes `amount` if it is there.
  bool try_take(std::uint64_t amount, SteadyTime now);
  // Takes `amount` now, into debt if need be; the caller waits until the returned time. So an
  // amount above `burst` passes at the right average rate.
  SteadyTime take(std::uint64_t amount, SteadyTime now);
  void set_rate(std::uint64_t rate_per_second, SteadyTime now);

 private:
  void refill(SteadyTime now);
  std::uint64_t rate_;
  std::uint64_t burst_;
  double available_;
  SteadyTime last_;
};

}  // namespace sealane
