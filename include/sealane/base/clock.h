#pragma once
// Clock: the seam for time. Cores never ask for the time; they are told. The real one:
// store/system.h.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sealane {

// Wall-clock time, UTC, whole seconds and better; may jump. For records that people read.
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;
// Never jumps back. For deadlines and durations.
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall_now() const = 0;
  virtual SteadyTime steady_now() const = 0;
};

// RFC 3339 in UTC with whole seconds: 2026-11-20T13:54:00Z. Years 1970 to 2261.
std::string to_rfc3339(WallTime time);
// Accepts exactly what to_rfc3339 writes.
std::optional<WallTime> from_rfc3339(std::string_view text);

}  // namespace sealane
