#include "flow/ordered_stage.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace sealane::flow {
namespace {

// A lane that gives way to a dump on two cores waits at most 8 times as long as it runs. Where
// others leave it a tenth of that it would be what all waits for.
constexpr std::chrono::milliseconds kPatience{50};
constexpr int kPatienceFactor = 16;
// One that gets less than a tenth of a core, look after look, would be at its item for seconds.
constexpr std::chrono::milliseconds kLook{50};
constexpr int kLookShare = 10;
constexpr int kLooks = 6;

CoreTime operator-(const CoreTime& to, const CoreTime& from) {
  return {.ran = to.ran - from.ran, .waited = to.waited - from.waited};
}

class Stage {
 public:
  Stage(std::span<const std::unique_ptr<Lane>> lanes, GiveOrder order, Halt& halt)
      : order_(order), halt_(halt), done_(lanes.size()) {
    free_.reserve(lanes.size());
    for (const auto& lane : lanes) free_.push_back(lane.get());
  }

  void run(Precedence precedence) noexcept {
    guard([&] {
      if (precedence == Precedence::kOthersFirst && has_cores()) {
        try {
          give_way();
        } catch (const std::system_error&) {
          // no more threads: this one does it
        }
      }
      while (step()) {
      }
    });
  }

 private:
  // An item between its work and its turn to be given.
  struct Done {
    Lane* lane = nullptr;  // null: not there yet
    Result<void, Error> work = success();
  };

  template <class Body>
  void guard(const Body& body) noexcept {
    try {
      body();
    } catch (const std::bad_alloc&) {
      halt_.fail({ErrorKind::kFailed, "the machine has no memory left; nothing was finished"});
    } catch (const std::exception& problem) {
      halt_.fail({ErrorKind::kFailed, printable(problem.what())});
    }
  }

  // Whether there is something to give away: not on a machine that is full already, and not where
  // it could not be found out.
  bool has_cores() {
    const ThreadId self = this_thread();
    const CoreTime before = core_time(self);
    if (!step()) return false;
    const CoreTime item = core_time(self) - before;
    if (starves(item)) hurry_ = true;
    return item.ran.count() > 0 && !hurry_;
  }

  // A thread that gave way cannot go back, or only with a right that few have. So it is another
  // that does, and this one watches, to take over when there is too little left for it. It also
  // sees what the other cannot while it has no core at all.
  void give_way() {
    std::mutex mutex;
    std::condition_variable changed;
    bool over = false;
    std::atomic<ThreadId> behind{0};
    const Thread thread([&] {
      behind = this_thread();
      guard([&] { run_behind_others(); });
      const std::lock_guard lock(mutex);
      over = true;
      changed.notify_one();
    });
    std::unique_lock lock(mutex);
    CoreTime before;
    int looks = 0;
    while (!changed.wait_for(lock, kLook, [&] { return over; })) {
      const ThreadId id = behind;
      if (id == 0) continue;
      const CoreTime now = core_time(id);
      looks = has_work(id) && (now - before).ran * kLookShare < kLook ? looks + 1 : 0;
      before = now;
      if (looks >= kLooks) hurry_ = true;
      if (hurry_) take_cores_again(id);  // where it may, for the item that it is at
    }
  }

  void run_behind_others() {
    if (!leave_cores_to_others()) return;
    const ThreadId self = this_thread();
    CoreTime before = core_time(self);
    while (!hurry_ && step()) {
      const CoreTime after = core_time(self);
      // 0: it can no longer be found out.
      if (after.ran.count() == 0 || starves(after - before)) hurry_ = true;
      before = after;
    }
  }

  // One item; false when there is nothing left to do.
  bool step() {
    Lane* const lane = claim();
    if (lane == nullptr) return false;
    const bool more = step(*lane);
    if (!more) release(*lane);  // another thread may wait for one, and finds the end too
    return more;
  }

  // Null once it is over.
  Lane* claim() {
    std::unique_lock lock(mutex_);
    while (free_.empty() && !halt_.stopped()) freed_.wait_for(lock, kHaltPoll);
    if (halt_.stopped()) return nullptr;
    Lane* const lane = free_.back();  // the last that was used: its memory is in a cache
    free_.pop_back();
    return lane;
  }

  void release(Lane& lane) {
    {
      const std::lock_guard lock(mutex_);
      free_.push_back(&lane);  // never allocates: reserved for all
    }
    freed_.notify_one();
  }

  bool step(Lane& lane) {
    std::uint64_t index = 0;
    Result<void, Error> done = success();
    {
      const std::lock_guard lock(take_);
      if (ended_ || halt_.stopped()) return false;
      index = taken_++;
      // An exception leaves the stage ended, so that no other lane takes after it.
      ended_ = true;
      auto took = lane.take(index);
      if (took.has_value()) {
        if (!took.value()) return false;
        ended_ = false;
      } else {
        done = std::move(took).error();
      }
    }
    if (done.has_value()) done = lane.work(index);
    if (order_ == GiveOrder::kOrdered) {
      give_in_order(index, {&lane, std::move(done)});
      return true;
    }
    if (!done.has_value()) {
      halt_.fail(std::move(done).error(), index);
      return false;
    }
    release(lane);
    return true;
  }

  // Gives what may be given by now, unless another thread does so: then it will see this item too.
  // Whoever fails in it leaves giving_ set, and nothing is given any more.
  void give_in_order(std::uint64_t index, Done item) {
    std::unique_lock lock(mutex_);
    done_[index % done_.size()] = std::move(item);
    if (giving_) return;
    giving_ = true;
    for (;;) {
      const std::uint64_t next = given_;
      Done now = std::exchange(done_[next % done_.size()], {});
      if (now.lane == nullptr || halt_.stopped()) break;
      lock.unlock();
      if (now.work.has_value()) now.work = now.lane->give(next);
      if (!now.work.has_value()) return halt_.fail(std::move(now.work).error(), next);
      lock.lock();
      ++given_;
      free_.push_back(now.lane);
      freed_.notify_one();
    }
    giving_ = false;
  }

  const GiveOrder order_;
  Halt& halt_;
  std::atomic<bool> hurry_{false};  // some lane got too little
  std::mutex take_;
  std::uint64_t taken_ = 0;
  bool ended_ = false;

  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Lane*> free_;
  std::vector<Done> done_;  // item i at i % size
  std::uint64_t given_ = 0;
  bool giving_ = false;  // by one thread, which looks for more before it stops
};

}  // namespace

Turnstile::Turnstile(std::size_t width) : waiting_(width) { SEALANE_CHECK(width > 0); }

bool Turnstile::enter(std::uint64_t index, const Halt& halt) {
  std::unique_lock lock(mutex_);
  SEALANE_CHECK(index >= next_ && index - next_ < waiting_.size());
  while (index != next_ && !halt.stopped())
    waiting_[index % waiting_.size()].wait_for(lock, kHaltPoll);
  return index == next_ && !halt.stopped();
}

void Turnstile::leave() {
  std::uint64_t next = 0;
  {
    const std::lock_guard lock(mutex_);
    next = ++next_;
  }
  waiting_[next % waiting_.size()].notify_one();
}

bool starves(const CoreTime& item) { return item.waited > kPatience + kPatienceFactor * item.ran; }

void run_ordered(std::span<const std::unique_ptr<Lane>> lanes, GiveOrder order, Halt& halt,
                 Precedence precedence, std::size_t threads) {
  SEALANE_CHECK(!lanes.empty());
  Stage stage(lanes, order, halt);
  const std::size_t others = (threads == 0 ? lanes.size() : threads) - 1;
  std::vector<Thread> running;
  running.reserve(others);
  for (std::size_t i = 0; i < others; ++i) {
    try {
      running.emplace_back([&stage, precedence] { stage.run(precedence); });
    } catch (const std::system_error&) {
      break;  // no more threads: those that run do all the work
    }
  }
  stage.run(precedence);
}

}  // namespace sealane::flow
