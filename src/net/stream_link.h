#pragma once
// StreamLink: a StreamMux over a lane's byte pipe, driven by two threads: one reads, one writes.
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "flow/thread.h"
#include "net/stream_mux.h"
#include "sealane/net/lane.h"

namespace sealane::net {

struct LinkOptions {
  MuxSide side = MuxSide::kDialer;
  MuxMode mode = MuxMode::kPipe;
  std::uint32_t window = 1024 * 1024;
  std::chrono::nanoseconds hello_timeout = std::chrono::seconds(20);  // for the peer's first word
};

// Thread-safe. The lane must be established, to a Sealane peer over a reliable transport, and
// nobody else may use its byte pipe.
class StreamLink {
 public:
  using Lock = std::unique_lock<std::mutex>;

  // `on_event` runs on the reading thread under the lock, `on_change` on either without it: output
  // has left, an event came, or the link ended.
  StreamLink(Lane& lane, const LinkOptions& options,
             std::function<void(const StreamMux::Event&)> on_event,
             std::function<void()> on_change);
  ~StreamLink();  // aborts the lane, waits for the threads

  Lock lock() { return Lock(mutex_); }
  StreamMux& mux() { return mux_; }  // under the lock; then call wake(), still under it
  void wake() { changed_.notify_all(); }
  // Until something changed, or a moment has passed. Under the lock.
  void wait(Lock& lock);
  // Ends it where the peer's first word is overdue; wait() does it too. Under the lock.
  void check_hello();
  // Why it ended, once it has. Under the lock.
  const std::optional<Error>& ended() const { return ended_; }
  bool said_goodbye() const { return goodbye_came_; }  // the peer. Under the lock

  // Sends what is left, says goodbye and closes the lane: in order, within a few seconds.
  void close();

 private:
  void read_loop();
  void write_loop();
  bool write_more();
  void end(Error error);

  Lane& lane_;
  std::function<void(const StreamMux::Event&)> on_event_;
  std::function<void()> on_change_;
  std::mutex mutex_;
  std::condition_variable changed_;
  StreamMux mux_;
  const SteadyTime hello_deadline_;
  std::optional<Error> ended_;
  bool goodbye_came_ = false;
  bool failed_ = false;  // by what the peer said
  bool stopping_ = false;
  bool writer_idle_ = false;
  bool writer_gone_ = false;
  std::unique_ptr<flow::Thread> reader_;
  std::unique_ptr<flow::Thread> writer_;
};

// "the session with the peer ended" with the lane's reason, as an error.
Error lane_ended(const Lane& lane);

}  // namespace sealane::net
