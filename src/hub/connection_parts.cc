#include "hub/connection_parts.h"

#include "hub/config.h"

namespace sealane::hub {

std::optional<std::string> problem_with_limits(
    std::initializer_list<std::chrono::nanoseconds> times, std::size_t send_queue,
    std::size_t legacy_data) {
  for (const auto& time : times) {
    if (time.count() <= 0 || time > Config::kMaxTime) {
      return "times must be above zero, and at most a year";
    }
  }
  if (send_queue < kMaxPayloadSize) return "the send queue is smaller than a frame";
  if (legacy_data == 0) return "the limit for legacy data is zero";
  return std::nullopt;
}

}  // namespace sealane::hub
