// Goal: chain and retention rules hold for every input. Method: tables, and properties over random
// chains compared with an independent, slow statement of the rule.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "repo/chain.h"
#include "repo/retention.h"

namespace sealane::repo {
namespace {

using std::chrono::hours;

std::vector<ChainLink> chain(std::uint64_t count) {
  std::vector<ChainLink> links;
  for (std::uint64_t seq = 1; seq <= count; ++seq) {
    links.push_back({seq, "id" + std::to_string(seq), seq == 1 ? "" : links.back().id});
  }
  return links;
}

TEST(Chain, IsWholeOrSaysWhatIsWrong) {
  EXPECT_TRUE(check_chain({}, std::nullopt).empty());
  auto links = chain(5);
  EXPECT_TRUE(check_chain(links, std::nullopt).empty());
  EXPECT_TRUE(check_chain(links, ChainHead{5, "id5"}).empty());
  EXPECT_TRUE(check_chain(links, ChainHead{3, "id3"}).empty()) << "it went on since";
  std::ranges::reverse(links);
  EXPECT_TRUE(check_chain(links, std::nullopt).empty()) << "in any order";
  links.push_back(links[0]);
  EXPECT_TRUE(check_chain(links, std::nullopt).empty()) << "one commit from two places";

  using Problems = std::vector<ChainProblem>;
  EXPECT_EQ(check_chain(chain(5), ChainHead{7, "id7"}), (Problems{{ChainFault::kRolledBack, 7}}));
  EXPECT_EQ(check_chain({}, ChainHead{1, "id1"}), (Problems{{ChainFault::kRolledBack, 1}}));
  EXPECT_EQ(check_chain(chain(5), ChainHead{3, "other"}), (Problems{{ChainFault::kRewritten, 3}}));

  links = chain(5);
  links.erase(links.begin() + 1, links.begin() + 3);
  EXPECT_EQ(check_chain(links, std::nullopt), (Problems{{ChainFault::kMissing, 2}}));
  EXPECT_EQ(check_chain(links, ChainHead{3, "id3"}), (Problems{{ChainFault::kMissing, 2}}));
  links = chain(5);
  links.erase(links.begin());
  EXPECT_EQ(check_chain(links, std::nullopt), (Problems{{ChainFault::kMissing, 1}}));
  links = chain(5);
  links.push_back({3, "clone", "id2"});
  EXPECT_EQ(check_chain(links, std::nullopt), (Problems{{ChainFault::kFork, 3}}));
  links = chain(5);
  links[2] = {3, "clone", "id2"};
  EXPECT_EQ(check_chain(links, std::nullopt), (Problems{{ChainFault::kBrokenLink, 4}}));
  links = chain(3);
  links[0].previous = "id0";
  EXPECT_EQ(check_chain(links, std::nullopt), (Problems{{ChainFault::kBrokenLink, 1}}));
}

WallTime at(std::string_view text) { return from_rfc3339(text).value(); }

std::vector<std::uint64_t> kept(const std::vector<RetentionEntry>& entries,
                                const RetentionRules& rules, KeepReason reason) {
  const auto reasons = apply_retention(entries, rules);
  std::vector<std::uint64_t> seqs;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (std::ranges::find(reasons[i], reason) != reasons[i].end()) seqs.push_back(entries[i].seq);
  }
  return seqs;
}

TEST(Retention, CountsPeriodsInUtc) {
  const std::vector<RetentionEntry> entries{
      {1, at("2025-12-31T23:59:59Z")}, {2, at("2026-01-01T00:00:00Z")},
      {3, at("2026-01-04T23:59:59Z")},  // a Sunday
      {4, at("2026-01-05T00:00:00Z")},  // a Monday
      {5, at("2026-01-05T00:59:59Z")}, {6, at("2026-01-05T01:00:00Z")},
      {7, at("2026-02-01T00:00:00Z")}};
  using Seqs = std::vector<std::uint64_t>;
  EXPECT_EQ(kept(entries, {.last = 2}, KeepReason::kLast), (Seqs{6, 7}));
  EXPECT_EQ(kept(entries, {.hourly = 3}, KeepReason::kHourly), (Seqs{5, 6, 7}));
  EXPECT_EQ(kept(entries, {.daily = 3}, KeepReason::kDaily), (Seqs{3, 6, 7}));
  EXPECT_EQ(kept(entries, {.weekly = 3}, KeepReason::kWeekly), (Seqs{3, 6, 7}));
  EXPECT_EQ(kept(entries, {.weekly = 9}, KeepReason::kWeekly), (Seqs{3, 6, 7}))
      << "2025-12-29 to 2026-01-04 is one week";
  EXPECT_EQ(kept(entries, {.monthly = 3}, KeepReason::kMonthly), (Seqs{1, 6, 7}));
  EXPECT_EQ(kept(entries, {.yearly = 9}, KeepReason::kYearly), (Seqs{1, 7}));
  EXPECT_EQ(kept(entries, {.last = 1}, KeepReason::kNewest), (Seqs{7}));
  EXPECT_EQ(kept(entries, {}, KeepReason::kNoRule).size(), entries.size());
}

TEST(Retention, BeforeNineteenSeventyWeeksStillHaveSevenDays) {
  std::vector<RetentionEntry> entries;
  for (std::uint64_t day = 0; day < 28; ++day) {
    entries.push_back({day + 1, WallTime{} - hours(24 * 27) + hours(24 * day)});
  }
  const auto weeks = kept(entries, {.weekly = 100}, KeepReason::kWeekly);
  for (std::size_t i = 1; i + 1 < weeks.size(); ++i) EXPECT_EQ(weeks[i] - weeks[i - 1], 7u);
}

// For each period that has an entry: which is its newest? The newest `count` periods keep theirs.
std::set<std::uint64_t> slow_rule(const std::vector<RetentionEntry>& entries, std::uint32_t count,
                                  std::chrono::seconds period, std::chrono::seconds offset) {
  std::map<std::int64_t, RetentionEntry, std::greater<>> newest;
  for (const RetentionEntry& entry : entries) {
    const auto seconds =
        std::chrono::floor<std::chrono::seconds>(entry.received).time_since_epoch() + offset;
    const auto [at, added] = newest.try_emplace(seconds / period, entry);
    const auto order = [](const RetentionEntry& e) { return std::pair(e.received, e.seq); };
    if (!added && order(at->second) < order(entry)) at->second = entry;
  }
  std::set<std::uint64_t> seqs;
  for (const auto& [number, entry] : newest) {
    if (seqs.size() == count) break;
    seqs.insert(entry.seq);
  }
  return seqs;
}

TEST(Retention, HoldsItsPromisesForRandomChains) {
  for (std::uint32_t seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t limit) {
      return static_cast<std::uint32_t>(random() % limit);
    };
    std::vector<RetentionEntry> entries;
    WallTime now = at("2026-01-01T00:00:00Z");
    const std::uint32_t count = 1 + below(80);
    for (std::uint32_t i = 0; i < count; ++i) {
      // Now and then the clock jumps, either way.
      now += std::chrono::minutes(below(3000)) - std::chrono::minutes(below(10) == 0 ? 40000 : 0);
      entries.push_back({i + 1, now, below(5) == 0});
    }
    std::ranges::shuffle(entries, random);
    const RetentionRules rules{.last = below(4),
                               .hourly = below(4),
                               .daily = below(4),
                               .weekly = below(4),
                               .monthly = below(4),
                               .yearly = below(4)};
    const auto reasons = apply_retention(entries, rules);
    ASSERT_EQ(reasons.size(), entries.size());
    std::uint64_t newest = 0;
    std::uint64_t proven = 0;
    std::size_t by_rule = 0;
    for (const RetentionEntry& entry : entries) {
      newest = std::max(newest, entry.seq);
      if (entry.proven) proven = std::max(proven, entry.seq);
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto has = [&](KeepReason reason) {
        return std::ranges::find(reasons[i], reason) != reasons[i].end();
      };
      EXPECT_EQ(has(KeepReason::kNewest), entries[i].seq == newest) << seed;
      EXPECT_EQ(has(KeepReason::kLastProven), entries[i].seq == proven) << seed;
      EXPECT_EQ(has(KeepReason::kNoRule), rules.empty()) << seed;
      by_rule += reasons[i].size();
    }
    if (!rules.empty()) {
      EXPECT_LE(by_rule, 2u + rules.last + rules.hourly + rules.daily + rules.weekly +
                             rules.monthly + rules.yearly)
          << seed;
    }
    const auto as_set = [&](KeepReason reason) {
      const auto seqs = kept(entries, rules, reason);
      return std::set<std::uint64_t>(seqs.begin(), seqs.end());
    };
    using std::chrono::days;
    EXPECT_EQ(as_set(KeepReason::kHourly), slow_rule(entries, rules.hourly, hours(1), hours(0)));
    EXPECT_EQ(as_set(KeepReason::kDaily), slow_rule(entries, rules.daily, days(1), days(0)));
    EXPECT_EQ(as_set(KeepReason::kWeekly), slow_rule(entries, rules.weekly, days(7), days(3)));
  }
}

}  // namespace
}  // namespace sealane::repo
