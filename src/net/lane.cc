#include "sealane/net/lane.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "net/lane_impl.h"
#include "net/resolve.h"
#include "net/stream_transport.h"
#include "session/key_schedule.h"

namespace sealane::net {
namespace {

using session::MessageType;

// Rounds of reading, or of sending what others add meanwhile, before somebody else gets a turn.
constexpr int kRounds = 16;
// So much of small packets leaves together where the transport can send them with one call.
constexpr std::size_t kBurst = 48 * 1024;
// The part of a packet, or of a burst of small ones, that makes another round of sending worth it.
constexpr std::size_t kWorthSending = 8;
constexpr std::size_t kFirstPipe = 4 * 1024;
constexpr std::chrono::milliseconds kBlockedTurn{20};
// How long one of several addresses of a name is tried before the next.
constexpr std::chrono::seconds kOneAddress{5};

Error closed_error(const std::string& why) {
  return {ErrorKind::kFailed, why.empty() ? "the lane is closed" : "the lane is closed: " + why};
}
Error deadline_error() {
  return {ErrorKind::kFailed, "the lane was not ready in time; try again, or give it longer"};
}
Error would_wait_error() {
  return {ErrorKind::kFailed,
          "the send queue is full, and a handler cannot wait for it; send from another thread"};
}

session::Options to_core_options(const LaneOptions& options, bool lossy) {
  session::Options out;
  if (options.psk) out.psk = std::make_shared<session::PskKeys>(options.psk->expose());
  switch (options.key_answers) {
    case KeyAnswers::kWaitFor:
      out.answers_mode = session::AnswersMode::kAnswerAndWait;
      break;
    case KeyAnswers::kSend:
      out.answers_mode = session::AnswersMode::kAnswer;
      break;
    case KeyAnswers::kNone:
      out.answers_mode = session::AnswersMode::kDisabled;
      break;
  }
  out.lossy = lossy;
  out.payload_size_limit = options.payload_size_limit;
  out.negotiate = options.negotiate;
  out.key_update_interval = options.key_update_interval;
  out.key_update_bytes = options.key_update_bytes;
  out.keepalive = options.keepalive;
  out.retry_interval = options.retry_interval;
  out.key_exchange_timeout = options.key_exchange_timeout;
  out.close_timeout = options.close_timeout;
  out.send_delay = options.send_delay;
  out.send_queue_limit = options.send_queue_limit;
  out.receive_queue_limit = options.receive_queue_limit;
  out.fragment = options.fragment;
  out.max_message_size = options.max_message_size;
  out.accept_plain_fragments = options.accept_plain_fragments;
  out.replay_window = options.replay_window;
  switch (options.peer_code) {
    case PeerCode::kAny:
      out.peer_kind = session::PeerKind::kAny;
      break;
    case PeerCode::kSealane:
      out.peer_kind = session::PeerKind::kSealane;
      break;
    case PeerCode::kLegacy:
      out.peer_kind = session::PeerKind::kLegacy;
      break;
  }
  return out;
}

std::string sentence(const session::Closed& closed) {
  if (closed.reason == session::CloseReason::kRequested) return {};
  std::string text(describe(closed.reason));
  if (closed.last_problem) text.append(" (").append(describe(*closed.last_problem)).append(")");
  return text;
}

MessageType type_of(Channel channel) {
  return session::channel_type(session::ChannelId{static_cast<std::uint32_t>(channel)});
}

std::optional<Channel> lane_channel(MessageType type) {
  const auto channel = session::channel_of(type);
  if (!channel) return std::nullopt;
  return Channel{static_cast<std::uint32_t>(*channel)};
}

// How many sessions this thread holds: while it does, that is in a handler, it waits for no other,
// because who holds that one may be waiting for this.
thread_local int held_cores = 0;

}  // namespace

// A socket that we have closed for writing, until the peer has closed too: see
// PacketTransport::release().
class Lingering : public std::enable_shared_from_this<Lingering> {
 public:
  static void start(LaneHost::Impl& host, flow::OwnedDescriptor descriptor) {
    if (!descriptor.valid()) return;
    const auto self = std::make_shared<Lingering>(host, std::move(descriptor));
    self->timer_.at(IoLoop::now() + kTime, [self] { self->watch_.reset(); });
    self->wait();
    // Peers that come, are cut off and do not close must not use up our descriptors.
    auto& all = host.lingering;
    std::erase_if(all, [](const std::weak_ptr<Lingering>& one) { return one.expired(); });
    all.push_back(self);
    if (all.size() <= LaneHost::Impl::kMaxLingering) return;
    if (const auto oldest = all.front().lock()) oldest->end();
    all.pop_front();
  }
  Lingering(LaneHost::Impl& host, flow::OwnedDescriptor descriptor)
      : descriptor_(std::move(descriptor)),
        watch_(std::make_unique<IoLoop::Watch>(host.loop, descriptor_.get())),
        timer_(host.loop) {}

 private:
  static constexpr std::chrono::seconds kTime{5};  // for a peer that does not close
  void wait() {
    watch_->when_readable([self = shared_from_this()] { self->drain(); });
  }
  void drain() {
    std::array<std::byte, 4096> unread;  // NOLINT: filled by recv
    for (int round = 0; round < kRounds; ++round) {
      const ssize_t size = ::recv(descriptor_.get(), unread.data(), unread.size(), MSG_DONTWAIT);
      if (size > 0 || (size < 0 && errno == EINTR)) continue;
      if (size < 0 && errno == EAGAIN) break;
      return end();
    }
    wait();
  }
  void end() {
    watch_.reset();
    timer_.cancel();
  }

  flow::OwnedDescriptor descriptor_;
  std::unique_ptr<IoLoop::Watch> watch_;
  IoLoop::Timer timer_;
};

// The session and the transport, held for a while.
class Lane::Impl::Core {
 public:
  explicit Core(Impl& lane) : lane_(lane) {
    if (lane.driving()) return;
    lock_ = Lock(lane.core_mutex);
    own();
  }
  Core(Impl& lane, std::try_to_lock_t) : lane_(lane), lock_(lane.core_mutex, std::try_to_lock) {
    if (lock_) own();
  }
  ~Core() {
    if (!lock_) return;
    --held_cores;
    lane_.driver.store(std::thread::id(), std::memory_order_relaxed);
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  bool held() const { return lock_.owns_lock(); }

 private:
  void own() {
    ++held_cores;
    lane_.driver.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  Impl& lane_;
  Lock lock_;
};

Lane::Impl::Impl(LaneHost::Impl& owner, session::Identities who, const session::Options& how)
    : host(owner),
      send_delay(how.send_delay),
      close_timeout(how.close_timeout),
      receive_limit(how.receive_queue_limit),
      core(std::move(who), how, owner.random) {
  batch = core.make_batch();
  payload_size = core.payload_size();
}

std::size_t max_packet_of(const Lane::Impl& lane) { return lane.core.packet_size_limit(); }

Result<std::shared_ptr<Lane::Impl>, Error> make_lane(LaneHost::Impl& host,
                                                     const LaneOptions& options, bool lossy) {
  session::Identities identities{options.identity, options.peer, options.trust_on_first_use};
  const session::Options core_options = to_core_options(options, lossy);
  if (const auto wrong = session::Session::check(identities, core_options)) {
    return Error{ErrorKind::kUsage, std::string(describe(*wrong))};
  }
  return std::make_shared<Lane::Impl>(host, std::move(identities), core_options);
}

session::Reframer Lane::Impl::make_reframer() {
  // The transport lives inside this object, so the pointer outlives it.
  return session::Reframer(
      core.packet_size_limit(),
      [this](std::span<const std::byte, session::kPacketHeaderSize> header) {
        return core.peek_length(header);
      },
      [this] {
        using session::Reframer;
        if (!core.peer_id()) return Reframer::kMaxUnopenedByStranger;
        return core.proven() ? Reframer::kMaxUnopened : Reframer::kMaxUnopenedUnproven;
      });
}

void Lane::Impl::post(void (Impl::*task)()) {
  host.loop.post([self = weak_from_this(), task] {
    if (const auto lane = self.lock()) ((*lane).*task)();
  });
}

void Lane::Impl::start(std::unique_ptr<PacketTransport> over) {
  const Core hold(*this);
  transport = std::move(over);
  peer_address = transport->peer();
  timer = std::make_unique<IoLoop::Timer>(host.loop);
  flush_timer = std::make_unique<IoLoop::Timer>(host.loop);
  if (transport->read_descriptor() >= 0) {
    read_watch = std::make_unique<IoLoop::Watch>(host.loop, transport->read_descriptor());
    if (transport->write_descriptor() != transport->read_descriptor()) {
      write_watch = std::make_unique<IoLoop::Watch>(host.loop, transport->write_descriptor());
    }
  }
  const auto started = core.start(host.ids.next(host.clock.wall_now(), host.random), IoLoop::now(),
                                  host.clock.wall_now());
  SEALANE_CHECK(started.has_value());
  drive();
  wait_readable();
}

// ---- producers ----------------------------------------------------------------------------------

bool Lane::Impl::waiting_forbidden() const { return held_cores > 0 || host.loop.on_thread(); }

void Lane::Impl::wake() {
  if (waiters != 0) changed.notify_all();
  if (waits.empty() || waits_posted) return;
  waits_posted = true;
  post(&Impl::check_waits);
}

void Lane::Impl::add_wait(std::function<bool()> met, bool closed_is_met, Done done,
                          SteadyTime deadline) {
  {
    const Lock lock(batch_mutex);
    if (waits.size() < kMaxWaits) {
      waits.push_back({std::move(met), closed_is_met, std::move(done), deadline});
      return wake();
    }
  }
  host.loop.post([done = std::move(done)] {
    done(Error{ErrorKind::kFailed, "too many wait for this lane at once"});
  });
}

void Lane::Impl::check_waits() {
  std::vector<std::pair<Done, Result<void, Error>>> over;
  {
    const Lock lock(batch_mutex);
    waits_posted = false;
    const SteadyTime now = IoLoop::now();
    SteadyTime next = kNoDeadline;
    std::erase_if(waits, [&](Wait& wait) {
      Result<void, Error> result = success();
      if (!wait.met()) {
        if (state == LaneState::kClosed) {
          if (!wait.closed_is_met) result = closed_error(closed_why);
        } else if (wait.deadline <= now) {
          result = deadline_error();
        } else {
          next = std::min(next, wait.deadline);
          return false;
        }
      }
      over.emplace_back(std::move(wait.done), std::move(result));
      return true;
    });
    if (next != kNoDeadline) {
      if (!wait_timer) wait_timer = std::make_unique<IoLoop::Timer>(host.loop);
      wait_timer->at(next, [self = weak_from_this()] {
        if (const auto lane = self.lock()) lane->check_waits();
      });
    }
  }
  for (auto& [done, result] : over) done(std::move(result));
}

Result<void, Error> Lane::Impl::wait_for(Lock& lock, SteadyTime deadline,
                                         const std::function<bool()>& done) {
  if (done()) return success();
  if (waiting_forbidden()) return would_wait_error();
  ++waiters;
  bool met = true;
  if (deadline == kNoDeadline) {
    changed.wait(lock, done);
  } else {
    met = changed.wait_until(lock, deadline, done);
  }
  --waiters;
  if (!met) return deadline_error();
  return success();
}

bool Lane::Impl::push(Amount amount) {
  std::optional<Core> hold;
  if (waiting_forbidden() && !driving()) {
    // Two lanes whose handlers send to each other must not wait for each other's lock.
    hold.emplace(*this, std::try_to_lock);
    if (!hold->held()) {
      post(&Impl::after_input);
      return false;
    }
  } else {
    hold.emplace(*this);
  }
  if (amount == Amount::kBurst && core.queued_bytes() + core.packet_size() < kBurst && collect()) {
    return true;
  }
  drive();
  return true;
}

LaneTicket Lane::Impl::append(MessageType type, ByteSpan payload, Leave leave) {
  LaneTicket ticket = kNoTicket;
  bool plan = false;
  {
    const std::lock_guard lock(batch_mutex);
    if (!open || !batch.append(type, payload)) return kNoTicket;
    ticket = LaneTicket{batch_ticket};
    plan = leave == Leave::kLater && !flush_planned && send_delay.count() > 0;
    if (plan) flush_planned = true;
  }
  if (plan) {
    post(&Impl::plan_flush);
  } else if (leave == Leave::kLater && send_delay.count() == 0) {
    push_now();
  }
  return ticket;
}

Result<std::optional<LaneTicket>, Error> Lane::Impl::send(MessageType type, ByteSpan payload,
                                                          Leave leave, bool may_wait,
                                                          SteadyTime deadline) {
  for (;;) {
    if (const auto added = append(type, payload, leave); added != kNoTicket) {
      return std::optional(added);
    }
    Lock lock(batch_mutex);
    if (!open) return closed_error(closed_why);
    if (batch.empty()) {
      lock.unlock();
      SEALANE_TRY(const LaneTicket ticket, send_large(type, payload, may_wait, deadline));
      return std::optional(ticket);
    }
    // It is full: this thread seals and sends it, unless the transport is.
    const std::uint64_t full = batch_ticket;
    lock.unlock();
    push(Amount::kBurst);
    lock.lock();
    if (batch_ticket != full || !open) continue;
    if (!may_wait) {
      batch_full = true;
      return std::optional<LaneTicket>();
    }
    SEALANE_TRY(wait_for(lock, deadline, [&] { return batch_ticket != full || !open; }));
  }
}

Result<LaneTicket, Error> Lane::Impl::send_large(MessageType type, ByteSpan payload, bool may_wait,
                                                 SteadyTime deadline) {
  for (;;) {
    std::uint64_t seen = 0;
    {
      std::optional<Core> hold;
      if (waiting_forbidden() && !driving()) {
        hold.emplace(*this, std::try_to_lock);
        if (!hold->held()) return would_wait_error();
      } else {
        hold.emplace(*this);
      }
      collect();
      Lock lock(batch_mutex);
      if (!open) return closed_error(closed_why);
      if (batch.empty()) {
        const auto taken = core.send(type, payload, IoLoop::now());
        if (taken.has_value()) {
          core.flush();
          const std::uint64_t ticket = batch_ticket++;
          pending.push_back({ticket, static_cast<std::uint64_t>(taken.value())});
          lock.unlock();
          drive();
          return LaneTicket{ticket};
        }
        if (taken.error() != session::SendError::kWouldBlock) {
          return Error{ErrorKind::kUsage, std::string(describe(taken.error()))};
        }
      }
      seen = sent.load();
      if (!may_wait) {
        batch_full = true;
        return would_wait_error();
      }
    }
    Lock lock(batch_mutex);
    SEALANE_TRY(wait_for(lock, deadline, [&] { return sent.load() != seen || !open; }));
  }
}

// ---- with core_mutex ----------------------------------------------------------------------------

// The open batch, if anything is in it, goes into the session's queue; unless that is full.
bool Lane::Impl::collect() {
  const Lock lock(batch_mutex);
  if (batch.empty()) return false;
  const auto taken = core.send_batch(batch, IoLoop::now());
  if (!taken.has_value()) return false;
  pending.push_back({batch_ticket, static_cast<std::uint64_t>(taken.value())});
  ++batch_ticket;
  batch_full = false;
  wake();
  return true;
}

void Lane::Impl::drive() {
  for (int round = 0;; ++round) {
    collect();
    send_output();
    if (transport_full.load(std::memory_order_relaxed) || transport_lost || write_lost) break;
    const Lock lock(batch_mutex);
    // What others added meanwhile goes along if it is worth a packet, else with the next flush. In
    // a flood this thread so goes on sending while producers only append.
    if (batch.empty() ||
        batch.packet_size() < std::max(core.packet_size(), kBurst) / kWorthSending ||
        round == kRounds) {
      break;
    }
  }
  publish();
  rearm_timer();
}

void Lane::Impl::send_output() {
  if (transport_full.load(std::memory_order_relaxed) || transport_lost || write_lost ||
      !transport) {
    return;
  }
  // The peer has closed, perhaps after it said all it had to say: that is read first.
  const auto lost = [this] {
    write_lost = true;
    if (transport->read_descriptor() < 0) transport_lost = "the connection broke while sending";
  };
  while (const auto output = core.next_output()) {
    switch (transport->send(output->second)) {
      case SendOutcome::kTaken:
        core.output_sent();
        break;
      case SendOutcome::kBusy:
        return arm_writable();
      case SendOutcome::kTooBig:
        core.output_failed(OutputFailure::kTooBig);
        break;
      case SendOutcome::kLost:
        core.output_failed(OutputFailure::kLost);
        break;
      case SendOutcome::kClosed:
        core.output_failed(OutputFailure::kLost);
        lost();
        post(&Impl::after_input);
        return;
    }
    if (const auto size = transport->take_late_too_big()) core.packet_too_big(*size);
  }
  switch (transport->flush()) {
    case SendOutcome::kBusy:
      arm_writable();
      break;
    case SendOutcome::kClosed:
      lost();
      post(&Impl::after_input);
      break;
    default:
      break;
  }
  if (const auto size = transport->take_late_too_big()) core.packet_too_big(*size);
}

void Lane::Impl::arm_writable() {
  transport_full.store(true, std::memory_order_relaxed);
  host.loop.post([self = weak_from_this()] {
    const auto lane = self.lock();
    if (!lane || lane->writing) return;
    IoLoop::Watch* watch = lane->write_watch ? lane->write_watch.get() : lane->read_watch.get();
    if (watch != nullptr) {
      lane->writing = true;
      watch->when_writable([self] {
        if (const auto ready = self.lock()) ready->on_writable();
      });
    } else if (lane->when_writable) {
      lane->writing = true;
      lane->when_writable();
    }
  });
}

void Lane::Impl::on_writable() {
  writing = false;
  transport_full.store(false, std::memory_order_relaxed);
  after_input();
}

// Tells waiters what has left.
void Lane::Impl::publish() {
  const std::size_t size = core.payload_size();
  if (payload_size.exchange(size, std::memory_order_relaxed) != size) {
    const Lock lock(batch_mutex);
    if (batch.empty()) batch = core.make_batch();
  }
  const auto done = static_cast<std::uint64_t>(core.sent_ticket());
  std::uint64_t newest = 0;
  while (!pending.empty() && pending.front().core <= done) newest = pending.pop_front().lane;
  if (newest == 0) return;
  const Lock lock(batch_mutex);
  sent.store(newest);
  batch_full = false;
  wake();
}

void Lane::Impl::rearm_timer() {
  auto due = core.deadline();
  if (!due) return;
  // What is due may be to send, which is not possible now: that is no reason to turn for ever.
  if (write_lost || transport_full.load(std::memory_order_relaxed)) {
    due = std::max(*due, IoLoop::now() + kBlockedTurn);
  }
  if (armed && *armed <= *due) return;  // it looks again when it fires
  armed = due;
  if (!host.loop.on_thread()) {
    post(&Impl::on_timer);
    return;
  }
  timer->at(*due, [self = weak_from_this()] {
    if (const auto lane = self.lock()) lane->on_timer();
  });
}

void Lane::Impl::close_when_collected() {
  {
    const Lock lock(batch_mutex);
    if (!close_wanted) return;
    const bool unsent = !batch.empty() && state == LaneState::kEstablished;
    if (unsent && IoLoop::now() < *close_by) return;
  }
  close_wanted = false;
  core.close(IoLoop::now());
  drive();
}

void Lane::Impl::finish(std::string reason) {
  transport_lost = transport_lost ? transport_lost : reason;
  if (read_watch) read_watch.reset();
  if (write_watch) write_watch.reset();
  timer->cancel();
  flush_timer->cancel();
  if (transport) Lingering::start(host, transport->release());
  transport.reset();
  LaneEvent event{LaneEventKind::kClosed, std::nullopt, {}};
  {
    const Lock lock(batch_mutex);
    open = false;
    state = LaneState::kClosed;
    if (!reason.empty()) closed_why = std::move(reason);  // else what the session said before
    event.text = closed_why;
    wake();
  }
  tell(event);
}

// ---- on the loop's thread -----------------------------------------------------------------------

void Lane::Impl::on_timer() {
  {
    const Core hold(*this);
    armed.reset();
    const SteadyTime now = IoLoop::now();
    const auto due = core.deadline();
    if (due && *due <= now) core.on_deadline(now);
  }
  after_input();
}

void Lane::Impl::plan_flush() {
  if (!flush_timer || close_by) return;
  flush_timer->at(IoLoop::now() + send_delay, [self = weak_from_this()] {
    if (const auto lane = self.lock()) lane->flush_due();
  });
}

void Lane::Impl::flush_due() {
  {
    const Lock lock(batch_mutex);
    flush_planned = false;
  }
  after_input();
}

void Lane::Impl::wait_readable() {
  if (reading || read_posted || !read_watch || !core.wants_input()) return;
  reading = true;
  read_watch->when_readable([self = weak_from_this()] {
    if (const auto lane = self.lock()) {
      lane->reading = false;
      lane->on_readable();
    }
  });
}

void Lane::Impl::on_readable() {
  read_posted = false;
  {
    const Core hold(*this);
    bool more = true;
    for (int round = 0; more && round < kRounds; ++round) {
      if (!transport || transport_lost || !core.wants_input()) break;
      const SteadyTime now = IoLoop::now();
      const auto read =
          transport->receive([this, now](MutableByteSpan packet) { deliver(packet, now); });
      if (!read.has_value()) {
        transport_lost = read.error().code == NetworkErrorCode::kClosed
                             ? std::string("the peer closed the connection")
                             : read.error().detail;
        break;
      }
      more = read.value();
    }
    if (more && transport && !transport_lost && core.wants_input()) {
      read_posted = true;  // others get their turn first
      post(&Impl::on_readable);
    }
  }
  after_input();
}

void Lane::Impl::deliver(MutableByteSpan packet, SteadyTime now) {
  const Core hold(*this);
  core.receive_in_place(session::PathId{0}, packet, now);
  take_events();
  core.keep_undelivered();  // the buffer is used again
}

void Lane::Impl::after_input() {
  const auto self = shared_from_this();
  const Core hold(*this);
  if (!transport) return;
  take_events();
  drive();
  close_when_collected();
  take_events();
  if (core.state() == session::SessionState::kClosed) {
    std::string why;
    while (auto event = core.next_event()) {
      if (const auto* closed = std::get_if<session::Closed>(&*event)) why = sentence(*closed);
      take_event(*event);
    }
    finish(transport_lost ? *transport_lost : why);
    if (on_closed) std::exchange(on_closed, nullptr)();
    return;
  }
  // What came before the end is delivered first.
  if (transport_lost && !input_waits) {
    core.abort(IoLoop::now());
    return after_input();
  }
  wait_readable();
}

void Lane::Impl::take_events() {
  for (;;) {
    if (input_waits) {
      const Lock lock(batch_mutex);
      if (pipe_size >= receive_limit) return;
      input_waits = false;
    }
    core.take_messages([this](MessageType type, ByteSpan payload) {
      dispatch(type, payload);
      return !input_waits.load(std::memory_order_relaxed);
    });
    if (input_waits) return;
    const auto event = core.next_event();
    if (!event) break;
    take_event(*event);
  }
  update_state();
}

void Lane::Impl::take_event(const session::SessionEvent& event) {
  if (const auto* message = std::get_if<session::Received>(&event)) {
    return dispatch(message->type, message->payload);
  }
  if (const auto* closed = std::get_if<session::Closed>(&event)) {
    const Lock lock(batch_mutex);
    closed_why = sentence(*closed);
    return;
  }
  if (const auto* problem = std::get_if<session::Problem>(&event)) {
    return tell_problem(lane_channel(problem->type), LaneEventKind::kProblem,
                        {ErrorKind::kFailed, std::string(describe(problem->kind))});
  }
  if (const auto* pinned = std::get_if<session::PeerPinned>(&event)) {
    return tell(
        {LaneEventKind::kPeerPinned, std::nullopt, identity::fingerprint(pinned->identity)});
  }
  if (std::holds_alternative<session::PeerRestarted>(event)) {
    return tell({LaneEventKind::kPeerRestarted, std::nullopt, {}});
  }
  const auto* changed_to = std::get_if<session::StateChanged>(&event);
  if (changed_to == nullptr || changed_to->state != session::SessionState::kEstablished) return;
  update_state();
  tell({LaneEventKind::kEstablished, std::nullopt, {}});
}

void Lane::Impl::tell(const LaneEvent& event) {
  std::shared_ptr<const EventHandler> handler;
  {
    const std::lock_guard lock(handlers_mutex);
    handler = event_handler;
  }
  if (handler) (*handler)(event);
}

void Lane::Impl::tell_problem(std::optional<Channel> channel, LaneEventKind kind, Error error) {
  if (channel) {
    std::shared_ptr<const Handlers> of_channel;
    {
      const std::lock_guard lock(handlers_mutex);
      const auto found = handlers.find(static_cast<std::uint32_t>(type_of(*channel)));
      if (found != handlers.end()) of_channel = found->second;
    }
    if (of_channel && of_channel->checked.on_error) return of_channel->checked.on_error(error);
  }
  tell({kind, channel, std::move(error.message)});
}

void Lane::Impl::update_state() {
  const auto core_state = core.state();
  if (core_state == std::exchange(seen_state, core_state)) return;
  if (core_state == session::SessionState::kEstablished ||
      core_state == session::SessionState::kClosing) {
    bool news = false;
    {
      const Lock lock(batch_mutex);
      const LaneState next = core_state == session::SessionState::kEstablished
                                 ? LaneState::kEstablished
                                 : LaneState::kClosing;
      if (state != next) {
        news = state == LaneState::kConnecting;
        state = next;
        wake();
      }
    }
    if (news && on_established) std::exchange(on_established, nullptr)();
  }
}

void Lane::Impl::dispatch(MessageType message_type, ByteSpan payload) {
  const auto type = static_cast<std::uint32_t>(message_type);
  const std::uint64_t version = published_version.load(std::memory_order_acquire);
  if (type != cached_type || version != cached_version) {
    const std::lock_guard lock(handlers_mutex);
    const auto found = handlers.find(type);
    cached_type = type;
    cached_version = version;
    cached_handler = found == handlers.end() ? nullptr : found->second;
  }
  if (cached_handler) {
    // Only this function lets go of it, so a handler may replace itself.
    if (cached_handler->plain) return cached_handler->plain(payload);
    auto result = cached_handler->checked.on_message(payload);
    if (result.has_value()) return;
    return tell_problem(lane_channel(message_type), LaneEventKind::kHandlerFailed,
                        std::move(result.error()));
  }
  if (message_type != MessageType::kReadWrite || payload.empty()) return;
  const Lock lock(batch_mutex);
  const std::size_t size = payload.size();
  if (pipe.size() - pipe_size < size) {
    Bytes larger(std::max({kFirstPipe, 2 * pipe.size(), pipe_size + size}));
    const std::size_t first = std::min(pipe_size, pipe.size() - pipe_begin);
    std::copy_n(pipe.begin() + static_cast<std::ptrdiff_t>(pipe_begin), first, larger.begin());
    std::copy_n(pipe.begin(), pipe_size - first,
                larger.begin() + static_cast<std::ptrdiff_t>(first));
    pipe = std::move(larger);
    pipe_begin = 0;
  }
  const std::size_t end = (pipe_begin + pipe_size) % pipe.size();
  const std::size_t first = std::min(size, pipe.size() - end);
  copy_bytes(payload.first(first), pipe.begin() + static_cast<std::ptrdiff_t>(end));
  copy_bytes(payload.subspan(first), pipe.begin());
  pipe_size += size;
  if (pipe_size >= receive_limit) input_waits = true;
  wake();
}

// ---- Lane ---------------------------------------------------------------------------------------

Lane::Lane(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Lane::~Lane() {
  Impl& lane = *impl_;
  lane.host.loop.run([&lane] {
    {
      const std::lock_guard lock(lane.handlers_mutex);
      lane.handlers.clear();
      lane.event_handler.reset();
      ++lane.handlers_version;
      lane.published_version.store(lane.handlers_version, std::memory_order_release);
    }
    lane.on_established = nullptr;
    {
      const Impl::Core hold(lane);
      lane.core.abort(IoLoop::now());
    }
    lane.after_input();
    lane.check_waits();
    // Whatever the loop still holds must go on its thread, before the host does.
    lane.timer.reset();
    lane.flush_timer.reset();
    lane.wait_timer.reset();
  });
}

LaneState Lane::state() const {
  const Impl::Lock lock(impl_->batch_mutex);
  return impl_->state;
}

Result<void, Error> Lane::wait_established(SteadyTime deadline) {
  Impl& lane = *impl_;
  Impl::Lock lock(lane.batch_mutex);
  SEALANE_TRY(lane.wait_for(lock, deadline, [&] { return lane.state != LaneState::kConnecting; }));
  if (lane.state == LaneState::kClosed) return closed_error(lane.closed_why);
  return success();
}

Result<LaneTicket, Error> Lane::send(Channel channel, ByteSpan message, SteadyTime deadline) {
  if (channel > kMaxChannel) return Error{ErrorKind::kUsage, "there is no such channel"};
  const LaneTicket added = impl_->append(type_of(channel), message, Impl::Leave::kLater);
  if (added != Impl::kNoTicket) return added;
  SEALANE_TRY(const auto ticket,
              impl_->send(type_of(channel), message, Impl::Leave::kLater, true, deadline));
  return *ticket;
}

Result<std::optional<LaneTicket>, Error> Lane::try_send(Channel channel, ByteSpan message) {
  if (channel > kMaxChannel) return Error{ErrorKind::kUsage, "there is no such channel"};
  return impl_->send(type_of(channel), message, Impl::Leave::kLater, false, kNoDeadline);
}

bool Lane::is_sent(LaneTicket ticket) const {
  return impl_->sent.load() >= static_cast<std::uint64_t>(ticket);
}

Result<void, Error> Lane::wait_sent(LaneTicket ticket, SteadyTime deadline) {
  if (is_sent(ticket)) return success();
  Impl& lane = *impl_;
  Impl::Lock lock(lane.batch_mutex);
  SEALANE_TRY(lane.wait_for(lock, deadline,
                            [&] { return is_sent(ticket) || lane.state == LaneState::kClosed; }));
  if (!is_sent(ticket)) return closed_error(lane.closed_why);
  return success();
}

void Lane::flush() { impl_->push_now(); }

void Lane::set_handler(Channel channel, Handler handler) {
  SEALANE_CHECK(channel <= kMaxChannel);
  impl_->set_handlers(
      type_of(channel),
      handler ? std::make_shared<Impl::Handlers>(Impl::Handlers{std::move(handler), {}}) : nullptr);
}

void Lane::set_channel_handler(Channel channel, ChannelHandler handler) {
  SEALANE_CHECK(channel <= kMaxChannel);
  impl_->set_handlers(type_of(channel),
                      handler.on_message
                          ? std::make_shared<Impl::Handlers>(Impl::Handlers{{}, std::move(handler)})
                          : nullptr);
}

void Lane::set_pipe_handler(Handler handler) {
  impl_->set_handlers(
      MessageType::kReadWrite,
      handler ? std::make_shared<Impl::Handlers>(Impl::Handlers{std::move(handler), {}}) : nullptr);
}

void Lane::Impl::set_handlers(MessageType type, std::shared_ptr<const Handlers> next) {
  const std::lock_guard lock(handlers_mutex);
  if (next) {
    handlers[static_cast<std::uint32_t>(type)] = std::move(next);
  } else {
    handlers.erase(static_cast<std::uint32_t>(type));
  }
  published_version.store(++handlers_version, std::memory_order_release);
}

void Lane::set_event_handler(EventHandler handler) {
  Impl& lane = *impl_;
  const std::lock_guard lock(lane.handlers_mutex);
  lane.event_handler = handler ? std::make_shared<const EventHandler>(std::move(handler)) : nullptr;
}

// ---- waiting without a thread ----

void Lane::when_established(Done done, SteadyTime deadline) {
  impl_->add_wait(
      [lane = impl_.get()] {
        return lane->state != LaneState::kConnecting && lane->state != LaneState::kClosed;
      },
      false, std::move(done), deadline);
}

void Lane::when_sent(LaneTicket ticket, Done done, SteadyTime deadline) {
  impl_->add_wait([lane = impl_.get(),
                   ticket] { return lane->sent.load() >= static_cast<std::uint64_t>(ticket); },
                  false, std::move(done), deadline);
}

void Lane::when_writable(Done done, SteadyTime deadline) {
  impl_->add_wait([lane = impl_.get()] { return lane->open && !lane->batch_full; }, false,
                  std::move(done), deadline);
}

void Lane::when_readable(Done done, SteadyTime deadline) {
  impl_->add_wait([lane = impl_.get()] { return lane->pipe_size != 0; }, true, std::move(done),
                  deadline);
}

void Lane::when_closed(Done done, SteadyTime deadline) {
  impl_->add_wait([] { return false; }, true, std::move(done), deadline);
}

Result<LaneTicket, Error> Lane::Impl::write(ByteSpan bytes, Leave leave, SteadyTime deadline) {
  const std::size_t limit = payload_size.load(std::memory_order_relaxed);
  LaneTicket last{0};
  do {
    const ByteSpan piece = bytes.first(std::min(bytes.size(), limit));
    SEALANE_TRY(const auto ticket, send(MessageType::kReadWrite, piece, leave, true, deadline));
    last = *ticket;
    bytes = bytes.subspan(piece.size());
  } while (!bytes.empty());
  return last;
}

Result<LaneTicket, Error> Lane::write_later(ByteSpan bytes, SteadyTime deadline) {
  return impl_->write(bytes, Impl::Leave::kLater, deadline);
}

Result<void, Error> Lane::write(ByteSpan bytes, SteadyTime deadline) {
  SEALANE_TRY(const LaneTicket ticket, impl_->write(bytes, Impl::Leave::kNow, deadline));
  impl_->push_now();
  if (impl_->waiting_forbidden()) return success();
  return wait_sent(ticket, deadline);
}

Result<std::optional<LaneTicket>, Error> Lane::try_write(ByteSpan bytes) {
  return impl_->send(MessageType::kReadWrite, bytes, Impl::Leave::kLater, false, kNoDeadline);
}

Result<std::size_t, Error> Lane::read(MutableByteSpan out, SteadyTime deadline) {
  Impl& lane = *impl_;
  if (out.empty()) return std::size_t{0};
  std::size_t size = 0;
  bool resume = false;
  {
    Impl::Lock lock(lane.batch_mutex);
    SEALANE_TRY(lane.wait_for(
        lock, deadline, [&] { return lane.pipe_size != 0 || lane.state == LaneState::kClosed; }));
    size = std::min(out.size(), lane.pipe_size);
    if (size == 0) return std::size_t{0};
    const std::size_t first = std::min(size, lane.pipe.size() - lane.pipe_begin);
    copy_bytes(ByteSpan(lane.pipe).subspan(lane.pipe_begin, first), out.begin());
    copy_bytes(ByteSpan(lane.pipe).first(size - first),
               out.begin() + static_cast<std::ptrdiff_t>(first));
    lane.pipe_begin = (lane.pipe_begin + size) % lane.pipe.size();
    lane.pipe_size -= size;
    // Not at each byte: half of it free again is worth a turn.
    resume = lane.input_waits && lane.pipe_size <= lane.receive_limit / 2;
    if (resume) lane.input_waits = false;
    if (lane.pipe_size == 0 && lane.pipe.size() > 16 * kFirstPipe && !resume) {
      lane.pipe = Bytes();  // an idle lane keeps nothing large
      lane.pipe_begin = 0;
    }
  }
  if (resume) lane.post(&Impl::after_input);
  return size;
}

void Lane::renew_key() {
  {
    const Impl::Core hold(*impl_);
    impl_->core.renew_key(IoLoop::now());
  }
  impl_->post(&Impl::after_input);
}

void Lane::close() {
  impl_->host.loop.post([self = impl_] {
    {
      const Impl::Core hold(*self);
      if (!self->transport || self->close_by) return;
      self->close_wanted = true;
      self->close_by = IoLoop::now() + self->close_timeout;
      self->flush_timer->at(*self->close_by, [weak = self->weak_from_this()] {
        if (const auto lane = weak.lock()) lane->after_input();
      });
      const Impl::Lock lock(self->batch_mutex);
      self->open = false;
      self->wake();
    }
    self->after_input();
  });
}

void Lane::abort() {
  impl_->host.loop.post([self = impl_] {
    {
      const Impl::Core hold(*self);
      self->core.abort(IoLoop::now());
    }
    self->after_input();
  });
}

Result<void, Error> Lane::wait_closed(SteadyTime deadline) {
  Impl& lane = *impl_;
  Impl::Lock lock(lane.batch_mutex);
  return lane.wait_for(lock, deadline, [&] { return lane.state == LaneState::kClosed; });
}

std::string Lane::close_reason() const {
  const Impl::Lock lock(impl_->batch_mutex);
  return impl_->closed_why;
}

LaneStatistics Lane::statistics() const {
  const Impl::Core hold(*impl_);
  const session::Statistics core = impl_->core.statistics(IoLoop::now());
  LaneStatistics out;
  out.packets_sent = core.packets_sent;
  out.packets_received = core.packets_received;
  out.bytes_sent = core.bytes_sent;
  out.bytes_received = core.bytes_received;
  out.messages_sent = core.messages_sent;
  out.messages_received = core.messages_received;
  out.payload_bytes_sent = core.payload_bytes_sent;
  out.payload_bytes_received = core.payload_bytes_received;
  for (std::size_t i = 0; i < core.drops.size(); ++i) {
    if (core.drops[i] == 0) continue;
    out.packets_dropped += core.drops[i];
    out.drops.emplace_back(describe(session::DropReason{static_cast<std::uint8_t>(i)}),
                           core.drops[i]);
  }
  out.packets_replayed = core.dropped(session::DropReason::kReplayed);
  out.packets_undecryptable = core.dropped(session::DropReason::kUndecryptable);
  out.key_renewals = core.own_renewals;
  out.peer_restarts = core.restarts;
  out.black_holes = core.black_holes;
  out.round_trip = core.round_trip;
  out.key_age = core.own_key_age;
  return out;
}

std::optional<crypto::Ed25519Public> Lane::peer_identity() const {
  const Impl::Core hold(*impl_);
  return impl_->core.peer_identity();
}

bool Lane::peer_is_sealane() const {
  const Impl::Core hold(*impl_);
  return impl_->core.peer_is_sealane();
}

std::size_t Lane::payload_size() const {
  const Impl::Core hold(*impl_);
  return impl_->core.payload_size();
}

Address Lane::peer_address() const {
  const Impl::Core hold(*impl_);
  return impl_->peer_address;
}

Result<void, Error> Lane::export_key(std::string_view label, ByteSpan context,
                                     MutableByteSpan out) const {
  const Impl::Core hold(*impl_);
  if (!impl_->core.export_key(label, context, out).has_value()) {
    return Error{ErrorKind::kRefused,
                 "the peer's identity is not bound to this session, so no key is exported; both "
                 "ends must be Sealane"};
  }
  return success();
}

// ---- LaneHost -----------------------------------------------------------------------------------

LaneHost::LaneHost(Clock& clock, RandomSource& random)
    : impl_(std::make_unique<Impl>(clock, random)) {}
LaneHost::~LaneHost() = default;

namespace {

Result<void, NetworkError> wait_connected(int descriptor, SteadyTime deadline) {
  for (;;) {
    int timeout = -1;
    if (deadline != kNoDeadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - IoLoop::now());
      if (left.count() <= 0) return NetworkError{NetworkErrorCode::kTimedOut, "connect"};
      timeout = static_cast<int>(std::min<std::int64_t>(left.count(), 3'600'000));
    }
    pollfd waiting{descriptor, POLLOUT, 0};
    const int ready = ::poll(&waiting, 1, timeout);
    if (ready > 0) return connect_outcome(descriptor);
    if (ready < 0 && errno != EINTR) return network_error(errno, "poll");
  }
}

// A description of its own, so that making it non-blocking touches nobody else's; where that
// cannot be had (sockets), another descriptor of the same.
flow::OwnedDescriptor own_copy(int descriptor, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  flow::OwnedDescriptor opened(::open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC));
  if (opened.valid()) return opened;
  return flow::OwnedDescriptor(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
}

std::unique_ptr<Lane> started(LaneHost::Impl& host, const std::shared_ptr<Lane::Impl>& lane,
                              const LaneOptions& options,
                              std::unique_ptr<PacketTransport> transport) {
  auto out = std::make_unique<Lane>(lane);
  if (options.prepare) options.prepare(*out);
  host.loop.run([&] { lane->start(std::move(transport)); });
  return out;
}

std::unique_ptr<PacketTransport> make_transport(LaneHost::Impl& host, Lane::Impl& lane,
                                                const Endpoint& endpoint,
                                                flow::OwnedDescriptor connected) {
  if (endpoint.kind == SocketKind::kUdp || endpoint.kind == SocketKind::kSeqpacket) {
    return std::make_unique<DatagramTransport>(std::move(connected), endpoint, max_packet_of(lane),
                                               host.arena);
  }
  return std::make_unique<StreamTransport>(std::move(connected), flow::OwnedDescriptor(),
                                           format_endpoint(endpoint.kind, endpoint.address),
                                           lane.make_reframer());
}

// A connection under way, on the loop's thread; lives as long as something calls it back.
class Dialing : public std::enable_shared_from_this<Dialing> {
 public:
  Dialing(LaneHost::Impl& host, Endpoint endpoint, LaneOptions options, LaneHost::Dialed done)
      : host_(host), endpoint_(endpoint), options_(std::move(options)), done_(std::move(done)) {}

  void start(SteadyTime deadline) {
    auto connecting = start_connect(endpoint_);
    if (!connecting.has_value()) return fail(connecting.error());
    descriptor_ = std::move(connecting.value());
    watch_ = std::make_unique<IoLoop::Watch>(host_.loop, descriptor_.get());
    watch_->when_writable([self = shared_from_this()] { self->connected(); });
    if (deadline == kNoDeadline) return;
    timer_ = std::make_unique<IoLoop::Timer>(host_.loop);
    timer_->at(deadline, [self = shared_from_this()] {
      self->fail({NetworkErrorCode::kTimedOut, "connect"});
    });
  }

 private:
  void connected() {
    const auto outcome = connect_outcome(descriptor_.get());
    if (!outcome.has_value()) return fail(outcome.error());
    const LaneHost::Dialed done = finish();
    if (!done) return;
    auto lane = make_lane(host_, options_, endpoint_.kind == SocketKind::kUdp);
    if (!lane.has_value()) return done(lane.error());
    auto transport = make_transport(host_, *lane.value(), endpoint_, std::move(descriptor_));
    done(started(host_, lane.value(), options_, std::move(transport)));
  }
  void fail(const NetworkError& error) {
    if (const LaneHost::Dialed done = finish()) {
      done(to_error(error, format_endpoint(endpoint_.kind, endpoint_.address)));
    }
  }
  LaneHost::Dialed finish() {
    watch_.reset();
    timer_.reset();
    return std::exchange(done_, nullptr);
  }

  LaneHost::Impl& host_;
  Endpoint endpoint_;
  LaneOptions options_;
  LaneHost::Dialed done_;
  flow::OwnedDescriptor descriptor_;
  std::unique_ptr<IoLoop::Watch> watch_;
  std::unique_ptr<IoLoop::Timer> timer_;
};

}  // namespace

Result<std::unique_ptr<Lane>, Error> LaneHost::dial(const Address& to, const LaneOptions& options,
                                                    SteadyTime deadline) {
  SEALANE_TRY(const auto endpoints, resolve(to));
  SEALANE_TRY(auto lane, make_lane(*impl_, options, endpoints.front().kind == SocketKind::kUdp));
  std::optional<NetworkError> last;
  for (const Endpoint& endpoint : endpoints) {
    const bool others = &endpoint != &endpoints.back();
    const SteadyTime until = others ? std::min(deadline, IoLoop::now() + kOneAddress) : deadline;
    auto connected = start_connect(endpoint);
    NetworkResult<void> outcome = success();
    if (!connected.has_value()) {
      outcome = connected.error();
    } else {
      outcome = wait_connected(connected.value().get(), until);
    }
    if (outcome.has_value()) {
      auto transport = make_transport(*impl_, *lane, endpoint, std::move(connected.value()));
      return started(*impl_, lane, options, std::move(transport));
    }
    last = outcome.error();
  }
  return to_error(*last, to);
}

void LaneHost::when_dialed(const Address& to, const LaneOptions& options, Dialed done,
                           SteadyTime deadline) {
  impl_->loop.post([host = impl_.get(), to, options, done = std::move(done), deadline] {
    const auto endpoint = parse_endpoint(to);
    if (!endpoint) return done(no_address(to));
    const auto usable = make_lane(*host, options, endpoint->kind == SocketKind::kUdp);
    if (!usable.has_value()) return done(usable.error());
    std::make_shared<Dialing>(*host, *endpoint, options, done)->start(deadline);
  });
}

void LaneHost::post(std::function<void()> task) { impl_->loop.post(std::move(task)); }

Result<std::unique_ptr<LaneListener>, Error> LaneHost::listen(const Address& at,
                                                              const LaneOptions& options) {
  return make_listener(*impl_, at, options);
}

Result<std::unique_ptr<Lane>, Error> LaneHost::adopt(int read_descriptor, int write_descriptor,
                                                     const LaneOptions& options) {
  SEALANE_TRY(auto lane, make_lane(*impl_, options, false));
  const bool both = read_descriptor == write_descriptor;
  flow::OwnedDescriptor read = own_copy(read_descriptor, both ? O_RDWR : O_RDONLY);
  flow::OwnedDescriptor write;
  if (!both) write = own_copy(write_descriptor, O_WRONLY);
  if (!read.valid() || (!both && !write.valid())) {
    return Error{ErrorKind::kUsage, "the descriptors of the lane are not open"};
  }
  auto transport = std::make_unique<StreamTransport>(std::move(read), std::move(write),
                                                     Address{"-"}, lane->make_reframer());
  return started(*impl_, lane, options, std::move(transport));
}

}  // namespace sealane::net
