#include "repo/retention.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace sealane::repo {
namespace {

using std::chrono::days;
using std::chrono::floor;

// Each maps a time to the number of its hour, day, … in UTC.
std::int64_t hour_of(WallTime t) { return floor<std::chrono::hours>(t).time_since_epoch().count(); }
std::int64_t day_of(WallTime t) { return floor<days>(t).time_since_epoch().count(); }
std::int64_t week_of(WallTime t) {
  // 1970-01-01 was a Thursday; weeks start on Monday (ISO 8601).
  const std::int64_t monday_based = day_of(t) + 3;
  return monday_based >= 0 ? monday_based / 7 : (monday_based - 6) / 7;
}
std::int64_t year_of(WallTime t) {
  return static_cast<int>(std::chrono::year_month_day(floor<days>(t)).year());
}
std::int64_t month_of(WallTime t) {
  const auto month = std::chrono::year_month_day(floor<days>(t)).month();
  return year_of(t) * 12 + static_cast<unsigned>(month);
}

}  // namespace

std::vector<std::vector<KeepReason>> apply_retention(std::span<const RetentionEntry> entries,
                                                     const RetentionRules& rules) {
  std::vector<std::vector<KeepReason>> reasons(entries.size());
  if (entries.empty()) return reasons;
  std::vector<std::size_t> by_seq(entries.size());
  std::iota(by_seq.begin(), by_seq.end(), std::size_t{0});
  std::ranges::sort(by_seq,
                    [&](std::size_t a, std::size_t b) { return entries[a].seq > entries[b].seq; });

  reasons[by_seq[0]].push_back(KeepReason::kNewest);
  const auto proven =
      std::ranges::find_if(by_seq, [&](std::size_t i) { return entries[i].proven; });
  if (proven != by_seq.end()) reasons[*proven].push_back(KeepReason::kLastProven);
  if (rules.empty()) {
    for (auto& of_one : reasons) of_one.push_back(KeepReason::kNoRule);
    return reasons;
  }
  for (std::size_t i = 0; i < by_seq.size() && i < rules.last; ++i) {
    reasons[by_seq[i]].push_back(KeepReason::kLast);
  }

  struct Period {
    KeepReason reason;
    std::uint32_t count;
    std::int64_t (*number)(WallTime);
  };
  const std::array<Period, 5> periods{{{KeepReason::kHourly, rules.hourly, hour_of},
                                       {KeepReason::kDaily, rules.daily, day_of},
                                       {KeepReason::kWeekly, rules.weekly, week_of},
                                       {KeepReason::kMonthly, rules.monthly, month_of},
                                       {KeepReason::kYearly, rules.yearly, year_of}}};
  // Newest first by receive time; the clock of the repository may have jumped, so seq only breaks
  // ties.
  std::vector<std::size_t> by_time = by_seq;
  std::ranges::stable_sort(by_time, [&](std::size_t a, std::size_t b) {
    return entries[a].received > entries[b].received;
  });
  for (const Period& period : periods) {
    std::uint32_t kept = 0;
    std::optional<std::int64_t> before;
    for (const std::size_t i : by_time) {
      if (kept == period.count) break;
      const std::int64_t number = period.number(entries[i].received);
      if (before == number) continue;
      before = number;
      ++kept;
      reasons[i].push_back(period.reason);
    }
  }
  return reasons;
}

}  // namespace sealane::repo
