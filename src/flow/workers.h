#pragma once
// Workers: a few threads that take tasks off somebody who must not wait.
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "flow/thread.h"

namespace sealane::flow {

// Thread-safe. Tasks start in the order they came. The queue has no limit of its own: whoever adds
// counts what it has under way.
class Workers {
 public:
  // At most so many threads, each made when a task finds all others busy. Where the machine has no
  // more of them, fewer do it all. REQUIRES: count > 0.
  explicit Workers(std::size_t count);
  ~Workers();  // runs what was added, then ends
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  void add(std::function<void()> task);

 private:
  void work();
  void start_one();
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<std::function<void()>> tasks_;
  bool ending_ = false;
  std::size_t most_;      // threads
  std::size_t idle_ = 0;  // of them: ready for a task, or about to be
  std::vector<Thread> threads_;
};

}  // namespace sealane::flow
