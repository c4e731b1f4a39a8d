#include "net/io_loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "flow/thread.h"

namespace sealane::net {

namespace asio = boost::asio;

struct IoLoop::Parts {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  std::thread::id id;
  std::unique_ptr<flow::Thread> thread;
};

IoLoop::IoLoop() : parts_(std::make_unique<Parts>()) {
  parts_->thread = std::make_unique<flow::Thread>([parts = parts_.get()] { parts->context.run(); });
  run([this] { parts_->id = std::this_thread::get_id(); });
}

IoLoop::~IoLoop() {
  parts_->context.stop();
  parts_->thread->join();
  // What was posted and not yet run may own what ends on this loop's thread: a lane, say. From here
  // on this is that thread, and there is no other.
  parts_->id = std::this_thread::get_id();
  parts_->work.reset();
  parts_->context.restart();
  parts_->context.poll();
}

void IoLoop::post(std::function<void()> task) { asio::post(parts_->context, std::move(task)); }

void IoLoop::run(const std::function<void()>& task) {
  if (parts_->id == std::this_thread::get_id()) {
    task();
    return;
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  post([&] {
    task();
    // Under the lock: the waiter's frame, and with it `changed`, may be gone right after.
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
}

bool IoLoop::on_thread() const { return parts_->id == std::this_thread::get_id(); }

SteadyTime IoLoop::now() { return std::chrono::steady_clock::now(); }

struct IoLoop::Watch::State {
  State(asio::io_context& context, int fd) : descriptor(context, fd) {}
  asio::posix::stream_descriptor descriptor;
  bool gone = false;
};

IoLoop::Watch::Watch(IoLoop& loop, int descriptor)
    : state_(std::make_shared<State>(loop.parts_->context, descriptor)) {}

IoLoop::Watch::~Watch() {
  state_->gone = true;
  state_->descriptor.release();  // its owner closes it
}

void IoLoop::Watch::when_readable(std::function<void()> ready) {
  state_->descriptor.async_wait(
      asio::posix::stream_descriptor::wait_read,
      [state = state_, ready = std::move(ready)](const boost::system::error_code&) {
        if (!state->gone) ready();
      });
}

void IoLoop::Watch::when_writable(std::function<void()> ready) {
  state_->descriptor.async_wait(
      asio::posix::stream_descriptor::wait_write,
      [state = state_, ready = std::move(ready)](const boost::system::error_code&) {
        if (!state->gone) ready();
      });
}

struct IoLoop::Timer::State {
  explicit State(asio::io_context& context) : timer(context) {}
  asio::steady_timer timer;
  std::uint64_t turn = 0;  // of the newest at() or cancel(): an older one does not call
};

IoLoop::Timer::Timer(IoLoop& loop) : state_(std::make_shared<State>(loop.parts_->context)) {}

IoLoop::Timer::~Timer() { cancel(); }

void IoLoop::Timer::at(SteadyTime when, std::function<void()> due) {
  const std::uint64_t turn = ++state_->turn;
  state_->timer.expires_at(when);
  state_->timer.async_wait(
      [state = state_, turn, due = std::move(due)](const boost::system::error_code&) {
        if (state->turn == turn) due();
      });
}

void IoLoop::Timer::cancel() {
  ++state_->turn;
  state_->timer.cancel();
}

}  // namespace sealane::net
