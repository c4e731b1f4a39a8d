#include "entropy/replay.h"

#include "base/check.h"

namespace sealane::entropy {
namespace {

// Far from the edge of WallTime, so that sums with a window cannot overflow.
constexpr std::uint64_t kLastYear2200Ms = 7'258'118'400'000;

}  // namespace

ReplayMemory::Verdict ReplayMemory::begin(const Key& key, std::uint64_t created_ms, WallTime now) {
  if (created_ms > kLastYear2200Ms) return Verdict::kStale;
  const WallTime created{std::chrono::milliseconds(static_cast<std::int64_t>(created_ms))};
  const auto found = entries_.find(key);
  if (found != entries_.end()) {
    return found->second.answer ? Verdict::kDone : Verdict::kInProgress;
  }
  // As coarse as it is written: a part may be made in the millisecond of our start.
  const WallTime started = std::chrono::floor<std::chrono::milliseconds>(rules_.started);
  if (created < started || created < now - rules_.window || created > now + rules_.window) {
    return Verdict::kStale;
  }
  if (entries_.size() >= kCapacity) forget_old(now);
  if (entries_.size() >= kCapacity) return Verdict::kFull;
  entries_[key] = {};
  return Verdict::kNew;
}

void ReplayMemory::finish(const Key& key, const Acknowledgement& answer, WallTime now) {
  const auto found = entries_.find(key);
  SEALANE_CHECK(found != entries_.end() && !found->second.answer);
  // Made at most one window in the future of when it began, it is acceptable one window longer.
  found->second = {answer, now + 2 * rules_.window};
}

void ReplayMemory::abandon(const Key& key) {
  const auto found = entries_.find(key);
  SEALANE_CHECK(found != entries_.end() && !found->second.answer);
  entries_.erase(found);
}

std::optional<Acknowledgement> ReplayMemory::answer(const Key& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? std::nullopt : found->second.answer;
}

void ReplayMemory::forget_old(WallTime now) {
  std::erase_if(entries_, [&](const auto& entry) {
    return entry.second.answer && entry.second.forget_after < now;
  });
}

}  // namespace sealane::entropy
