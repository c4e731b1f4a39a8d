#include "tests/support/doubles.h"

namespace sealane::testing {

WallTime ManualClock::wall_now() const {
  const std::lock_guard lock(mutex_);
  return wall_;
}
SteadyTime ManualClock::steady_now() const {
  const std::lock_guard lock(mutex_);
  return steady_;
}
void ManualClock::advance(std::chrono::nanoseconds step) {
  const std::lock_guard lock(mutex_);
  wall_ += step;
  steady_ += step;
}
void ManualClock::jump_wall(std::chrono::nanoseconds step) {
  const std::lock_guard lock(mutex_);
  wall_ += step;
}

}  // namespace sealane::testing
