#include "flow/ordered_stage.h"

#include <exception>
#include <new>
#include <system_error>

#include "base/check.h"
#include "flow/thread.h"

namespace sealane::flow {
namespace {

class Stage {
 public:
  Stage(std::size_t width, GiveOrder order, Halt& halt)
      : order_(order), halt_(halt), gives_(width) {}

  void run(Lane& lane) noexcept {
    try {
      while (step(lane)) {
      }
    } catch (const std::bad_alloc&) {
      halt_.fail({ErrorKind::kFailed, "the machine has no memory left; nothing was finished"});
    } catch (const std::exception& problem) {
      halt_.fail({ErrorKind::kFailed, printable(problem.what())});
    }
  }

 private:
  // One item; false when the lane has nothing left to do.
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
    if (order_ == GiveOrder::kNone) {
      if (done.has_value()) return true;
      halt_.fail(std::move(done).error(), index);
      return false;
    }
    if (!gives_.enter(index, halt_)) return false;
    if (done.has_value()) done = lane.give(index);
    if (!done.has_value()) {
      halt_.fail(std::move(done).error(), index);
      return false;
    }
    gives_.leave();
    return true;
  }

  const GiveOrder order_;
  Halt& halt_;
  std::mutex take_;
  std::uint64_t taken_ = 0;
  bool ended_ = false;
  Turnstile gives_;
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

void run_ordered(std::span<const std::unique_ptr<Lane>> lanes, GiveOrder order, Halt& halt) {
  SEALANE_CHECK(!lanes.empty());
  Stage stage(lanes.size(), order, halt);
  std::vector<Thread> threads;
  threads.reserve(lanes.size());
  for (const auto& lane : lanes.subspan(1)) {
    try {
      threads.emplace_back([&stage, &lane] { stage.run(*lane); });
    } catch (const std::system_error&) {
      break;  // no more threads: those that run do all the work
    }
  }
  stage.run(*lanes.front());
}

}  // namespace sealane::flow
