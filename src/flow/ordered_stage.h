#pragma once
// Ordered stage: items enter one after the other, are worked on in parallel, and leave in the order
// in which they came. A lane is the memory for one item and what is done with it; a thread carries
// an item all the way where it can: what it read is still in its core's cache when it works on it
// and writes it. One that is done before its turn leaves the lane to whoever gives the item before,
// and goes on with another. The lanes are the credit: as many items as lanes are in flight, never
// more.
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "flow/halt.h"
#include "flow/thread.h"

namespace sealane::flow {

// Lets items through in the order of their numbers, from 0, one at a time. Thread-safe.
class Turnstile {
 public:
  // REQUIRES: never more than `width` items between the one that is through and the last that
  // waits.
  explicit Turnstile(std::size_t width);
  // Waits until all before `index` have left. False once `halt` stopped.
  bool enter(std::uint64_t index, const Halt& halt);
  void leave();  // by the one that entered

 private:
  std::mutex mutex_;
  std::vector<std::condition_variable> waiting_;  // item i waits at i % width
  std::uint64_t next_ = 0;
};

// Not thread-safe: its calls come one after the other. take() and work() of an item come from one
// thread, give() may come from another.
class Lane {
 public:
  virtual ~Lane() = default;
  // In order, one lane at a time: fetches item `index`. False: there are no more items.
  virtual Result<bool, Error> take(std::uint64_t index) = 0;
  // In parallel.
  virtual Result<void, Error> work(std::uint64_t index) = 0;
  // In order, one lane at a time; not called for an item whose work failed. An error of take() or
  // work() counts when its turn to give has come, so items before it are all given.
  virtual Result<void, Error> give(std::uint64_t index) = 0;
};

enum class GiveOrder : std::uint8_t {
  kOrdered,
  kNone,  // give() is not called and nobody waits for his turn
};

enum class Precedence : std::uint8_t {
  kEqual,
  // What feeds the lanes, or takes from them, runs on the same cores and is what all waits for: it
  // gets them first. As long as the lanes get enough of them; else they are equal from then on.
  kOthersFirst,
};

// Runs until take() says the end or something fails; the verdict is in `halt`. `threads` of them
// work, as many as lanes when it is 0; the first is the calling one, or it waits. Where the machine
// has no more threads, fewer do it all. REQUIRES: there are lanes.
void run_ordered(std::span<const std::unique_ptr<Lane>> lanes, GiveOrder order, Halt& halt,
                 Precedence precedence = Precedence::kEqual, std::size_t threads = 0);

// Whether a lane that ran and waited that long for one item gets too little of the cores.
bool starves(const CoreTime& item);

}  // namespace sealane::flow
