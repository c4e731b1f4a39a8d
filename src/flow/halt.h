#pragma once
// Halt: the one verdict of a flow. The first error wins; everybody who waits in this folder looks
// here and gives up.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "flow/stream.h"

namespace sealane::flow {

// How long a waiter sleeps before it looks at its Halt again: a signal handler can set a flag, but
// it cannot notify a condition variable.
inline constexpr std::chrono::milliseconds kHaltPoll{20};

// Thread-safe.
class Halt {
 public:
  // `on_failure` runs once, in the thread that fails first: it wakes those who block outside of
  // flow.
  explicit Halt(const Cancellation* cancel = nullptr, std::function<void()> on_failure = {})
      : cancel_(cancel), on_failure_(std::move(on_failure)) {}
  Halt(const Halt&) = delete;
  Halt& operator=(const Halt&) = delete;

  // Keeps `error`, unless one of the same or an earlier position in the stream is kept already:
  // work out of order still reports what a reader in order would have met first.
  void fail(Error error, std::uint64_t position = 0);
  bool stopped() const noexcept {
    return failed_.load(std::memory_order_acquire) || (cancel_ != nullptr && cancel_->cancelled());
  }
  // After all threads of the flow have ended. kInterrupted if it was cancelled.
  Result<void, Error> result() const;

 private:
  const Cancellation* cancel_;
  std::function<void()> on_failure_;
  std::atomic<bool> failed_{false};
  mutable std::mutex mutex_;
  std::optional<Error> error_;
  std::uint64_t position_ = 0;
};

}  // namespace sealane::flow
