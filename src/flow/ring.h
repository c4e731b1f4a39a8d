#pragma once
// Ring: a bounded queue between threads. A full ring makes its writers wait: that is the back
// pressure.
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "flow/halt.h"

namespace sealane::flow {

// Thread-safe; any number of writers and readers. Allocates only when made.
template <class T>
class Ring {
 public:
  explicit Ring(std::size_t capacity) : slots_(capacity) { SEALANE_CHECK(capacity > 0); }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Waits for room. False once `halt` stopped; then `value` is gone. REQUIRES: not closed.
  bool push(T value, const Halt& halt) {
    {
      std::unique_lock lock(mutex_);
      SEALANE_CHECK(!closed_);
      while (count_ == slots_.size() && !halt.stopped()) room_.wait_for(lock, kHaltPoll);
      if (halt.stopped()) return false;
      slots_[(first_ + count_) % slots_.size()] = std::move(value);
      ++count_;
    }
    filled_.notify_one();
    return true;
  }
  // Waits for a value. Nothing when it is closed and empty, or once `halt` stopped.
  std::optional<T> pop(const Halt& halt) {
    std::optional<T> value;
    {
      std::unique_lock lock(mutex_);
      while (count_ == 0 && !closed_ && !halt.stopped()) filled_.wait_for(lock, kHaltPoll);
      if (count_ == 0 || halt.stopped()) return value;
      value = std::exchange(slots_[first_], T());
      first_ = (first_ + 1) % slots_.size();
      --count_;
    }
    room_.notify_one();
    return value;
  }
  // No more push(); readers get what is left, then nothing.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable filled_;
  std::vector<T> slots_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  bool closed_ = false;
};

}  // namespace sealane::flow
