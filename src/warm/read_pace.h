#pragma once
// ReadPace: how fast a source reads, and that its waits end: what sources that read a server share.
#include <mutex>
#include <optional>

#include "base/token_bucket.h"
#include "flow/stream.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::warm {

// pay() is for one thread at a time, the rest for any.
class ReadPace {
 public:
  // `cancel` may be null.
  ReadPace(Clock& clock, const flow::Cancellation* cancel) : clock_(clock), cancel_(cancel) {}
  void set_rate(std::uint64_t bytes_per_second);  // 0: no limit; at once, also for who waits
  std::uint64_t rate() const;
  // Waits until so many bytes may have been read; kInterrupted after interrupt() or `cancel`.
  Result<void, Error> pay(std::uint64_t bytes);
  void interrupt() noexcept { interrupted_.cancel(); }

 private:
  Clock& clock_;
  const flow::Cancellation* cancel_;
  flow::Cancellation interrupted_;
  mutable std::mutex mutex_;
  std::uint64_t rate_ = 0;
  std::optional<TokenBucket> bucket_;
};

}  // namespace sealane::warm
