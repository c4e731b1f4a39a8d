#include "warm/parts_ahead.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "flow/descriptor.h"

namespace sealane::warm {

PartsAhead::~PartsAhead() { interrupt(); }

Result<bool, Error> PartsAhead::resume(const PartCursor& behind) {
  SEALANE_CHECK(!reader_);
  return source_->resume(behind);
}

Result<std::optional<Part>, Error> PartsAhead::next() {
  if (!reader_) reader_.emplace([this] { read(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || ended_; });
  if (ready_.empty()) {
    if (error_) return *error_;
    return std::optional<Part>();
  }
  std::optional<Part> part(std::move(ready_.front()));
  ready_.pop_front();
  held_ -= part->commands.capacity();
  changed_.notify_all();
  return part;
}

void PartsAhead::reuse(Bytes&& memory) {
  Bytes given = std::move(memory);
  const std::size_t size = given.capacity();
  const std::lock_guard lock(mutex_);
  if (size == 0 || ended_ || !fits(size)) return;
  held_ += size;
  spare_.push_back(std::move(given));
}

void PartsAhead::interrupt() noexcept {
  source_->interrupt();
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  changed_.notify_all();
}

std::optional<Bytes> PartsAhead::wait_for_room() {
  std::unique_lock lock(mutex_);
  changed_.wait(
      lock, [this] { return interrupted_ || ready_.empty() || !spare_.empty() || fits(last_); });
  if (interrupted_) return std::nullopt;
  Bytes memory;
  if (!spare_.empty()) {
    memory = std::move(spare_.back());
    spare_.pop_back();
    held_ -= memory.capacity();
  }
  return memory;
}

void PartsAhead::read() {
  for (;;) {
    Result<std::optional<Part>, Error> next = flow::interrupted();
    if (auto memory = wait_for_room()) {
      source_->reuse(std::move(*memory));
      next = source_->next();
    }
    const std::lock_guard lock(mutex_);
    if (next.has_value() && next.value()) {
      last_ = next.value()->commands.capacity();
      held_ += last_;
      ready_.push_back(std::move(*next.value()));
      changed_.notify_all();
      continue;
    }
    if (!next.has_value()) error_ = next.error();
    ended_ = true;
    changed_.notify_all();
    return;
  }
}

}  // namespace sealane::warm
