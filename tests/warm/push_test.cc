// Goal: a push that is cut anywhere, resumed as often as needed, loses nothing and brings nothing
// back; the journal never claims more than arrived. Method: a memory source and a place that
// misbehaves by a seed; then real servers with keys of all types, cut at random points while both
// sides are written to.
#include "warm/push.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "sealane/store/system.h"
#include "sealane/warm/memory.h"
#include "tests/support/doubles.h"
#include "tests/support/simulated_files.h"
#include "tests/support/warm_redis.h"
#include "warm/redis_sink.h"
#include "warm/redis_source.h"

namespace sealane::warm {
namespace {

using namespace sealane::testing;  // NOLINT(google-build-using-namespace)

#ifdef NDEBUG
constexpr int kKeys = 1'000'000;
constexpr int kCuts = 100;
#else
constexpr int kKeys = 20'000;  // with sanitizers
constexpr int kCuts = 20;
#endif

class Push : public ::testing::Test {
 protected:
  static std::vector<Part> parts(int count) {
    std::vector<Part> out;
    for (int i = 0; i < count; ++i) {
      Bytes commands;
      RespWriter(commands).command({"RESTORE", "k" + std::to_string(i), "0", "x", "ABSTTL"});
      out.push_back(make_part(std::move(commands), 1, 1));
    }
    return out;
  }
  Result<PushSummary, Error> run(Source& source, const SendPart& send, unsigned parallel = 1) {
    const PushPlan plan{
        .parallel = parallel, .tries = 3, .journal = "/journal", .start_over = false};
    PushCounters counters;
    flow::Cancellation cancel;
    return push_all(source, send, plan, disk_, random_, cancel, counters);
  }
  bool has_journal() { return disk_.status("/journal").has_value(); }

  SimulatedFiles disk_;
  SeededRandom random_{1};
};

TEST_F(Push, AJournalThatWouldSayTheSameIsNotWrittenAgain) {
  // As the image of a replica, which cannot be gone on with.
  class OneCursor final : public Source {
   public:
    std::string description() const override { return "one cursor"; }
    Result<bool, Error> resume(const PartCursor&) override { return false; }
    Result<std::optional<Part>, Error> next() override {
      if (index_ == 20) return std::optional<Part>();
      Part part = make_part(to_bytes("x"), 1, 1);
      part.index = index_++;
      part.behind = "image";
      return std::optional(std::move(part));
    }
    void reuse(Bytes&& memory) override { given_back += memory.empty() ? 0 : 1; }
    int given_back = 0;

   private:
    std::uint32_t index_ = 0;
  };
  OneCursor source;
  const SendPart taken = [](const Part&) -> Result<PartOutcome, Error> {
    return PartOutcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
  };
  const std::uint64_t before = disk_.calls_by_kind()["rename"];
  ASSERT_TRUE(run(source, taken).has_value());
  EXPECT_EQ(disk_.calls_by_kind()["rename"] - before, 1U);
  EXPECT_EQ(source.given_back, 20);
  EXPECT_FALSE(has_journal());
}

TEST_F(Push, ACutLeavesAJournalAndACompleteRunNone) {
  MemorySink sink;
  MemorySource first(parts(10));
  int sent = 0;
  const SendPart good = send_to(sink);
  const auto cut = run(first, [&](const Part& part) -> Result<PartOutcome, Error> {
    if (++sent == 6) return Error{ErrorKind::kFailed, "cut"};
    return good(part);
  });
  ASSERT_FALSE(cut.has_value());
  EXPECT_TRUE(has_journal());
  MemorySource second(parts(10));
  const auto rest = run(second, good);
  ASSERT_TRUE(rest.has_value()) << rest.error().message;
  EXPECT_TRUE(rest.value().resumed);
  EXPECT_EQ(rest.value().parts, 5U);
  EXPECT_TRUE(rest.value().proven());
  EXPECT_FALSE(has_journal());
  EXPECT_EQ(sink.take().size(), 10U);
}

TEST_F(Push, EverythingArrivesThroughAPlaceThatMisbehaves) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 engine(seed);
    std::mutex mutex;
    std::set<std::uint32_t> arrived;
    int runs = 0;
    for (; runs < 200; ++runs) {
      MemorySource source(parts(30));
      const auto result = run(
          source,
          [&](const Part& part) -> Result<PartOutcome, Error> {
            const std::lock_guard lock(mutex);
            const auto luck = engine() % 20;
            if (luck == 0) return Error{ErrorKind::kFailed, "cut before"};
            arrived.insert(part.index);
            if (luck == 1) return Error{ErrorKind::kFailed, "cut behind"};
            PartOutcome outcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
            outcome.counts.commands = outcome.counts.applied = 1;
            return outcome;
          },
          1 + static_cast<unsigned>(seed % 4));
      if (result.has_value()) break;
      EXPECT_EQ(result.error().kind, ErrorKind::kFailed);
    }
    EXPECT_LT(runs, 200);
    EXPECT_EQ(arrived.size(), 30U);
    EXPECT_FALSE(has_journal());
  }
}

TEST_F(Push, WhatIsNotProvenIsSaid) {
  MemorySource source(parts(3));
  const auto silent =
      run(source, [](const Part&) -> Result<PartOutcome, Error> { return PartOutcome{}; });
  ASSERT_TRUE(silent.has_value());
  EXPECT_FALSE(silent.value().proven());
  EXPECT_EQ(silent.value().unknown_parts, 3U);
  // Commands that failed are pushed again next time: the journal stays before them.
  MemorySource again(parts(3));
  const auto partly = run(again, [](const Part& part) -> Result<PartOutcome, Error> {
    PartOutcome outcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
    if (part.index == 1) {
      outcome.fate = PartFate::kPartly;
      outcome.why = "OOM";
      outcome.counts.count(Cause::kOutOfMemory);
    }
    return outcome;
  });
  ASSERT_TRUE(partly.has_value());
  EXPECT_NE(partly.value().unproven.find("OOM"), std::string::npos);
  MemorySource third(parts(3));
  std::vector<std::uint32_t> seen;
  ASSERT_TRUE(run(third, [&](const Part& part) -> Result<PartOutcome, Error> {
                seen.push_back(part.index);
                return PartOutcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
              }).has_value());
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{1, 2}));
}

// It may be lost: who was killed says nothing.
TEST_F(Push, AResumedRunComesBackToAPartThatNobodyAnsweredFor) {
  MemorySource source(parts(6));
  const auto cut = run(source, [](const Part& part) -> Result<PartOutcome, Error> {
    if (part.index == 5) return Error{ErrorKind::kFailed, "cut"};
    PartOutcome outcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
    if (part.index == 2) outcome.fate = PartFate::kUnknown;
    return outcome;
  });
  ASSERT_FALSE(cut.has_value());
  MemorySource again(parts(6));
  std::vector<std::uint32_t> seen;
  ASSERT_TRUE(run(again, [&](const Part& part) -> Result<PartOutcome, Error> {
                seen.push_back(part.index);
                return PartOutcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
              }).has_value());
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{2, 3, 4, 5}));
}

TEST_F(Push, TheSecondOfTwoAtOnceIsRefused) {
  MemorySource source(parts(2));
  std::optional<ErrorKind> second;
  const auto first = run(source, [&](const Part&) -> Result<PartOutcome, Error> {
    MemorySource other(parts(2));
    const auto result =
        run(other, [](const Part&) -> Result<PartOutcome, Error> { return PartOutcome{}; });
    if (!result.has_value()) second = result.error().kind;
    return PartOutcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
  });
  EXPECT_TRUE(first.has_value());
  EXPECT_EQ(second, ErrorKind::kLocked);
}

// A part that continues a key waits for all before it.
TEST_F(Push, PartsOfOneKeyStayInOrder) {
  auto list = parts(40);
  for (std::size_t i = 0; i < list.size(); ++i) list[i].continues = i % 4 != 0;
  MemorySource source(list);
  std::mutex mutex;
  std::set<std::uint32_t> done;
  const auto result = run(
      source,
      [&](const Part& part) -> Result<PartOutcome, Error> {
        if (part.continues) {
          const std::lock_guard lock(mutex);
          for (std::uint32_t i = 0; i < part.index; ++i)
            EXPECT_TRUE(done.contains(i)) << part.index;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(part.index % 3));
        const std::lock_guard lock(mutex);
        done.insert(part.index);
        return PartOutcome{.fate = PartFate::kApplied, .counts = {}, .why = {}};
      },
      4);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(done.size(), 40U);
}

// All keys of a store, cut at random points and resumed, while both sides are written to.
TEST_F(Push, ManyCutsLoseNothingAndBringNothingBack) {
  if (!RedisServer::installed()) GTEST_SKIP() << "redis-server or redis-cli is not installed";
  RedisServer here(kDebugCommand);
  RedisServer there(kDebugCommand);
  const auto a = link_to(here);
  const auto b = link_to(there);
  fill_mixed(*a, 0, kKeys, "first");
  // The target has keys of its own, newer than the source's.
  for (int i = 0; i < 500; ++i) ask(*b, {"SET", "key:" + std::to_string(i * 16 + 6), "newer"});
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    const auto own = link_to(here);
    const auto other = link_to(there);
    for (int i = 0; !stop; ++i) {
      ask(*own, {"SET", "moving:" + std::to_string(i % 300), std::to_string(i)});
      ask(*own, {"DEL", "moving:" + std::to_string((i + 150) % 300)});
      ask(*other, {"SET", "mine:" + std::to_string(i % 300), std::to_string(i)});
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  std::mt19937_64 engine(7);
  RedisSink sink(there.address(), ApplyMode::kFillMissing, nullptr);
  const SendPart good = send_to(sink);
  int cuts = 0;
  std::uint64_t keys_read = 0;
  for (bool complete = false; !complete;) {
    RedisSourceOptions options;
    options.part_size = static_cast<std::size_t>(kKeys) * 110 / (kCuts * 4);
    auto source = RedisSource::open(here.address(), options, system_clock(), nullptr);
    ASSERT_TRUE(source.has_value());
    int budget = cuts < kCuts ? static_cast<int>(engine() % 7) : 1 << 30;
    const bool behind = engine() % 2 == 0;
    std::mutex mutex;
    const auto result = run(
        *source.value(),
        [&](const Part& part) -> Result<PartOutcome, Error> {
          {
            const std::lock_guard lock(mutex);
            if (budget-- <= 0 && !behind) return Error{ErrorKind::kFailed, "cut"};
          }
          auto outcome = good(part);
          const std::lock_guard lock(mutex);
          if (budget < 0 && behind) return Error{ErrorKind::kFailed, "cut"};
          return outcome;
        },
        2);
    keys_read += source.value()->progress().keys;
    complete = result.has_value();
    if (complete) {
      EXPECT_EQ(result.value().counts.failed, 0U);
      EXPECT_TRUE(result.value().proven()) << result.value().unproven;
    } else {
      ASSERT_EQ(result.error().message, "cut");
      ++cuts;
    }
  }
  stop = true;
  writer.join();
  EXPECT_GE(cuts, kCuts / 2);
  EXPECT_LT(keys_read, static_cast<std::uint64_t>(kKeys) * 6)
      << "it resumes, it does not start over";
  // Nothing lost, nothing changed that was there, nothing that the source never had.
  for (int i = 0; i < 500; ++i) {
    const std::string key = "key:" + std::to_string(i * 16 + 6);
    ASSERT_EQ(ask(*b, {"GET", key}).text, "newer");
    ask(*b, {"DEL", key});
    ask(*a, {"DEL", key});
  }
  for (RedisLink* const link : {a.get(), b.get()}) {
    for (int i = 0; i < 300; ++i) {
      ask(*link, {"DEL", "moving:" + std::to_string(i), "mine:" + std::to_string(i)});
    }
  }
  EXPECT_EQ(ask(*a, {"DBSIZE"}).integer, ask(*b, {"DBSIZE"}).integer);
  EXPECT_EQ(digest_of(*a), digest_of(*b));
}

}  // namespace
}  // namespace sealane::warm
