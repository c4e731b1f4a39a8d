#pragma once
// Coroutines over lanes. All of them run on their host's one thread, so they need no locks among
// themselves, and never wait there for anything but by co_await.
//
//   Task<void> echo(std::unique_ptr<Lane> lane) {
//     Bytes buffer(64 * 1024);
//     for (;;) {
//       const auto size = co_await read(*lane, buffer);
//       if (!size.has_value() || size.value() == 0) co_return;
//       if (!(co_await write(*lane, ByteSpan(buffer).first(size.value()))).has_value()) co_return;
//     }
//   }
//   run(host, serve(host));   // from a thread of the user's, until the task has ended
#include <condition_variable>
#include <coroutine>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "sealane/net/lane.h"

namespace sealane::net {

// A coroutine that gives one value. It begins when it is awaited, or given to spawn() or run().
// Move-only; destroying it before it has ended destroys what it holds. An exception ends the
// program, as everywhere on a host's thread. Parameters by value, or outliving it.
template <class T>
class [[nodiscard]] Task {
  static_assert(!std::is_reference_v<T>);

 public:
  struct promise_type;
  using Handle = std::coroutine_handle<promise_type>;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    handle_.promise().waiting = waiting;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().value);
  }

 private:
  explicit Task(Handle handle) : handle_(handle) {}
  Handle handle_;
};

namespace task_detail {

struct PromiseBase {
  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> ended) noexcept {
      const auto next = ended.promise().waiting;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  std::suspend_always initial_suspend() const noexcept { return {}; }
  Final final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  std::coroutine_handle<> waiting;
};

template <class T>
struct Promise : PromiseBase {
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  std::optional<T> value;
};
template <>
struct Promise<void> : PromiseBase {
  void return_void() const noexcept {}
};

// Runs by itself and cleans up after itself.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

// Suspends until a callback comes with the result. `start` takes that callback.
template <class T, class Start>
class Callback {
 public:
  explicit Callback(Start start) : start_(std::move(start)) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    // It may come, and this object go, before start_ returns only where that is on another thread:
    // nothing of it is touched afterwards.
    start_([this, waiting](T result) {
      result_.emplace(std::move(result));
      waiting.resume();
    });
  }
  T await_resume() { return std::move(*result_); }

 private:
  Start start_;
  std::optional<T> result_;
};
template <class T, class Start>
Callback<T, Start> callback(Start start) {
  return Callback<T, Start>(std::move(start));
}

inline Detached detach(Task<void> task, std::function<void()> finished);

}  // namespace task_detail

template <class T>
struct Task<T>::promise_type : task_detail::Promise<T> {
  Task get_return_object() { return Task(Handle::from_promise(*this)); }
};

inline task_detail::Detached task_detail::detach(Task<void> task, std::function<void()> finished) {
  co_await task;
  if (finished) finished();
}

// ---- starting -----------------------------------------------------------------------------------

// Begins it on the host's thread; `finished` is called there when it has ended. It must have ended
// before the host does: close what it waits for.
inline void spawn(LaneHost& host, Task<void> task, std::function<void()> finished = {}) {
  auto shared = std::make_shared<Task<void>>(std::move(task));
  host.post([shared, finished = std::move(finished)] {
    task_detail::detach(std::move(*shared), finished);
  });
}

// The same, and waits for its end. Not on the host's thread.
inline void run(LaneHost& host, Task<void> task) {
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  spawn(host, std::move(task), [&] {
    const std::lock_guard lock(mutex);
    over = true;
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return over; });
}
template <class T>
T run(LaneHost& host, Task<T> task) {
  std::optional<T> result;
  const auto keep = [](Task<T> inner, std::optional<T>* out) -> Task<void> {
    out->emplace(co_await inner);
  };
  run(host, keep(std::move(task), &result));
  return std::move(*result);
}

// ---- what can be awaited ------------------------------------------------------------------------
// Errors as those of the functions of Lane, LaneListener and LaneHost that wait. A lane that is
// destroyed while a coroutine waits for it ends that wait with an error.

inline auto established(Lane& lane, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<void, Error>>(
      [&lane, deadline](Lane::Done done) { lane.when_established(std::move(done), deadline); });
}
inline auto sent(Lane& lane, LaneTicket ticket, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<void, Error>>([&lane, ticket, deadline](Lane::Done done) {
    lane.when_sent(ticket, std::move(done), deadline);
  });
}
inline auto writable(Lane& lane, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<void, Error>>(
      [&lane, deadline](Lane::Done done) { lane.when_writable(std::move(done), deadline); });
}
inline auto readable(Lane& lane, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<void, Error>>(
      [&lane, deadline](Lane::Done done) { lane.when_readable(std::move(done), deadline); });
}
inline auto closed(Lane& lane, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<void, Error>>(
      [&lane, deadline](Lane::Done done) { lane.when_closed(std::move(done), deadline); });
}
inline auto accept(LaneListener& listener, SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<std::unique_ptr<Lane>, Error>>(
      [&listener, deadline](LaneListener::Accepted done) {
        listener.when_accepted(std::move(done), deadline);
      });
}
// Of a numeric address or a path: see LaneHost::when_dialed().
inline auto dial(LaneHost& host, Address to, LaneOptions options,
                 SteadyTime deadline = kNoDeadline) {
  return task_detail::callback<Result<std::unique_ptr<Lane>, Error>>(
      [&host, to = std::move(to), options = std::move(options), deadline](LaneHost::Dialed done) {
        host.when_dialed(to, options, std::move(done), deadline);
      });
}

// As Lane::read(): 1 .. out.size() bytes, or 0 at the end.
inline Task<Result<std::size_t, Error>> read(Lane& lane, MutableByteSpan out,
                                             SteadyTime deadline = kNoDeadline) {
  SEALANE_CO_TRY(co_await readable(lane, deadline));
  co_return lane.read(out);
}
// As Lane::send(): waits while the queue is full.
inline Task<Result<LaneTicket, Error>> send(Lane& lane, Channel channel, ByteSpan message,
                                            SteadyTime deadline = kNoDeadline) {
  for (;;) {
    SEALANE_CO_TRY(const auto ticket, lane.try_send(channel, message));
    if (ticket) co_return *ticket;
    SEALANE_CO_TRY(co_await writable(lane, deadline));
  }
}
// As Lane::write(): of any size, and waits until it has been given to the kernel.
inline Task<Result<void, Error>> write(Lane& lane, ByteSpan bytes,
                                       SteadyTime deadline = kNoDeadline) {
  while (!bytes.empty()) {
    const ByteSpan piece = bytes.first(std::min(bytes.size(), lane.payload_size()));
    SEALANE_CO_TRY(const auto ticket, lane.try_write(piece));
    if (!ticket) {
      SEALANE_CO_TRY(co_await writable(lane, deadline));
      continue;
    }
    bytes = bytes.subspan(piece.size());
    if (!bytes.empty()) continue;
    lane.flush();
    SEALANE_CO_TRY(co_await sent(lane, *ticket, deadline));
  }
  co_return success();
}

}  // namespace sealane::net
