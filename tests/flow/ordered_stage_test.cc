// Goal: items leave in the order in which they came whatever the timing, and every way to end (the
// end, an error in each step, an exception, cancellation) ends all lanes. Method: lanes that sleep
// for seeded random times and record what happened.
#include "flow/ordered_stage.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <random>
#include <stdexcept>
#include <thread>

namespace sealane::flow {
namespace {

using std::chrono::steady_clock;

enum class Step { kNone, kTake, kWork, kGive };

// What all lanes of one run share.
struct Story {
  std::uint64_t items = 0;
  Step fails_in = Step::kNone;
  std::uint64_t fails_at = 0;
  bool throws = false;
  std::vector<std::uint64_t> taken = {};
  std::vector<std::uint64_t> given = {};
  std::atomic<int> in_flight{0};
  std::atomic<int> most_in_flight{0};
};

class DelayedLane final : public Lane {
 public:
  DelayedLane(Story& run, unsigned seed) : run_(run), random_(seed) {}
  Result<bool, Error> take(std::uint64_t index) override {
    if (index == run_.items) return false;
    run_.taken.push_back(index);
    const int now = ++run_.in_flight;
    int most = run_.most_in_flight.load();
    while (most < now && !run_.most_in_flight.compare_exchange_weak(most, now)) {
    }
    SEALANE_TRY(fail(Step::kTake, index));
    return true;
  }
  Result<void, Error> work(std::uint64_t index) override {
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 300));
    return fail(Step::kWork, index);
  }
  Result<void, Error> give(std::uint64_t index) override {
    SEALANE_TRY(fail(Step::kGive, index));
    run_.given.push_back(index);
    --run_.in_flight;
    return success();
  }

 private:
  Result<void, Error> fail(Step step, std::uint64_t index) const {
    if (step != run_.fails_in || index != run_.fails_at) return success();
    if (run_.throws) throw std::runtime_error("thrown");
    return Error{ErrorKind::kFailed, "item " + std::to_string(index)};
  }
  Story& run_;
  std::minstd_rand random_;
};

std::vector<std::unique_ptr<Lane>> make_lanes(Story& run, unsigned count) {
  std::vector<std::unique_ptr<Lane>> lanes;
  for (unsigned i = 0; i < count; ++i) lanes.push_back(std::make_unique<DelayedLane>(run, i + 1));
  return lanes;
}

std::vector<std::uint64_t> first_numbers(std::uint64_t count) {
  std::vector<std::uint64_t> numbers(count);
  for (std::uint64_t i = 0; i < count; ++i) numbers[i] = i;
  return numbers;
}

TEST(OrderedStage, KeepsTheOrderUnderRandomDelays) {
  for (const unsigned lanes : {1U, 2U, 3U, 8U}) {
    Story run{.items = 300};
    Halt halt;
    run_ordered(make_lanes(run, lanes), GiveOrder::kOrdered, halt);
    EXPECT_TRUE(halt.result().has_value());
    EXPECT_EQ(run.given, first_numbers(300)) << lanes << " lanes";
    EXPECT_LE(run.most_in_flight, static_cast<int>(lanes));
  }
}

TEST(OrderedStage, KeepsTheOrderWithFewerThreadsThanLanes) {
  for (const std::size_t threads : {1U, 2U, 3U, 12U}) {
    Story run{.items = 300};
    Halt halt;
    run_ordered(make_lanes(run, 6), GiveOrder::kOrdered, halt, Precedence::kEqual, threads);
    EXPECT_TRUE(halt.result().has_value());
    EXPECT_EQ(run.given, first_numbers(300)) << threads << " threads";
    EXPECT_LE(run.most_in_flight, 6);
  }
}

TEST(OrderedStage, AThreadThatIsDoneBeforeItsTurnGoesOn) {
  // Item 0 is worked on until the other thread has had all the others that there are lanes for.
  struct Shared {
    std::atomic<int> worked{0};
    std::vector<std::uint64_t> given;
  } shared;
  class WaitingLane final : public Lane {
   public:
    explicit WaitingLane(Shared& shared) : shared_(shared) {}
    Result<bool, Error> take(std::uint64_t index) override { return index < 20; }
    Result<void, Error> work(std::uint64_t index) override {
      ++shared_.worked;
      while (index == 0 && shared_.worked < 4) std::this_thread::yield();
      return success();
    }
    Result<void, Error> give(std::uint64_t index) override {
      shared_.given.push_back(index);
      return success();
    }

   private:
    Shared& shared_;
  };
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int i = 0; i < 4; ++i) lanes.push_back(std::make_unique<WaitingLane>(shared));
  Halt halt;
  run_ordered(lanes, GiveOrder::kOrdered, halt, Precedence::kEqual, 2);
  EXPECT_TRUE(halt.result().has_value());
  EXPECT_EQ(shared.given, first_numbers(20));
}

TEST(OrderedStage, GivesAllBeforeAFailureAndNothingAfter) {
  for (const std::size_t threads : {4U, 2U})
    for (const Step step : {Step::kTake, Step::kWork, Step::kGive})
      for (const std::uint64_t at : {0U, 1U, 7U, 49U}) {
        Story run{.items = 50, .fails_in = step, .fails_at = at};
        Halt halt;
        run_ordered(make_lanes(run, 4), GiveOrder::kOrdered, halt, Precedence::kEqual, threads);
        ASSERT_FALSE(halt.result().has_value());
        EXPECT_EQ(halt.result().error().message, "item " + std::to_string(at));
        EXPECT_EQ(run.given, first_numbers(at));
      }
}

TEST(OrderedStage, AnExceptionStopsItAndBecomesAnError) {
  for (const Step step : {Step::kTake, Step::kWork, Step::kGive}) {
    Story run{.items = 1000000, .fails_in = step, .fails_at = 20, .throws = true};
    Halt halt;
    run_ordered(make_lanes(run, 4), GiveOrder::kOrdered, halt);
    ASSERT_FALSE(halt.result().has_value());
    EXPECT_EQ(halt.result().error(), (Error{ErrorKind::kFailed, "thrown"}));
    EXPECT_LT(run.taken.size(), 1000U);
  }
}

TEST(OrderedStage, GivingWayChangesNothingInWhatComesOut) {
  for (const unsigned lanes : {1U, 3U}) {
    Story run{.items = 300};
    Halt halt;
    run_ordered(make_lanes(run, lanes), GiveOrder::kOrdered, halt, Precedence::kOthersFirst);
    EXPECT_TRUE(halt.result().has_value());
    EXPECT_EQ(run.given, first_numbers(300)) << lanes << " lanes";
    EXPECT_LE(run.most_in_flight, static_cast<int>(lanes));
  }
  // Both in the thread that has not given way yet, and in the one that has.
  for (const bool throws : {false, true})
    for (const Step step : {Step::kTake, Step::kWork, Step::kGive})
      for (const std::uint64_t at : {0U, 1U, 49U}) {
        Story run{.items = 50, .fails_in = step, .fails_at = at, .throws = throws};
        Halt halt;
        run_ordered(make_lanes(run, 2), GiveOrder::kOrdered, halt, Precedence::kOthersFirst);
        ASSERT_FALSE(halt.result().has_value());
        if (throws) {
          EXPECT_EQ(halt.result().error().message, "thrown");
        } else {
          EXPECT_EQ(halt.result().error().message, "item " + std::to_string(at));
          EXPECT_EQ(run.given, first_numbers(at));
        }
      }
}

// Computes for a millisecond of this thread's own time.
void compute() {
  const auto now = [] {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
  };
  const auto end = now() + std::chrono::milliseconds(1);
  while (now() < end) {
  }
}

// Others that fill all cores: from the start, or once `when` is set; to the end of its life.
class Others {
 public:
  explicit Others(const std::atomic<bool>* when = nullptr) {
    for (unsigned i = 0; i < 2 * core_count(); ++i) {
      threads_.emplace_back([this, when] {
        one_ = this_thread();
        while (when != nullptr && !*when && !done_)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        while (!done_) compute();
      });
    }
  }
  ~Others() { end(); }
  Others(const Others&) = delete;
  Others& operator=(const Others&) = delete;
  void end() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  ThreadId one() const {
    while (one_ == 0) std::this_thread::yield();
    return one_;
  }

 private:
  std::atomic<bool> done_{false};
  std::atomic<ThreadId> one_{0};
  std::vector<std::thread> threads_;
};

TEST(OrderedStage, StopsGivingWayWhereOthersTakeAll) {
  class ComputingLane final : public Lane {
   public:
    Result<bool, Error> take(std::uint64_t index) override { return index < 600; }
    Result<void, Error> work(std::uint64_t) override {
      compute();
      return success();
    }
    Result<void, Error> give(std::uint64_t) override { return success(); }
  };
  Others others;
  std::vector<std::unique_ptr<Lane>> lanes;
  for (unsigned i = 0; i < core_count() + 1; ++i)
    lanes.push_back(std::make_unique<ComputingLane>());
  Halt halt;
  const auto start = steady_clock::now();
  run_ordered(lanes, GiveOrder::kOrdered, halt, Precedence::kOthersFirst);
  const auto took = steady_clock::now() - start;
  others.end();
  EXPECT_TRUE(halt.result().has_value());
  // What others leave is 1/700 of a core: giving way to the end takes minutes.
  EXPECT_LT(took, std::chrono::seconds(40));
}

TEST(OrderedStage, LiftsALaneThatIsStuckInItsItemWhereItMay) {
  bool may = false;
  Thread([&] { may = leave_cores_to_others() && take_cores_again(this_thread()); }).join();
  if (!may) GTEST_SKIP() << "this user may not take a thread back from SCHED_IDLE";
  // The first item of a lane is no different. In its second one all cores are filled by others.
  std::atomic<bool> full{false};
  class LongLane final : public Lane {
   public:
    explicit LongLane(std::atomic<bool>& full) : full_(full) {}
    Result<bool, Error> take(std::uint64_t index) override { return index < 2; }
    Result<void, Error> work(std::uint64_t index) override {
      full_ = index == 1;
      for (int i = 0; i < (index == 0 ? 1 : 500); ++i) compute();
      return success();
    }
    Result<void, Error> give(std::uint64_t) override { return success(); }

   private:
    std::atomic<bool>& full_;
  };
  Others others(&full);
  std::vector<std::unique_ptr<Lane>> lanes;
  lanes.push_back(std::make_unique<LongLane>(full));
  Halt halt;
  const auto start = steady_clock::now();
  run_ordered(lanes, GiveOrder::kOrdered, halt, Precedence::kOthersFirst);
  const auto took = steady_clock::now() - start;
  others.end();
  EXPECT_TRUE(halt.result().has_value());
  // A third of a core is its share; half a second of work at 1/700 would take minutes.
  EXPECT_LT(took, std::chrono::seconds(40));
}

TEST(Thread, CountsWhoWantsACoreAndSeesAFullMachine) {
  Others others;
  const ThreadId one = others.one();
  const auto running = others_running();
  if (running.has_value()) {
    EXPECT_GE(*running, core_count());
    EXPECT_TRUE(cores_are_taken());
    EXPECT_TRUE(has_work(one));
  }
  others.end();
  EXPECT_FALSE(has_work(one));  // it is gone
}

TEST(OrderedStage, ALaneStarvesThatWaitsFarLongerThanItRuns) {
  using std::chrono::milliseconds;
  EXPECT_FALSE(starves({.ran = milliseconds(0), .waited = milliseconds(50)}));
  EXPECT_TRUE(starves({.ran = milliseconds(0), .waited = milliseconds(51)}));
  EXPECT_FALSE(starves({.ran = milliseconds(10), .waited = milliseconds(210)}));
  EXPECT_TRUE(starves({.ran = milliseconds(10), .waited = milliseconds(211)}));
}

TEST(Thread, LeavesCoresToOthersAndKnowsItsTime) {
  bool left = false;
  int policy = -1;
  CoreTime before;
  CoreTime after;
  Thread([&] {
    before = core_time(this_thread());
    for (int i = 0; i < 20; ++i) compute();
    after = core_time(this_thread());
    left = leave_cores_to_others();
    policy = ::sched_getscheduler(0);
  }).join();
  EXPECT_EQ(left, policy == SCHED_IDLE);
  if (after.ran.count() > 0) {
    EXPECT_GE(after.ran - before.ran, std::chrono::milliseconds(10));
  }
  EXPECT_GE(after.waited, before.waited);
  EXPECT_NE(::sched_getscheduler(0), SCHED_IDLE);  // not this one
}

TEST(OrderedStage, WithoutOrderTheEarliestFailureIsReported) {
  // Item 2 fails at once and item 1 later: a reader in order would have met item 1.
  class TwoFail final : public Lane {
   public:
    explicit TwoFail(std::atomic<int>& started) : started_(started) {}
    Result<bool, Error> take(std::uint64_t index) override { return index < 3; }
    Result<void, Error> work(std::uint64_t index) override {
      ++started_;
      while (started_ < 3) std::this_thread::yield();
      if (index == 0) return success();
      if (index == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
      return Error{ErrorKind::kFailed, std::to_string(index)};
    }
    Result<void, Error> give(std::uint64_t) override { return success(); }

   private:
    std::atomic<int>& started_;
  };
  std::atomic<int> started{0};
  std::vector<std::unique_ptr<Lane>> lanes;
  for (int i = 0; i < 3; ++i) lanes.push_back(std::make_unique<TwoFail>(started));
  Halt halt;
  run_ordered(lanes, GiveOrder::kNone, halt);
  ASSERT_FALSE(halt.result().has_value());
  EXPECT_EQ(halt.result().error().message, "1");
}

TEST(OrderedStage, CancellationWakesAllLanes) {
  for (int delay = 0; delay < 10; ++delay) {
    Story run{.items = UINT64_MAX};
    Cancellation cancel;
    Halt halt(&cancel);
    std::atomic<steady_clock::time_point> asked{};
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      asked = steady_clock::now();
      cancel.cancel();
    });
    run_ordered(make_lanes(run, 4), GiveOrder::kOrdered, halt);
    const auto waited = steady_clock::now() - asked.load();
    canceller.join();
    EXPECT_LT(waited, std::chrono::seconds(5));  // 20 ms, and what a loaded machine adds
    ASSERT_FALSE(halt.result().has_value());
    EXPECT_EQ(halt.result().error().kind, ErrorKind::kInterrupted);
  }
}

TEST(OrderedStage, EndsAtOnceWhenCancelledBefore) {
  Story run{.items = 10};
  Cancellation cancel;
  cancel.cancel();
  Halt halt(&cancel);
  run_ordered(make_lanes(run, 2), GiveOrder::kOrdered, halt);
  EXPECT_TRUE(run.taken.empty());
  EXPECT_EQ(halt.result().error().kind, ErrorKind::kInterrupted);
}

TEST(Turnstile, WakesAWaiterWhenTheFlowFails) {
  Halt halt;
  Turnstile turn(2);
  std::thread waiter([&] { EXPECT_FALSE(turn.enter(1, halt)); });
  halt.fail({ErrorKind::kFailed, "elsewhere"});
  waiter.join();
}

TEST(Halt, TheFirstErrorWinsAndWakesOnce) {
  int woken = 0;
  Halt halt(nullptr, [&] { ++woken; });
  EXPECT_FALSE(halt.stopped());
  EXPECT_TRUE(halt.result().has_value());
  halt.fail({ErrorKind::kFailed, "first"}, 7);
  halt.fail({ErrorKind::kFailed, "second"}, 7);
  halt.fail({ErrorKind::kFailed, "later in the stream"}, 8);
  EXPECT_TRUE(halt.stopped());
  EXPECT_EQ(halt.result().error().message, "first");
  halt.fail({ErrorKind::kFailed, "earlier in the stream"}, 6);
  EXPECT_EQ(halt.result().error().message, "earlier in the stream");
  EXPECT_EQ(woken, 1);
}

}  // namespace
}  // namespace sealane::flow
