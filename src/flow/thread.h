#pragma once
// Thread: the only door to a thread of its own.
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

namespace sealane::flow {

unsigned core_count();  // that this process may use; at least 1

// How many threads of the whole machine have a core or wait for one, but for the calling one.
// Nothing where it could not be found out.
std::optional<unsigned> others_running() noexcept;
// Whether others fill the machine for as long as it takes to look, some 3 ms.
bool cores_are_taken();

using ThreadId = int;  // the kernel's number of it
ThreadId this_thread() noexcept;

// From here on the calling thread runs only where no other thread wants the core. False: it stays
// as it is.
bool leave_cores_to_others() noexcept;
// The way back, for a thread of this process. False: it takes a right that few programs have.
bool take_cores_again(ThreadId thread) noexcept;

// From here on the calling thread gets a core sooner when it wakes among threads that compute: it
// asks the scheduler for slices of 0.4 ms (Linux 6.12 and later; 1.4 ms and more otherwise). Its
// share of the cores stays the same. False: nothing changed; true of an older kernel means as much.
bool ask_for_short_slices() noexcept;

struct CoreTime {
  std::chrono::nanoseconds ran{};
  // With work, for a core to do it on. A wait counts when it is over.
  std::chrono::nanoseconds waited{};
};
// Of a thread of this process since its start. Stays zero where the kernel does not count it.
CoreTime core_time(ThreadId thread) noexcept;
// Whether it has a core or waits for one, as far as can be found out.
bool has_work(ThreadId thread) noexcept;

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
