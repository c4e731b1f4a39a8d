#pragma once
// Thread: the only door to a thread of its own.
#include <chrono>
#include <functional>
#include <thread>

namespace sealane::flow {

unsigned core_count();  // that this process may use; at least 1

// From here on the calling thread runs only where no other thread wants the core. For good: the way
// back takes a right that few programs have. False: it stays as it is.
bool leave_cores_to_others() noexcept;

// From here on the calling thread gets a core sooner when it wakes among threads that compute: it
// asks the scheduler for slices of 0.4 ms (Linux 6.12 and later; 1.4 ms and more otherwise). Its
// share of the cores stays the same. False: nothing changed; true of an older kernel means as much.
bool ask_for_short_slices() noexcept;

struct CoreTime {
  std::chrono::nanoseconds ran{};
  std::chrono::nanoseconds waited{};  // with work, for a core to do it on
};
// Of the calling thread since its start. Stays zero where the kernel does not count it.
CoreTime core_time() noexcept;

// Runs `body` until it returns; the destructor waits for it. Signals stay with the threads that had
// them: all are blocked in here. An exception that leaves `body` ends the program.
class Thread {
 public:
  explicit Thread(
      std::function<void()> body);  // std::system_error: the machine has no more threads
  ~Thread() { join(); }
  Thread(Thread&&) noexcept = default;
  Thread& operator=(Thread&&) = delete;
  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace sealane::flow
