#include <utility>

#include "crypto/blake3_core.h"
#include "crypto/cpu.h"

// The wide forms are written with the vector types that g++ and clang share, and little-endian.
#if defined(__x86_64__)

namespace sealane::crypto::blake3_core {
namespace {

namespace sse41 {
#define SEALANE_LANES 4
#define SEALANE_LANE_ROTATES false
#define SEALANE_LANE_TARGET "sse4.1"
#include "crypto/blake3_lanes.inc"
}  // namespace sse41

namespace avx512 {
#define SEALANE_LANES 16
#define SEALANE_LANE_ROTATES true
#define SEALANE_LANE_TARGET "avx512f,avx512bw,avx512vl"
#include "crypto/blake3_lanes.inc"
}  // namespace avx512

constexpr LaneCode kLaneCode[] = {{16, &avx512::run}, {8, &run_avx2}, {4, &sse41::run}};

std::size_t unusable_on_this_cpu() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    return 0;
  }
  if (__builtin_cpu_supports("avx2")) return 1;
  return __builtin_cpu_supports("sse4.1") ? 2 : 3;
}

}  // namespace

std::span<const LaneCode> available_lane_code() {
  static const std::size_t unusable = unusable_on_this_cpu();
  if (generic_cpu_forced()) return {};
  return std::span(kLaneCode).subspan(unusable);
}

}  // namespace sealane::crypto::blake3_core

#else

namespace sealane::crypto::blake3_core {

std::span<const LaneCode> available_lane_code() { return {}; }

}  // namespace sealane::crypto::blake3_core

#endif
