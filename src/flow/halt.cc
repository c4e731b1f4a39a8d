#include "flow/halt.h"

#include "flow/descriptor.h"

namespace sealane::flow {

void Halt::fail(Error error, std::uint64_t position) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = !error_.has_value();
    if (first || position < position_) {
      error_ = std::move(error);
      position_ = position;
    }
    failed_.store(true, std::memory_order_release);
  }
  if (first && on_failure_) on_failure_();
}

Result<void, Error> Halt::result() const {
  const std::lock_guard lock(mutex_);
  if (error_) return *error_;
  if (cancel_ != nullptr && cancel_->cancelled()) return interrupted();
  return success();
}

}  // namespace sealane::flow
