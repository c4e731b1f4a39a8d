#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "flow/stream.h"

namespace sealane::flow {

Cancellation::Cancellation() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  SEALANE_CHECK(event_ >= 0);
}

Cancellation::~Cancellation() { ::close(event_); }

void Cancellation::cancel() noexcept {
  cancelled_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  // Only a full counter refuses, and then the descriptor is readable already.
  [[maybe_unused]] const auto written = ::write(event_, &one, sizeof one);
}

}  // namespace sealane::flow
