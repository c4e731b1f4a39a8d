// Goal: a source read ahead gives the same parts in the same order and ends as it would; what waits
// is bounded; nobody hangs, whoever ends first. Method: a source of the test that counts its calls
// and can be held.
#include "warm/parts_ahead.h"

#include <gtest/gtest.h>

#include <thread>

#include "flow/descriptor.h"

namespace sealane::warm {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kSize = 1000;

// What a source of the test is told and did; outlives it. Thread-safe.
struct Script {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint32_t parts = 0;  // that it has
  bool fails = false;       // behind them
  bool waits = false;       // behind them, until it is interrupted
  std::uint32_t read = 0;
  std::size_t reused = 0;
  bool interrupted = false;
  PartCursor resumed;

  std::uint32_t read_so_far() {
    const std::lock_guard lock(mutex);
    return read;
  }
  // Whether it was asked so often; waits for it.
  bool reads(std::uint32_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 60s, [&] { return read >= count; });
  }
};

class Scripted final : public Source {
 public:
  explicit Scripted(Script& script) : script_(script) {}
  std::string description() const override { return "a script"; }
  Result<bool, Error> resume(const PartCursor& behind) override {
    script_.resumed = behind;
    return true;
  }
  Result<std::optional<Part>, Error> next() override {
    std::unique_lock lock(script_.mutex);
    if (script_.read < script_.parts) {
      Part part;
      part.commands = Bytes(kSize);
      part.index = script_.read++;
      script_.changed.notify_all();
      return std::optional(std::move(part));
    }
    if (script_.waits) script_.changed.wait(lock, [this] { return script_.interrupted; });
    if (script_.interrupted) return flow::interrupted();
    if (script_.fails) return Error{ErrorKind::kFailed, "it broke"};
    return std::optional<Part>();
  }
  void reuse(Bytes&& memory) override {
    const Bytes given = std::move(memory);
    const std::lock_guard lock(script_.mutex);
    if (given.capacity() > 0) ++script_.reused;
  }
  void interrupt() noexcept override {
    const std::lock_guard lock(script_.mutex);
    script_.interrupted = true;
    script_.changed.notify_all();
  }

 private:
  Script& script_;
};

class Ahead : public ::testing::Test {
 protected:
  PartsAhead make(std::size_t memory) {
    return {std::make_unique<Scripted>(script_), memory + 3 * kSize, 3};
  }
  // The index of the next part; nothing at the end. A failure is one of the test.
  static std::optional<std::uint32_t> index_of_next(PartsAhead& ahead) {
    auto part = ahead.next();
    EXPECT_TRUE(part.has_value());
    if (!part.has_value() || !part.value()) return std::nullopt;
    const std::uint32_t index = part.value()->index;
    ahead.reuse(std::move(part.value()->commands));
    return index;
  }
  Script script_;
};

TEST_F(Ahead, AllPartsComeInOrderAndTheirMemoryGoesBack) {
  script_.parts = 5000;
  PartsAhead ahead = make(10 * kSize);
  for (std::uint32_t i = 0; i < script_.parts; ++i) ASSERT_EQ(index_of_next(ahead), i);
  EXPECT_EQ(index_of_next(ahead), std::nullopt);
  EXPECT_EQ(index_of_next(ahead), std::nullopt) << "an end stays one";
  EXPECT_GT(script_.reused, 0U);
}

TEST_F(Ahead, NothingIsReadBeforeItIsAskedFor) {
  script_.parts = 3;
  PartsAhead ahead = make(10 * kSize);
  const auto resumed = ahead.resume("there");
  ASSERT_TRUE(resumed.has_value());
  EXPECT_EQ(script_.resumed, "there");
  EXPECT_EQ(script_.read_so_far(), 0U);
  EXPECT_EQ(index_of_next(ahead), 0U);
}

TEST_F(Ahead, WhatWaitsFitsIntoTheMemory) {
  script_.parts = 100;
  PartsAhead ahead = make(10 * kSize);
  for (std::uint32_t taken = 1; taken <= 80; ++taken) {
    auto part = ahead.next();
    ASSERT_TRUE(part.has_value() && part.value());
    ASSERT_TRUE(script_.reads(taken + 10));
    std::this_thread::sleep_for(1ms);
    ASSERT_EQ(script_.read_so_far(), taken + 10);
    // Given back, it holds no room: the next part is made in it.
    if (taken % 2 == 0) ahead.reuse(std::move(part.value()->commands));
  }
}

TEST_F(Ahead, APartLargerThanTheMemoryComesAlone) {
  script_.parts = 10;
  PartsAhead ahead(std::make_unique<Scripted>(script_), kSize / 2, 3);
  for (std::uint32_t i = 0; i < script_.parts; ++i) {
    ASSERT_EQ(index_of_next(ahead), i);
    EXPECT_LE(script_.read_so_far(), i + 2);
  }
  EXPECT_EQ(index_of_next(ahead), std::nullopt);
}

TEST_F(Ahead, AFailureComesBehindTheGoodParts) {
  script_.parts = 3;
  script_.fails = true;
  PartsAhead ahead = make(10 * kSize);
  for (std::uint32_t i = 0; i < script_.parts; ++i) ASSERT_EQ(index_of_next(ahead), i);
  for (int i = 0; i < 2; ++i) {
    const auto end = ahead.next();
    ASSERT_FALSE(end.has_value());
    EXPECT_EQ(end.error().message, "it broke");
  }
}

TEST_F(Ahead, AnInterruptReachesWhoReadsAndWhoWaitsForRoom) {
  for (const bool full : {false, true}) {
    Script script;
    script.parts = full ? 100 : 2;
    script.waits = true;
    PartsAhead ahead(std::make_unique<Scripted>(script), 4 * kSize, 0);
    ASSERT_TRUE(ahead.next().has_value());
    ASSERT_TRUE(script.reads(full ? 5 : 2));
    ahead.interrupt();
    auto last = ahead.next();
    while (last.has_value() && last.value()) last = ahead.next();
    ASSERT_FALSE(last.has_value());
    EXPECT_EQ(last.error().kind, ErrorKind::kInterrupted);
    EXPECT_LE(script.read_so_far(), 6U);
  }
}

TEST_F(Ahead, WhoStopsEarlyWaitsForNobody) {
  script_.parts = 1;
  script_.waits = true;
  {
    PartsAhead ahead = make(4 * kSize);
    EXPECT_EQ(index_of_next(ahead), 0U);
  }
  EXPECT_TRUE(script_.interrupted);
  const PartsAhead never_begun = make(4 * kSize);
}

}  // namespace
}  // namespace sealane::warm
