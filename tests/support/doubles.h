#pragma once
// Doubles of the seams for time and randomness: the same seed, the same run.
#include <mutex>
#include <random>

#include "sealane/base/seams.h"

namespace sealane::testing {

// Repeatable bytes. Never for anything but tests. Thread-safe.
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}
  void fill(MutableByteSpan out) override {
    const std::lock_guard lock(mutex_);
    for (std::byte& b : out) b = static_cast<std::byte>(engine_() & 0xff);
  }

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

// Time that moves only when told. Thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start) : wall_(start) {}
  WallTime wall_now() const override;
  SteadyTime steady_now() const override;
  void advance(std::chrono::nanoseconds step);    // both clocks
  void jump_wall(std::chrono::nanoseconds step);  // the wall clock only, either way

 private:
  mutable std::mutex mutex_;
  WallTime wall_;
  SteadyTime steady_{};
};

}  // namespace sealane::testing
