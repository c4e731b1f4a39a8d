#include "net/stream_driver.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace sealane::net {
namespace {

// One offer to the kernel; other connections get their turn in between.
constexpr std::size_t kSendSize = 1024 * 1024;
// The same under a rate limit, which is taken in such steps, and what is copied where the kernel is
// full and a core's output must be kept.
constexpr std::size_t kHeldSize = 64 * 1024;
// Steps of one connection in a row before others get their turn.
constexpr int kRounds = 16;
// A timer is, if it is due in less than this part of the time until it would have to.
constexpr int kFarTooEarly = 4;
// After close(), for the output that is left: a peer that does not read must not hold a connection.
constexpr std::chrono::seconds kOutputPatience{30};
// Between two tries to accept where the machine is out of descriptors or memory.
constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};

class IoStreamLoop final : public StreamLoop {
 public:
  explicit IoStreamLoop(IoLoop& loop) : loop_(loop) {}
  void post(std::function<void()> task) override { loop_.post(std::move(task)); }
  void run(const std::function<void()>& task) override { loop_.run(task); }
  SteadyTime now() const override { return IoLoop::now(); }
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<IoTimer>(loop_); }

 private:
  class IoTimer final : public Timer {
   public:
    explicit IoTimer(IoLoop& loop) : timer_(loop) {}
    void at(SteadyTime when, std::function<void()> due) override {
      timer_.at(when, std::move(due));
    }
    void cancel() override { timer_.cancel(); }

   private:
    IoLoop::Timer timer_;
  };
  IoLoop& loop_;
};

std::optional<std::string> source_of(const Address& peer) {
  if (!peer.text.starts_with("tcp:")) return std::nullopt;
  return peer.text.substr(0, peer.text.rfind(':'));
}

}  // namespace

std::unique_ptr<StreamLoop> make_stream_loop(IoLoop& loop) {
  return std::make_unique<IoStreamLoop>(loop);
}

void RateLimit::set(std::uint64_t bytes_per_second, SteadyTime now) {
  const std::lock_guard lock(mutex_);
  if (bytes_per_second == kUnlimited) {
    bucket_.reset();
  } else if (bucket_) {
    bucket_->set_rate(bytes_per_second, now);
  } else {
    bucket_.emplace(bytes_per_second, kHeldSize, now);
  }
}

bool RateLimit::limited() const {
  const std::lock_guard lock(mutex_);
  return bucket_.has_value();
}

SteadyTime RateLimit::take(std::size_t bytes, SteadyTime now) {
  const std::lock_guard lock(mutex_);
  return bucket_ ? bucket_->take(bytes, now) : now;
}

namespace stream_parts {

// What all parts of a driver share. On the loop's thread but for the jobs.
struct Shared : std::enable_shared_from_this<Shared> {
  Shared(StreamLoop& the_loop, Network& the_network, flow::Workers* the_workers)
      : loop(the_loop), network(the_network), workers(the_workers) {}
  StreamLoop& loop;
  Network& network;
  flow::Workers* workers;
  bool ending = false;
  std::unordered_map<const void*, std::shared_ptr<Stream>> streams;
  std::unordered_map<const void*, std::shared_ptr<Acceptor>> acceptors;

  std::mutex jobs_mutex;
  std::condition_variable job_done;
  std::size_t jobs = 0;
};

// Of a handle. The loop may go once the stream is gone, so it is reached under the lock only.
struct Target {
  std::mutex mutex;
  std::weak_ptr<Stream> stream;
  StreamLoop* loop = nullptr;  // null: gone
};

// ---- one connection -----------------------------------------------------------------------------

class Stream final : public StreamConnection, public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Shared> shared, StreamOptions options,
         std::unique_ptr<StreamHandler> handler, std::function<void()> gone)
      : shared_(std::move(shared)),
        options_(std::move(options)),
        handler_(std::move(handler)),
        gone_(std::move(gone)) {}

  void dial(const Address& to, SteadyTime deadline) {
    peer_ = to;
    shared_->network.connect(
        to, deadline, [weak = weak_from_this()](NetworkResult<std::unique_ptr<Connection>> made) {
          const auto self = weak.lock();
          if (!self || !self->handler_) return;
          if (!made.has_value()) return self->finish(made.error());
          self->start(std::move(made.value()));
        });
  }
  void start(std::unique_ptr<Connection> connection) {
    connection_ = std::move(connection);
    peer_ = connection_->peer();
    timer_ = shared_->loop.make_timer();
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(options_.read_size);
    handler_->on_open(*this, now());
    step();
  }
  std::shared_ptr<Target> handle_target() {
    target_ = std::make_shared<Target>();
    target_->stream = weak_from_this();
    target_->loop = &shared_->loop;
    return target_;
  }
  void run_task(const std::function<void(StreamHandler&)>& task) {
    if (!handler_) return;
    task(*handler_);
    step();
  }
  void finish(const NetworkError& why) {
    if (!handler_) return;
    const auto self = shared_from_this();
    const auto handler = std::move(handler_);
    connection_.reset();
    timer_.reset();
    jobs_.clear();
    if (target_) {
      const std::lock_guard lock(target_->mutex);
      target_->loop = nullptr;
    }
    handler->on_closed(why, now());
    shared_->streams.erase(this);
    if (gone_) gone_();
  }

  // ---- StreamConnection ----
  Address peer() const override { return peer_; }
  // Asked once more, both are nothing new: a handler may ask at every step, and no step follows.
  void finish_output() override {
    if (std::exchange(finish_wanted_, true)) return;
    step_later();
  }
  void close() override {
    if (std::exchange(close_wanted_, true)) return;
    close_by_ = now() + kOutputPatience;
    finish_wanted_ = true;
    step_later();
  }
  void abort() override {
    abort_wanted_ = true;
    step_later();
  }
  void run_job(Job job) override {
    SEALANE_CHECK(shared_->workers != nullptr);
    auto slot = std::make_shared<Slot>();
    jobs_.push_back(slot);
    {
      const std::lock_guard lock(shared_->jobs_mutex);
      ++shared_->jobs;
    }
    shared_->workers->add(
        [shared = shared_, weak = weak_from_this(), slot, job = std::move(job)]() mutable {
          slot->then = job();
          job = nullptr;
          shared->loop.post([weak = std::move(weak), slot = std::move(slot)] {
            slot->done = true;
            if (const auto self = weak.lock()) self->take_results();
          });
          // The loop must not go before this.
          const std::lock_guard lock(shared->jobs_mutex);
          --shared->jobs;
          shared->job_done.notify_all();
        });
  }
  std::size_t jobs() const override { return jobs_.size(); }
  void wake() override { step_later(); }
  std::size_t unconfirmed() const override { return connection_ ? connection_->unconfirmed() : 0; }
  void reset_unless_finished() override {
    if (connection_) connection_->reset_unless_shut_down();
  }

 private:
  struct Slot {
    std::function<void()> then;  // the worker's, then the loop's
    bool done = false;           // the loop's
  };

  SteadyTime now() const { return shared_->loop.now(); }

  // Never inside a call of the handler's: its frame stands below.
  void step_later() {
    again_ = true;
    if (in_step_ || posted_) return;
    posted_ = true;
    shared_->loop.post([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      self->posted_ = false;
      self->step();
    });
  }

  void step() {
    if (!handler_ || !connection_) return;
    const auto self = shared_from_this();
    in_step_ = true;
    int rounds = 0;
    do {
      again_ = false;
      handler_->after_step(now());
      if (abort_wanted_) break;
      if (send_some()) again_ = true;
      if (offer_input() || read_at_once()) again_ = true;
      if (!handler_) return;  // the read said that it is over
    } while (again_ && ++rounds < kRounds);
    in_step_ = false;
    if (abort_wanted_) return finish({NetworkErrorCode::kCancelled, "given up"});
    if (again_) return step_later();
    if (over()) return finish({NetworkErrorCode::kClosed, "done"});
    read_more();
    arm_timer();
  }

  // At most `limit` bytes of them.
  NetworkResult<std::size_t> try_write(std::span<const ByteSpan> out, std::size_t limit) {
    if (out.size() == 1 || out.front().size() >= limit) {
      return connection_->try_write(out.front().first(std::min(out.front().size(), limit)));
    }
    std::size_t size = 0;
    std::size_t count = 0;
    while (count < out.size() && size + out[count].size() <= limit) size += out[count++].size();
    return connection_->try_write_all(out.first(count));
  }

  // True if something moved.
  bool send_some() {
    if (writing_) return false;
    const std::span<const ByteSpan> out = handler_->next_outputs();
    if (out.empty()) {
      if (finish_wanted_ && !finished_ && jobs_.empty()) {  // a job's result may be output
        finished_ = true;
        if (!broken_) connection_->shutdown_write();
        if (close_wanted_) close_by_ = now() + options_.linger;
      }
      return false;
    }
    SEALANE_CHECK(!finished_);  // no output after the end of it
    if (broken_) {
      handler_->output_sent(out.front().size());
      return true;
    }
    const bool limited = options_.send_limit && options_.send_limit->limited();
    if (limited && now() < send_after_) return false;
    const auto sent = try_write(out, limited ? kHeldSize : kSendSize);
    if (!sent.has_value()) {
      // What the peer said before it went may still be readable; then the read says how it ended.
      broken_ = true;
      return true;
    }
    std::size_t size = sent.value();
    if (size == 0) {
      held_.clear();
      for (const ByteSpan span : out) {
        const ByteSpan kept = span.first(std::min(span.size(), kHeldSize - held_.size()));
        held_.insert(held_.end(), kept.begin(), kept.end());
      }
      size = held_.size();
      writing_ = true;
      connection_->write(held_, [weak = weak_from_this()](const NetworkResult<void>& result) {
        const auto stream = weak.lock();
        if (!stream || !stream->handler_) return;
        stream->writing_ = false;
        if (!result.has_value()) stream->broken_ = true;
        stream->step();
      });
    }
    if (options_.send_limit) send_after_ = options_.send_limit->take(size, now());
    handler_->output_sent(size);
    return true;
  }

  bool may_receive() const {
    return !close_wanted_ && jobs_.size() < options_.max_jobs && handler_->wants_input();
  }

  // True if something moved. One piece: its events come before the next.
  bool offer_input() {
    if (rest_.empty()) {
      if (!ended_ || end_told_ || close_wanted_) return false;
      end_told_ = true;
      handler_->on_end(now());
      return true;
    }
    if (close_wanted_) {
      rest_ = {};
      return false;
    }
    if (!may_receive()) return false;
    const std::size_t taken = handler_->receive(rest_, now());
    SEALANE_CHECK(taken <= rest_.size() && (taken > 0 || !handler_->wants_input()));
    rest_ = rest_.subspan(taken);
    return true;
  }

  // Nothing can move any more, in either direction.
  bool over() const {
    if (writing_ || !finished_) return false;
    if (close_wanted_) return ended_ || broken_ || options_.linger.count() == 0;
    return ended_ && end_told_ && jobs_.empty();
  }

  bool may_read() const {
    if (reading_ || ended_ || !rest_.empty()) return false;
    if (!close_wanted_ && (!may_receive() || now() < receive_after_)) return false;
    return !close_wanted_ || finished_;  // else its output is still on the way
  }

  // True if something came. Asked only where the last read filled the buffer: then there is
  // probably more, and to wait for it first would cost two more system calls.
  bool read_at_once() {
    if (!std::exchange(filled_, false) || !may_read()) return false;
    choose_buffer();
    const auto result = connection_->try_read(read_to_);
    if (result.has_value() && result.value() == 0) return false;
    take_read(result);
    return true;
  }

  void read_more() {
    if (!may_read()) return;
    reading_ = true;
    choose_buffer();
    connection_->read(read_to_,
                      [weak = weak_from_this()](const NetworkResult<std::size_t>& result) {
                        const auto stream = weak.lock();
                        if (stream && stream->handler_) stream->on_read(result);
                      });
  }

  // What a handler drops needs no room of its own.
  void choose_buffer() {
    read_to_ = close_wanted_ ? MutableByteSpan() : handler_->input_room();
    if (read_to_.empty()) read_to_ = {buffer_.get(), options_.read_size};
    read_to_ = read_to_.first(std::min(read_to_.size(), options_.read_size));
  }

  void on_read(const NetworkResult<std::size_t>& result) {
    reading_ = false;
    take_read(result);
    step();
  }

  // It may be over afterwards.
  void take_read(const NetworkResult<std::size_t>& result) {
    if (result.has_value()) {
      filled_ = result.value() == read_to_.size();
      if (!close_wanted_) rest_ = read_to_.first(result.value());
      if (options_.receive_limit) {
        receive_after_ = options_.receive_limit->take(result.value(), now());
      }
    } else if (result.error().code == NetworkErrorCode::kClosed && !broken_) {
      ended_ = true;
    } else if (close_wanted_ && finished_) {
      return finish({NetworkErrorCode::kClosed, "closed; the peer did not wait for the end"});
    } else {
      return finish({NetworkErrorCode::kReset, result.error().detail});
    }
  }

  void arm_timer() {
    std::optional<SteadyTime> next = handler_->deadline();
    const auto earlier = [&next](SteadyTime when) {
      if (!next || when < *next) next = when;
    };
    if (close_by_) earlier(*close_by_);
    if (!writing_ && now() < send_after_ && !handler_->next_output().empty()) earlier(send_after_);
    if (!reading_ && now() < receive_after_) earlier(receive_after_);
    if (!next) return;
    // One that is due earlier stays, and looks again: so a deadline that moves with every piece of
    // input costs nothing. But not one that is due far too early, as after a login: among thousands
    // of idle connections it would wake us for nothing, and that costs more than to move it.
    // One that is due already is about to come: moved at every step, it never would.
    const SteadyTime time = now();
    if (armed_ && *armed_ <= *next &&
        (*armed_ <= time || kFarTooEarly * (*armed_ - time) >= *next - time)) {
      return;
    }
    armed_ = next;
    timer_->at(*next, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self && self->handler_) self->on_timer();
    });
  }

  void on_timer() {
    armed_.reset();
    if (close_by_ && *close_by_ <= now()) {
      return finish({NetworkErrorCode::kClosed, "closed; the peer did not answer in time"});
    }
    if (const auto due = handler_->deadline(); due && *due <= now()) {
      const SteadyTime time = now();
      handler_->on_deadline(time);
      const auto next = handler_->deadline();
      SEALANE_CHECK(!next || *next > time);
    }
    step();
  }

  void take_results() {
    if (!handler_) return;
    while (!jobs_.empty() && jobs_.front()->done) {
      const auto slot = std::move(jobs_.front());
      jobs_.pop_front();
      if (slot->then) slot->then();
    }
    step();
  }

  const std::shared_ptr<Shared> shared_;
  const StreamOptions options_;
  std::unique_ptr<StreamHandler> handler_;  // null: it is over
  std::function<void()> gone_;
  std::shared_ptr<Target> target_;          // of a dialed one
  std::unique_ptr<Connection> connection_;  // null: still dialing
  Address peer_;
  std::unique_ptr<StreamLoop::Timer> timer_;
  std::optional<SteadyTime> armed_;
  std::unique_ptr<std::byte[]> buffer_;
  MutableByteSpan read_to_;  // buffer_, or room of the handler's
  ByteSpan rest_;            // of read_to_: offered again when input is wanted
  Bytes held_;               // on its way in connection_->write()
  std::deque<std::shared_ptr<Slot>> jobs_;
  SteadyTime send_after_{};
  SteadyTime receive_after_{};
  std::optional<SteadyTime> close_by_;
  bool reading_ = false;
  bool filled_ = false;  // the last read took as much as the buffer holds
  bool writing_ = false;
  bool broken_ = false;  // writing failed: output is dropped
  bool ended_ = false;   // the peer's FIN came
  bool end_told_ = false;
  bool finish_wanted_ = false;
  bool finished_ = false;  // our FIN went
  bool close_wanted_ = false;
  bool abort_wanted_ = false;
  bool in_step_ = false;
  bool again_ = false;
  bool posted_ = false;
};

// ---- listening ----------------------------------------------------------------------------------

class Acceptor final : public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(const std::shared_ptr<Shared>& shared, std::unique_ptr<Listener> listener,
           StreamListenOptions options, StreamDriver::Factory factory)
      : shared_(shared),
        listener_(std::move(listener)),
        options_(std::move(options)),
        factory_(std::move(factory)),
        retry_(shared->loop.make_timer()) {}

  void start() { accept(); }
  void stop() {
    listener_.reset();
    retry_.reset();
  }
  Address local() const { return listener_->local(); }
  const StreamListener::Counters& counters() const { return counters_; }

 private:
  void accept() {
    listener_->accept(
        [weak = weak_from_this()](NetworkResult<std::unique_ptr<Connection>> accepted) {
          const auto self = weak.lock();
          if (self && self->listener_) self->on_accept(std::move(accepted));
        });
  }

  void on_accept(NetworkResult<std::unique_ptr<Connection>> accepted) {
    if (!accepted.has_value()) {
      // Whatever it was, the next one may succeed: a listener that gives up is an outage.
      ++counters_.errors;
      retry_->at(shared_->loop.now() + pause_, [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (self && self->listener_) self->accept();
      });
      pause_ = std::min(pause_ * 2, kLongestPause);
      return;
    }
    pause_ = kFirstPause;
    take(std::move(accepted.value()));
    accept();
  }

  void take(std::unique_ptr<Connection> connection) {
    const Address peer = connection->peer();
    const auto source = source_of(peer);
    if (open_ >= options_.max_connections ||
        (source && of_source_[*source] >= options_.max_per_source)) {
      ++counters_.over_limit;
      return;
    }
    auto handler = factory_(peer);
    if (!handler) return;
    ++counters_.accepted;
    ++open_;
    if (source) ++of_source_[*source];
    auto stream = std::make_shared<Stream>(shared_, options_.stream, std::move(handler),
                                           [self = shared_from_this(), source] {
                                             --self->open_;
                                             if (source && --self->of_source_[*source] == 0) {
                                               self->of_source_.erase(*source);
                                             }
                                           });
    shared_->streams[stream.get()] = stream;
    stream->start(std::move(connection));
  }

  const std::shared_ptr<Shared> shared_;
  std::unique_ptr<Listener> listener_;  // null: stopped
  const StreamListenOptions options_;
  const StreamDriver::Factory factory_;
  std::unique_ptr<StreamLoop::Timer> retry_;
  std::chrono::milliseconds pause_ = kFirstPause;
  StreamListener::Counters counters_;
  std::size_t open_ = 0;
  std::unordered_map<std::string, std::size_t> of_source_;  // open ones only: bounded by open_
};

class ListenerImpl final : public StreamListener {
 public:
  ListenerImpl(std::shared_ptr<Shared> shared, std::shared_ptr<Acceptor> acceptor)
      : shared_(std::move(shared)), acceptor_(std::move(acceptor)), local_(acceptor_->local()) {}
  ~ListenerImpl() override {
    shared_->loop.run([this] {
      acceptor_->stop();
      shared_->acceptors.erase(acceptor_.get());
    });
  }
  Address local() const override { return local_; }
  const Counters& counters() const override { return acceptor_->counters(); }

 private:
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<Acceptor> acceptor_;
  Address local_;
};

}  // namespace stream_parts

using stream_parts::Acceptor;
using stream_parts::ListenerImpl;
using stream_parts::Shared;
using stream_parts::Stream;

// ---- handles ------------------------------------------------------------------------------------

void StreamHandle::post(std::function<void(StreamHandler&)> task) const {
  if (!target_) return;
  const std::lock_guard lock(target_->mutex);
  if (target_->loop == nullptr) return;
  target_->loop->post([weak = target_->stream, task = std::move(task)] {
    if (const auto stream = weak.lock()) stream->run_task(task);
  });
}

void StreamHandle::abort() const {
  if (!target_) return;
  const std::lock_guard lock(target_->mutex);
  if (target_->loop == nullptr) return;
  target_->loop->post([weak = target_->stream] {
    if (const auto stream = weak.lock()) {
      stream->finish({NetworkErrorCode::kCancelled, "given up"});
    }
  });
}

// ---- the driver ---------------------------------------------------------------------------------

StreamDriver::StreamDriver(StreamLoop& loop, Network& network, flow::Workers* workers)
    : shared_(std::make_shared<Shared>(loop, network, workers)) {}

StreamDriver::~StreamDriver() {
  shared_->loop.run([this] {
    shared_->ending = true;
    for (const auto& [key, acceptor] : std::exchange(shared_->acceptors, {})) acceptor->stop();
    for (const auto& [key, stream] : std::unordered_map(shared_->streams)) {
      stream->finish({NetworkErrorCode::kCancelled, "this side ends"});
    }
  });
  std::unique_lock lock(shared_->jobs_mutex);
  shared_->job_done.wait(lock, [this] { return shared_->jobs == 0; });
}

StreamHandle StreamDriver::dial(const Address& to, SteadyTime connect_deadline,
                                StreamOptions options, std::unique_ptr<StreamHandler> handler) {
  auto stream = std::make_shared<Stream>(shared_, std::move(options), std::move(handler),
                                         std::function<void()>());
  StreamHandle handle(stream->handle_target());
  shared_->loop.post([shared = shared_, stream = std::move(stream), to, connect_deadline] {
    if (shared->ending) return stream->finish({NetworkErrorCode::kCancelled, "this side ends"});
    shared->streams[stream.get()] = stream;
    stream->dial(to, connect_deadline);
  });
  return handle;
}

NetworkResult<std::unique_ptr<StreamListener>> StreamDriver::listen(const Address& at,
                                                                    StreamListenOptions options,
                                                                    Factory factory) {
  std::optional<NetworkResult<std::unique_ptr<StreamListener>>> made;
  shared_->loop.run([&] {
    auto listener = shared_->network.listen(at);
    if (!listener.has_value()) {
      made.emplace(listener.error());
      return;
    }
    auto acceptor = std::make_shared<Acceptor>(shared_, std::move(listener.value()),
                                               std::move(options), std::move(factory));
    shared_->acceptors[acceptor.get()] = acceptor;
    made.emplace(
        std::unique_ptr<StreamListener>(std::make_unique<ListenerImpl>(shared_, acceptor)));
    acceptor->start();
  });
  return std::move(*made);
}

}  // namespace sealane::net
