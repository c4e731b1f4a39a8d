#pragma once
// StreamDriver: carries cores of stream shape (base/core.h) over the connections of a Network:
// dials and listens, moves bytes both ways with back pressure, keeps deadlines, and tells how it
// ended.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/core.h"
#include "base/token_bucket.h"
#include "flow/workers.h"
#include "net/io_loop.h"
#include "sealane/base/network.h"

namespace sealane::net {

namespace stream_parts {
class Stream;
class Acceptor;
struct Shared;
struct Target;
}  // namespace stream_parts

// The one thread that a driver lives on, with its time: an IoLoop, or a simulation.
class StreamLoop {
 public:
  class Timer {
   public:
    virtual ~Timer() = default;
    virtual void at(SteadyTime when, std::function<void()> due) = 0;  // replaces the earlier one
    virtual void cancel() = 0;
  };
  virtual ~StreamLoop() = default;
  virtual void post(std::function<void()> task) = 0;        // from any thread; runs later
  virtual void run(const std::function<void()>& task) = 0;  // from any thread; waits for its end
  virtual SteadyTime now() const = 0;
  virtual std::unique_ptr<Timer> make_timer() = 0;
};
std::unique_ptr<StreamLoop> make_stream_loop(IoLoop& loop);  // `loop` must outlive it

// At most so many bytes a second, shared by all connections that hold it. Thread-safe.
class RateLimit {
 public:
  static constexpr std::uint64_t kUnlimited = 0;
  RateLimit(std::uint64_t bytes_per_second, SteadyTime now) { set(bytes_per_second, now); }
  void set(std::uint64_t bytes_per_second, SteadyTime now);  // from now on
  bool limited() const;
  // Counts them, and says when the next may go.
  SteadyTime take(std::size_t bytes, SteadyTime now);

 private:
  mutable std::mutex mutex_;
  std::optional<TokenBucket> bucket_;
};

struct StreamOptions {
  // One read; a connection that waits for input holds so much address space.
  std::size_t read_size = 64 * 1024;
  // After close(): how long what the peer still sends is read and dropped. A socket that is closed
  // with unread input is reset, and that destroys the last output on its way. 0: not at all.
  std::chrono::nanoseconds linger = std::chrono::seconds(2);
  // Jobs under way of one connection; input waits while there are as many.
  std::size_t max_jobs = 16;
  std::shared_ptr<RateLimit> send_limit;     // null: none
  std::shared_ptr<RateLimit> receive_limit;  // null: none
};

// What a handler may ask of its connection. On the loop's thread only; nothing here calls back
// before it returns.
class StreamConnection {
 public:
  // Runs on a worker; what it returns then runs on the loop's thread. Results of one connection
  // come back in the order of their jobs; none comes after on_closed(). Both must own what they
  // touch.
  using Job = std::function<std::function<void()>()>;

  virtual Address peer() const = 0;
  virtual void finish_output() = 0;  // FIN, once all output has left; reading goes on
  virtual void close() = 0;  // once all output has left, with lingering; no more input comes
  virtual void abort() = 0;  // now; output is lost
  virtual void run_job(Job job) = 0;     // REQUIRES: the driver has workers
  virtual std::size_t jobs() const = 0;  // under way
  virtual void wake() = 0;  // another connection's step changed this one: look after it soon
  virtual std::size_t unconfirmed() const = 0;  // see Connection
  virtual void reset_unless_finished() = 0;     // likewise, until finish_output() or close()

 protected:
  ~StreamConnection() = default;
};

// The protocol of one connection; the driver owns it. All calls come on the loop's thread, one at a
// time. The first six are those of a core. CoreHandler below makes one of any core.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // REQUIRES of all implementations: takes something, or does not want input any more.
  virtual std::size_t receive(ByteSpan bytes, SteadyTime now) = 0;
  virtual void on_end(SteadyTime now) = 0;  // FIN, after all input was taken; output may go on
  // Valid until output_sent() or receive().
  virtual ByteSpan next_output() = 0;
  virtual void output_sent(std::size_t size) = 0;
  // The same as several spans, for a handler whose output lies in several places: they are sent as
  // one, and output_sent() counts through them. None: nothing to send. Valid as next_output().
  virtual std::span<const ByteSpan> next_outputs() {
    only_ = next_output();
    return {&only_, only_.empty() ? std::size_t{0} : std::size_t{1}};
  }
  virtual std::optional<SteadyTime> deadline() const = 0;
  virtual void on_deadline(SteadyTime now) = 0;  // afterwards deadline() is later, or none
  virtual bool wants_input() const = 0;
  // Where the next bytes should be read to, for a handler that keeps them: so it need not copy them
  // out of the driver's buffer. Asked before each read, when all input was taken; must stay until
  // receive() took all that was read to it, or on_closed(). Empty: the driver's buffer.
  virtual MutableByteSpan input_room() { return {}; }

  // `connection` lives until on_closed() has returned.
  virtual void on_open(StreamConnection& connection, SteadyTime now) = 0;
  // After each of the above that may have changed something, before output is fetched: the place
  // for events. Spans in events of receive() are valid here.
  virtual void after_step(SteadyTime now) = 0;
  // Last, once, also where on_open() never came. kClosed: in order, both ways or by this side.
  // kReset: cut, as told apart from the peer's FIN. kCancelled: abort(), or the driver ends. Of a
  // dialed one also kRefused, kUnreachable, kTimedOut.
  virtual void on_closed(const NetworkError& why, SteadyTime now) = 0;

 private:
  ByteSpan only_;
};

// A handler around a core that it holds; events go to on_event().
template <StreamCore C>
class CoreHandler : public StreamHandler {
 public:
  template <class... Args>
  explicit CoreHandler(Args&&... args) : core_(std::forward<Args>(args)...) {}
  std::size_t receive(ByteSpan bytes, SteadyTime now) override { return core_.receive(bytes, now); }
  void on_end(SteadyTime now) override { core_.on_end(now); }
  ByteSpan next_output() override { return core_.next_output(); }
  void output_sent(std::size_t size) override { core_.output_sent(size); }
  std::optional<SteadyTime> deadline() const override { return core_.deadline(); }
  void on_deadline(SteadyTime now) override { core_.on_deadline(now); }
  bool wants_input() const override { return core_.wants_input(); }
  void on_open(StreamConnection& connection, SteadyTime) override { connection_ = &connection; }
  void after_step(SteadyTime now) override {
    while (auto event = core_.next_event()) on_event(std::move(*event), now);
  }

 protected:
  virtual void on_event(typename C::Event event, SteadyTime now) = 0;
  C& core() { return core_; }
  const C& core() const { return core_; }
  // REQUIRES: between on_open() and on_closed().
  StreamConnection& connection() { return *connection_; }
  bool opened() const { return connection_ != nullptr; }

 private:
  C core_;
  StreamConnection* connection_ = nullptr;
};

// One connection as seen from other threads. Copyable; does nothing once it is gone.
class StreamHandle {
 public:
  StreamHandle() = default;
  // Runs on the loop's thread with the handler, then its output and events are looked after. May
  // come before on_open().
  void post(std::function<void(StreamHandler&)> task) const;
  void abort() const;  // on_closed() comes with kCancelled

 private:
  friend class StreamDriver;
  explicit StreamHandle(std::shared_ptr<stream_parts::Target> target)
      : target_(std::move(target)) {}
  std::shared_ptr<stream_parts::Target> target_;
};

struct StreamListenOptions {
  StreamOptions stream;
  // Beyond these a connection is accepted and closed at once: they bound memory, descriptors and
  // what one stranger can hold. A source is a host; UNIX sockets have none.
  std::size_t max_connections = 64;
  std::size_t max_per_source = 8;
};

// Stops listening when destroyed, or with its driver; its connections go on. Thread-safe.
class StreamListener {
 public:
  struct Counters {
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> over_limit{0};  // closed at once
    std::atomic<std::uint64_t> errors{0};      // of accepting, survived
  };
  virtual ~StreamListener() = default;
  virtual Address local() const = 0;
  virtual const Counters& counters() const = 0;
};

class StreamDriver {
 public:
  // On the loop's thread, once a connection. Null: it is closed at once.
  using Factory = std::function<std::unique_ptr<StreamHandler>(const Address& peer)>;

  // All must outlive it and its listeners. `workers` may be null where no handler has jobs.
  // `network` is used on the loop's thread only.
  StreamDriver(StreamLoop& loop, Network& network, flow::Workers* workers = nullptr);
  // Ends all connections with kCancelled and waits for their jobs. Not on the loop's thread.
  ~StreamDriver();
  StreamDriver(const StreamDriver&) = delete;
  StreamDriver& operator=(const StreamDriver&) = delete;

  // From any thread. A connection that does not come about ends in the handler's on_closed(). The
  // address to dial from is the network's: see NetworkOptions.
  StreamHandle dial(const Address& to, SteadyTime connect_deadline, StreamOptions options,
                    std::unique_ptr<StreamHandler> handler);
  // From any thread.
  NetworkResult<std::unique_ptr<StreamListener>> listen(const Address& at,
                                                        StreamListenOptions options,
                                                        Factory factory);

 private:
  std::shared_ptr<stream_parts::Shared> shared_;
};

}  // namespace sealane::net
