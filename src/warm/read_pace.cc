#include "warm/read_pace.h"

#include <poll.h>

#include <algorithm>

#include "flow/descriptor.h"

namespace sealane::warm {
namespace {

constexpr std::uint64_t kPayStep = 64 * 1024;
constexpr std::uint64_t kShortestBurst = 64 * 1024;
constexpr int kPayPause = 10;  // milliseconds; so a new rate is felt at once

std::uint64_t burst_of(std::uint64_t rate) { return std::max(rate / 10, kShortestBurst); }

}  // namespace

void ReadPace::set_rate(std::uint64_t bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rate_ = bytes_per_second;
  if (bytes_per_second == 0) {
    bucket_.reset();
  } else {
    bucket_.emplace(bytes_per_second, burst_of(bytes_per_second), clock_.steady_now());
  }
}

std::uint64_t ReadPace::rate() const {
  const std::lock_guard lock(mutex_);
  return rate_;
}

Result<void, Error> ReadPace::pay(std::uint64_t bytes) {
  while (bytes > 0) {
    const std::uint64_t step = std::min(bytes, kPayStep);
    {
      const std::lock_guard lock(mutex_);
      if (!bucket_) return success();
      if (bucket_->try_take(step, clock_.steady_now())) {
        bytes -= step;
        continue;
      }
    }
    pollfd wake[2] = {{interrupted_.descriptor(), POLLIN, 0},
                      {cancel_ != nullptr ? cancel_->descriptor() : -1, POLLIN, 0}};
    static_cast<void>(::poll(wake, 2, kPayPause));
    if (wake[0].revents != 0 || wake[1].revents != 0) return flow::interrupted();
  }
  return success();
}

}  // namespace sealane::warm
