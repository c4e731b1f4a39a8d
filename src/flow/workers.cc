#include "flow/workers.h"

#include <system_error>
#include <utility>

#include "base/check.h"

namespace sealane::flow {

Workers::Workers(std::size_t count) {
  SEALANE_CHECK(count > 0);
  threads_.reserve(count);
  while (threads_.size() < count) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) throw;
      return;
    }
  }
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
  }
  added_.notify_one();
}

void Workers::work() {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock lock(mutex_);
      added_.wait(lock, [this] { return !tasks_.empty() || ending_; });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace sealane::flow
