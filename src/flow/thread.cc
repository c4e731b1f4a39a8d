#include "flow/thread.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>

namespace sealane::flow {
namespace {

// A new thread inherits the mask of its maker.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// Of sched_setattr(2), in the size that all kernels know; the C library has no declaration of it
// before glibc 2.41, and then one of the kernel's own name.
struct SchedulerAttributes {
  std::uint32_t size = sizeof(SchedulerAttributes);
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0;  // ns; of a normal thread: its slice
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
};
constexpr std::uint64_t kShortSlice = 400'000;

}  // namespace

unsigned core_count() { return std::max(1U, std::thread::hardware_concurrency()); }

bool leave_cores_to_others() noexcept {
  const sched_param none{};
  return ::sched_setscheduler(0, SCHED_IDLE, &none) == 0;  // 0: this thread, not the process
}

bool ask_for_short_slices() noexcept {
  SchedulerAttributes own;
  if (::syscall(SYS_sched_getattr, 0, &own, sizeof own, 0) != 0) return false;
  // Somebody chose another policy, and knows better.
  if (own.policy != SCHED_OTHER) return false;
  own.size = sizeof own;
  own.runtime = kShortSlice;
  return ::syscall(SYS_sched_setattr, 0, &own, 0) == 0;
}

CoreTime core_time() noexcept {
  const int fd = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::array<char, 64> text{};  // "ran waited times"
  const ssize_t got = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (got <= 0) return {};
  const char* const end = text.data() + got;
  std::uint64_t ran = 0;
  std::uint64_t waited = 0;
  const auto first = std::from_chars(text.data(), end, ran);
  if (first.ec != std::errc{} || first.ptr == end) return {};
  if (std::from_chars(first.ptr + 1, end, waited).ec != std::errc{}) return {};
  return {.ran = std::chrono::nanoseconds(ran), .waited = std::chrono::nanoseconds(waited)};
}

Thread::Thread(std::function<void()> body) {
  const SignalsBlocked blocked;
  thread_ = std::thread(std::move(body));
}

}  // namespace sealane::flow
