#pragma once
// Retention: which snapshots of one chain are kept, and why.
#include <span>

#include "sealane/repo/records.h"

namespace sealane::repo {

// One snapshot that is not forgotten yet.
struct RetentionEntry {
  std::uint64_t seq = 0;
  WallTime received{};  // by the clock of the repository's side
  bool proven = false;
};

// Why each entry is kept, in the order of `entries`; without a reason it may be forgotten. The
// entry with the highest seq and the proven one with the highest seq always have one. REQUIRES: no
// two entries have one seq.
std::vector<std::vector<KeepReason>> apply_retention(std::span<const RetentionEntry> entries,
                                                     const RetentionRules& rules);

}  // namespace sealane::repo
