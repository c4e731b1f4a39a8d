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
#include <cstdio>
#include <span>
#include <string_view>
#include <system_error>

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

// What a file of the kernel holds, as far as there is room; empty when it cannot be read.
std::string_view read_whole(const char* path, std::span<char> room) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  std::size_t size = 0;
  while (size < room.size()) {
    const ssize_t got = ::read(fd, room.data() + size, room.size() - size);
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  ::close(fd);
  return {room.data(), size};
}

std::string_view read_task_file(ThreadId thread, const char* name, std::span<char> room) noexcept {
  std::array<char, 64> path;
  std::snprintf(path.data(), path.size(), "/proc/self/task/%d/%s", thread, name);
  return read_whole(path.data(), room);
}

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

bool take_cores_again(ThreadId thread) noexcept {
  const sched_param none{};
  return ::sched_setscheduler(thread, SCHED_OTHER, &none) == 0;
}

ThreadId this_thread() noexcept { return ::gettid(); }

std::optional<unsigned> others_running() noexcept {
  // One long line a core, then one of interrupts as long, come before the line that is looked for.
  std::array<char, 64 * 1024> room;
  constexpr std::string_view kName = "\nprocs_running ";
  const std::string_view text = read_whole("/proc/stat", room);
  const std::size_t at = text.find(kName);
  if (at == std::string_view::npos) return std::nullopt;
  unsigned running = 0;
  const char* const digits = text.data() + at + kName.size();
  if (std::from_chars(digits, text.data() + text.size(), running).ec != std::errc{})
    return std::nullopt;
  return running == 0 ? 0 : running - 1;
}

bool cores_are_taken() {
  constexpr int kLooks = 3;
  constexpr std::chrono::milliseconds kPause{1};
  // All of the machine, as what is counted is, whichever of them are ours.
  const auto all = static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  for (int i = 0; i < kLooks; ++i) {
    if (others_running().value_or(0) < all) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

CoreTime core_time(ThreadId thread) noexcept {
  std::array<char, 64> room;  // "ran waited times"
  const std::string_view text = read_task_file(thread, "schedstat", room);
  const char* const end = text.data() + text.size();
  std::uint64_t ran = 0;
  std::uint64_t waited = 0;
  const auto first = std::from_chars(text.data(), end, ran);
  if (first.ec != std::errc{} || first.ptr == end) return {};
  if (std::from_chars(first.ptr + 1, end, waited).ec != std::errc{}) return {};
  return {.ran = std::chrono::nanoseconds(ran), .waited = std::chrono::nanoseconds(waited)};
}

bool has_work(ThreadId thread) noexcept {
  std::array<char, 512> room;  // "number (name) state ..."; the name may hold anything
  const std::string_view text = read_task_file(thread, "stat", room);
  const std::size_t end = text.rfind(')');
  return end != std::string_view::npos && text.substr(end).starts_with(") R");
}

Thread::Thread(std::function<void()> body) {
  const SignalsBlocked blocked;
  thread_ = std::thread(std::move(body));
}

}  // namespace sealane::flow
