// Accepting lanes: connections of a listening socket, or the peers of one UDP socket, told apart by
// their addresses.
#include <algorithm>
#include <cerrno>
#include <deque>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "base/token_bucket.h"
#include "net/lane_impl.h"
#include "net/resolve.h"
#include "net/stream_transport.h"
#include "session/key_schedule.h"

namespace sealane::net {
namespace {

// Of a stream what no key opens yet lies in its Reframer, of datagrams in the session.
static_assert(session::Reframer::kMaxUnopenedUnproven <= session::Session::kMaxUnprovenParked);
static_assert(LaneListener::kMaxConnecting *
                  (session::Session::kMaxUnprovenParked + session::Session::kMaxUnprovenQueue) ==
              LaneListener::kMaxUnprovenBytes);

// What both kinds share: who is connecting, who waits to be accepted, and who waits to accept.
class AcceptQueue : public std::enable_shared_from_this<AcceptQueue> {
 public:
  using Lock = std::unique_lock<std::mutex>;

  explicit AcceptQueue(LaneHost::Impl& host) : host_(host) {}

  // On the loop's thread: a new lane, with room for it made. `gone` is called when it is closed,
  // before it is established or after. Then start() the lane.
  Result<std::shared_ptr<Lane::Impl>, Error> add(const LaneOptions& options, bool lossy,
                                                 std::function<void()> gone) {
    SEALANE_TRY(auto made, make_lane(host_, options, lossy));
    if (connecting_.size() >= LaneListener::kMaxConnecting) {
      const auto oldest = std::move(connecting_.front());
      connecting_.pop_front();
    }
    const std::shared_ptr<Lane::Impl> lane = std::move(made);
    Lane::Impl* const key = lane.get();
    connecting_.push_back({key, std::make_unique<Lane>(lane)});
    if (options.prepare) options.prepare(*connecting_.back().lane);
    lane->on_established = [weak = weak_from_this(), key] {
      if (const auto self = weak.lock()) self->established(key);
    };
    lane->on_closed = [weak = weak_from_this(), key, gone = std::move(gone)] {
      // Not the lane itself, which is in the middle of closing.
      if (const auto self = weak.lock()) {
        self->host_.loop.post([lane = std::make_shared<std::unique_ptr<Lane>>(self->take(key))] {});
      }
      if (gone) gone();
    };
    return lane;
  }

  Result<std::unique_ptr<Lane>, Error> accept(SteadyTime deadline) {
    Lock lock(mutex_);
    const auto ready = [this] { return cancelled_ || !waiting_.empty(); };
    if (deadline == kNoDeadline) {
      changed_.wait(lock, ready);
    } else {
      changed_.wait_until(lock, deadline, ready);
    }
    return next(deadline);
  }

  void when_accepted(LaneListener::Accepted done, SteadyTime deadline) {
    host_.loop.post([weak = weak_from_this(), done = std::move(done), deadline]() mutable {
      const auto self = weak.lock();
      if (!self) return done(cancelled());
      if (self->accepted_) {
        return done(Error{ErrorKind::kUsage, "somebody waits already for the next peer"});
      }
      self->accepted_ = std::move(done);
      self->accept_by_ = deadline;
      if (deadline != kNoDeadline) {
        if (!self->timer_) self->timer_ = std::make_unique<IoLoop::Timer>(self->host_.loop);
        self->timer_->at(deadline, [weak] {
          if (const auto there = weak.lock()) there->serve();
        });
      }
      self->serve();
    });
  }

  void cancel() {
    {
      const Lock lock(mutex_);
      cancelled_ = true;
      changed_.notify_all();
    }
    host_.loop.post([self = shared_from_this()] { self->serve(); });
  }

  // On the loop's thread, at the end: nobody will accept any more.
  void end() {
    {
      const Lock lock(mutex_);
      cancelled_ = true;
      changed_.notify_all();
    }
    serve();
    timer_.reset();
    while (!connecting_.empty()) {
      const auto lane = std::move(connecting_.front());
      connecting_.pop_front();
    }
    std::deque<std::unique_ptr<Lane>> waiting;
    std::deque<std::unique_ptr<Lane>> refused;
    const Lock lock(mutex_);
    waiting.swap(waiting_);
    refused.swap(refused_);
  }

 private:
  struct Connecting {
    Lane::Impl* key = nullptr;
    std::unique_ptr<Lane> lane;
  };

  static Error cancelled() { return {ErrorKind::kInterrupted, "accepting peers was given up"}; }

  // With mutex_.
  Result<std::unique_ptr<Lane>, Error> next(SteadyTime deadline) {
    if (cancelled_) return cancelled();
    if (waiting_.empty()) {
      SEALANE_CHECK(deadline != kNoDeadline);
      return Error{ErrorKind::kFailed, "no peer came in time"};
    }
    auto lane = std::move(waiting_.front());
    waiting_.pop_front();
    return lane;
  }

  void serve() {
    if (!accepted_) return;
    std::optional<Result<std::unique_ptr<Lane>, Error>> result;
    {
      const Lock lock(mutex_);
      if (!cancelled_ && waiting_.empty() && IoLoop::now() < accept_by_) return;
      result.emplace(next(accept_by_));
    }
    if (timer_) timer_->cancel();
    std::exchange(accepted_, nullptr)(std::move(*result));
  }

  std::unique_ptr<Lane> take(const Lane::Impl* key) {
    const auto found = std::ranges::find(connecting_, key, &Connecting::key);
    if (found == connecting_.end()) return nullptr;
    auto lane = std::move(found->lane);
    connecting_.erase(found);
    return lane;
  }

  void established(Lane::Impl* key) {
    auto lane = take(key);
    if (!lane) return;
    const Lock lock(mutex_);
    if (waiting_.size() >= LaneListener::kMaxWaiting) {
      // Nobody accepts: the peer learns it by the close, not by silence.
      lane->close();
      refused_.push_back(std::move(lane));
      if (refused_.size() > LaneListener::kMaxWaiting) refused_.pop_front();
      return;
    }
    waiting_.push_back(std::move(lane));
    changed_.notify_one();
    host_.loop.post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->serve();
    });
  }

  LaneHost::Impl& host_;
  // The loop's thread only. Oldest first.
  std::deque<Connecting> connecting_;
  LaneListener::Accepted accepted_;
  SteadyTime accept_by_ = kNoDeadline;
  std::unique_ptr<IoLoop::Timer> timer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  std::deque<std::unique_ptr<Lane>> waiting_;
  std::deque<std::unique_ptr<Lane>> refused_;
};

// ---- connections --------------------------------------------------------------------------------

class ConnectionListener final : public LaneListener {
 public:
  ConnectionListener(LaneHost::Impl& host, const Endpoint& at, flow::OwnedDescriptor descriptor,
                     LaneOptions options)
      : host_(host),
        kind_(at.kind),
        local_(format_endpoint(at.kind, local_address(descriptor.get()))),
        descriptor_(std::move(descriptor)),
        options_(std::move(options)),
        queue_(std::make_shared<AcceptQueue>(host)) {
    host_.loop.run([this] {
      watch_ = std::make_unique<IoLoop::Watch>(host_.loop, descriptor_.get());
      retry_ = std::make_unique<IoLoop::Timer>(host_.loop);
      wait();
    });
  }
  ~ConnectionListener() override {
    host_.loop.run([this] {
      watch_.reset();
      retry_.reset();
      queue_->end();
    });
    if (kind_ != SocketKind::kTcp) {
      const std::size_t scheme = local_.text.find(':');
      static_cast<void>(::unlink(local_.text.c_str() + scheme + 1));
    }
  }
  Result<std::unique_ptr<Lane>, Error> accept(SteadyTime deadline) override {
    return queue_->accept(deadline);
  }
  void when_accepted(Accepted done, SteadyTime deadline) override {
    queue_->when_accepted(std::move(done), deadline);
  }
  void cancel() override { queue_->cancel(); }
  Address local() const override { return local_; }

 private:
  // Out of descriptors: those who wait in the kernel are asked for again after this.
  static constexpr auto kPause = std::chrono::milliseconds(100);
  // Each costs us more than it costs who connects; then others get their turn.
  static constexpr int kAcceptsPerTurn = 16;

  void wait() {
    watch_->when_readable([this] { take_some(); });
  }

  void take_some() {
    for (int round = 0; round < kAcceptsPerTurn; ++round) {
      std::optional<SocketAddress> from;
      auto accepted = accept_one(descriptor_.get(), from);
      if (!accepted.has_value()) {
        if (errno == ECONNABORTED || errno == EINTR) continue;
        if (errno == EAGAIN) return wait();
        retry_->at(IoLoop::now() + kPause, [this] { take_some(); });
        return;
      }
      const auto lane = queue_->add(options_, false, {});
      SEALANE_CHECK(lane.has_value());  // the options were checked
      tune_stream(accepted.value().get(), kind_);
      std::unique_ptr<PacketTransport> transport;
      if (kind_ == SocketKind::kSeqpacket) {
        transport =
            std::make_unique<DatagramTransport>(std::move(accepted.value()), Endpoint{kind_, *from},
                                                max_packet_of(*lane.value()), host_.arena);
      } else {
        transport = std::make_unique<StreamTransport>(
            std::move(accepted.value()), flow::OwnedDescriptor(), format_endpoint(kind_, *from),
            lane.value()->make_reframer());
      }
      lane.value()->start(std::move(transport));
    }
    retry_->at(IoLoop::now(), [this] { take_some(); });
  }

  LaneHost::Impl& host_;
  SocketKind kind_;
  Address local_;
  flow::OwnedDescriptor descriptor_;
  LaneOptions options_;
  std::shared_ptr<AcceptQueue> queue_;
  std::unique_ptr<IoLoop::Watch> watch_;
  std::unique_ptr<IoLoop::Timer> retry_;
};

// ---- UDP ----------------------------------------------------------------------------------------

class UdpServer;

// One peer of a UDP socket that others use too.
class UdpPeerTransport final : public PacketTransport {
 public:
  UdpPeerTransport(std::shared_ptr<flow::OwnedDescriptor> descriptor, const SocketAddress& peer)
      : descriptor_(std::move(descriptor)), address_(peer) {}
  NetworkResult<bool> receive(const Sink&) override { return false; }
  SendOutcome send(ByteSpan packet) override {
    if (burst_.add(packet)) return SendOutcome::kTaken;
    const SendOutcome outcome = flush();
    if (outcome == SendOutcome::kBusy || outcome == SendOutcome::kClosed) return outcome;
    burst_.add(packet);
    return SendOutcome::kTaken;
  }
  SendOutcome flush() override {
    const std::size_t size = burst_.packet_size();
    const SendOutcome outcome = burst_.send(descriptor_->get(), &address_);
    if (outcome != SendOutcome::kTooBig) return outcome;
    late_too_big_ = size;
    return SendOutcome::kTaken;
  }
  int read_descriptor() const override { return -1; }
  int write_descriptor() const override { return descriptor_->get(); }
  bool lossy() const override { return true; }
  Address peer() const override { return format_endpoint(SocketKind::kUdp, address_); }

 private:
  std::shared_ptr<flow::OwnedDescriptor> descriptor_;
  SocketAddress address_;
  UdpBurst burst_;
};

// The socket and its peers; lives as long as the listener or one of its lanes. On the loop's thread
// but for its construction.
class UdpServer : public std::enable_shared_from_this<UdpServer> {
 public:
  UdpServer(LaneHost::Impl& host, flow::OwnedDescriptor descriptor, LaneOptions options)
      : host_(host),
        descriptor_(std::make_shared<flow::OwnedDescriptor>(std::move(descriptor))),
        options_(std::move(options)),
        queue_(std::make_shared<AcceptQueue>(host)) {
    if (options_.psk) psk_.emplace(options_.psk->expose());
    first_contact_.emplace(psk_ ? session::PacketKey::aux(psk_->aux_key())
                                : session::PacketKey::plain());
  }

  void start() {
    watch_ = std::make_unique<IoLoop::Watch>(host_.loop, descriptor_->get());
    wait();
  }
  // No new peers.
  void stop_accepting() { accepting_ = false; }
  void stop() { watch_.reset(); }
  bool unused() const { return !accepting_ && peers_.empty(); }
  const std::shared_ptr<AcceptQueue>& queue() const { return queue_; }
  int descriptor() const { return descriptor_->get(); }

 private:
  static constexpr int kRounds = 16;
  static constexpr std::uint64_t kVerifyRate = 500;

  void wait() {
    watch_->when_readable([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->read();
    });
  }

  void read() {
    if (!watch_) return;
    const auto self = shared_from_this();
    for (int round = 0; round < kRounds; ++round) {
      const SteadyTime now = IoLoop::now();
      const auto got = receive_udp(descriptor_->get(), host_.arena,
                                   [this, now](MutableByteSpan packet, const SocketAddress& from) {
                                     deliver(packet, from, now);
                                   });
      for (const auto& lane : touched_) lane->after_input();
      touched_.clear();
      if (!got.has_value() || got.value() == DatagramRead::kDrained) {
        if (watch_) wait();
        return;
      }
    }
    host_.loop.post([weak = weak_from_this()] {
      if (const auto again = weak.lock()) again->read();
    });
  }

  void deliver(MutableByteSpan packet, const SocketAddress& from, SteadyTime now) {
    std::shared_ptr<Lane::Impl> lane;
    if (const auto found = peers_.find(from); found != peers_.end()) lane = found->second.lock();
    if (!lane) lane = first_contact(packet, from);
    if (!lane) return;
    lane->deliver(packet, now);
    if (touched_.empty() || touched_.back() != lane) touched_.push_back(std::move(lane));
  }

  // Only a key exchange message that is signed by whom we talk to costs us memory, and no more
  // than kVerifyRate of them a second cost us a signature check.
  std::shared_ptr<Lane::Impl> first_contact(ByteSpan packet, const SocketAddress& from) {
    if (!accepting_) return nullptr;
    const session::PacketIdMask mask = psk_ ? psk_->packet_id_mask() : session::PacketIdMask{};
    Bytes copy = to_bytes(packet);
    const auto header = first_contact_->open_header(mask, copy);
    if (!header.has_value()) return nullptr;
    const auto messages = first_contact_->open_messages(header.value(), copy);
    if (!messages.has_value()) return nullptr;
    const auto message = session::MessageReader(messages.value()).next();
    if (!message || message->type != session::MessageType::kKeyExchange) return nullptr;
    const auto request = session::parse_key_exchange(message->payload);
    if (!request.has_value()) return nullptr;
    // The cheap question first: who does not even claim to be our peer must not use up its checks.
    const crypto::Ed25519Public& claimed = request.value().claimed.identity;
    if (options_.peer && claimed != *options_.peer) return nullptr;
    if (!verify_budget_.try_take(1, IoLoop::now())) return nullptr;
    if (!session::verify(request.value(), claimed).has_value()) return nullptr;
    const std::shared_ptr<UdpServer> self = shared_from_this();  // lives as long as its lanes
    auto made = queue_->add(options_, true, [self, from] { self->forget(from); });
    SEALANE_CHECK(made.has_value());  // the options were checked
    std::shared_ptr<Lane::Impl> lane = std::move(made.value());
    peers_[from] = lane;
    const std::weak_ptr<Lane::Impl> weak = lane;
    lane->when_writable = [server = weak_from_this(), weak] {
      if (const auto there = server.lock()) there->when_writable(weak);
    };
    lane->start(std::make_unique<UdpPeerTransport>(descriptor_, from));
    return lane;
  }

  void forget(const SocketAddress& from) {
    peers_.erase(from);
    if (unused()) {
      // Not inside the call of a lane that is going.
      host_.loop.post([self = shared_from_this()] { self->stop(); });
    }
  }

  void when_writable(const std::weak_ptr<Lane::Impl>& lane) {
    waiting_.push_back(lane);
    if (waiting_.size() > 1 || !watch_) return;
    watch_->when_writable([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      for (const auto& entry : std::exchange(self->waiting_, {})) {
        if (const auto ready = entry.lock()) ready->on_writable();
      }
    });
  }

  LaneHost::Impl& host_;
  std::shared_ptr<flow::OwnedDescriptor> descriptor_;
  LaneOptions options_;
  std::optional<session::PskKeys> psk_;
  std::optional<session::PacketKey> first_contact_;
  TokenBucket verify_budget_{kVerifyRate, kVerifyRate, IoLoop::now()};
  bool accepting_ = true;
  std::shared_ptr<AcceptQueue> queue_;
  std::unordered_map<SocketAddress, std::weak_ptr<Lane::Impl>, SocketAddressHash> peers_;
  std::vector<std::shared_ptr<Lane::Impl>> touched_;
  std::vector<std::weak_ptr<Lane::Impl>> waiting_;
  std::unique_ptr<IoLoop::Watch> watch_;
};

class UdpListener final : public LaneListener {
 public:
  UdpListener(LaneHost::Impl& host, flow::OwnedDescriptor descriptor, LaneOptions options)
      : host_(host),
        server_(std::make_shared<UdpServer>(host, std::move(descriptor), std::move(options))),
        local_(format_endpoint(SocketKind::kUdp, local_address(server_->descriptor()))) {
    host_.loop.run([this] { server_->start(); });
  }
  ~UdpListener() override {
    host_.loop.run([this] {
      server_->stop_accepting();
      server_->queue()->end();
      if (server_->unused()) server_->stop();
      server_.reset();  // perhaps its end, which belongs on this thread
    });
  }
  Result<std::unique_ptr<Lane>, Error> accept(SteadyTime deadline) override {
    return server_->queue()->accept(deadline);
  }
  void when_accepted(Accepted done, SteadyTime deadline) override {
    server_->queue()->when_accepted(std::move(done), deadline);
  }
  void cancel() override { server_->queue()->cancel(); }
  Address local() const override { return local_; }

 private:
  LaneHost::Impl& host_;
  std::shared_ptr<UdpServer> server_;
  Address local_;
};

}  // namespace

Result<std::unique_ptr<LaneListener>, Error> make_listener(LaneHost::Impl& host, const Address& at,
                                                           const LaneOptions& options) {
  SEALANE_TRY(const auto endpoints, resolve(at));
  const Endpoint* const endpoint = &endpoints.front();
  const bool udp = endpoint->kind == SocketKind::kUdp;
  SEALANE_TRY(make_lane(host, options, udp));
  auto descriptor = start_listen(*endpoint);
  if (!descriptor.has_value()) return to_error(descriptor.error(), at);
  if (udp) {
    return std::unique_ptr<LaneListener>(
        std::make_unique<UdpListener>(host, std::move(descriptor.value()), options));
  }
  return std::unique_ptr<LaneListener>(std::make_unique<ConnectionListener>(
      host, *endpoint, std::move(descriptor.value()), options));
}

}  // namespace sealane::net
