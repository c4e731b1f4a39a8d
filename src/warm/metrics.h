#pragma once
// What a server of warm copies counted, as Prometheus reads it from a file.
#include <cstdint>
#include <string>

#include "sealane/base/seams.h"
#include "sealane/warm/sink.h"
#include "warm/rounds.h"

namespace sealane::warm {

struct IntakeTotals {
  std::uint64_t parts = 0;    // that were applied, whole or not
  std::uint64_t refused = 0;  // connections and parts that were not taken
  std::uint64_t bytes = 0;    // of parts
  ApplyCounts counts;
};

// Text exposition format 0.0.4: names begin with sealane_warm_, each peer of `rounds` is a label.
// `now` and `wall` are the same moment: the time of a round becomes one that others can read.
std::string format_metrics(const IntakeTotals& intake, const Rounds* rounds, SteadyTime now,
                           WallTime wall);

}  // namespace sealane::warm
