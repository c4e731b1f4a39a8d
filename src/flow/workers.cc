#include "flow/workers.h"

#include <system_error>
#include <utility>

#include "base/check.h"

namespace sealane::flow {

Workers::Workers(std::size_t count) : most_(count) {
  SEALANE_CHECK(count > 0);
  threads_.reserve(count);
  const std::lock_guard lock(mutex_);
  threads_.emplace_back([this] { work(); });
  ++idle_;
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  added_.notify_all();
}

void Workers::add(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    SEALANE_CHECK(!ending_);
    tasks_.push_back(std::move(task));
    if (tasks_.size() > idle_ && threads_.size() < most_) start_one();
  }
  added_.notify_one();
}

void Workers::start_one() {
  try {
    threads_.emplace_back([this] { work(); });
    ++idle_;
  } catch (const std::system_error&) {
    most_ = threads_.size();
  }
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    added_.wait(lock, [this] { return !tasks_.empty() || ending_; });
    if (tasks_.empty()) return;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    --idle_;
    lock.unlock();
    task();
    task = nullptr;  // what it owns goes without the lock
    lock.lock();
    ++idle_;
  }
}

}  // namespace sealane::flow
