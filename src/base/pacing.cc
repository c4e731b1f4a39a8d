#include <algorithm>

#include "base/backoff.h"
#include "base/byte_reader.h"
#include "base/check.h"
#include "base/token_bucket.h"

namespace sealane {

TokenBucket::TokenBucket(std::uint64_t rate_per_second, std::uint64_t burst, SteadyTime now)
    : rate_(rate_per_second), burst_(burst), available_(static_cast<double>(burst)), last_(now) {
  SEALANE_CHECK(rate_per_second > 0 && burst > 0);
}

void TokenBucket::refill(SteadyTime now) {
  if (now <= last_) return;
  const double seconds = std::chrono::duration<double>(now - last_).count();
  available_ =
      std::min(static_cast<double>(burst_), available_ + seconds * static_cast<double>(rate_));
  last_ = now;
}

bool TokenBucket::try_take(std::uint64_t amount, SteadyTime now) {
  refill(now);
  if (available_ < static_cast<double>(amount)) return false;
  available_ -= static_cast<double>(amount);
  return true;
}

SteadyTime TokenBucket::take(std::uint64_t amount, SteadyTime now) {
  refill(now);
  available_ -= static_cast<double>(amount);
  if (available_ >= 0) return now;
  return now + std::chrono::duration_cast<std::chrono::nanoseconds>(
                   std::chrono::duration<double>(-available_ / static_cast<double>(rate_)));
}

void TokenBucket::set_rate(std::uint64_t rate_per_second, SteadyTime now) {
  SEALANE_CHECK(rate_per_second > 0);
  refill(now);
  rate_ = rate_per_second;
}

Backoff::Duration Backoff::next(RandomSource& random) {
  ByteArray<8> bytes;
  random.fill(bytes);
  const auto half = static_cast<std::uint64_t>(ceiling_.count()) / 2;
  const auto jitter = load<std::uint64_t>(bytes) % (half + 1);
  const Duration wait = ceiling_ - Duration(static_cast<Duration::rep>(jitter));
  ceiling_ = ceiling_ > maximum_ / 2 ? maximum_ : ceiling_ * 2;
  return wait;
}

}  // namespace sealane
