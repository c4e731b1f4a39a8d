#include "session/session.h"

#include <atomic>

#include "base/byte_reader.h"
#include "base/check.h"
#include "session/session_impl.h"

namespace sealane::session {

struct SessionIdSource::Last {
  std::atomic<std::uint64_t> created_at{0};
};
SessionIdSource::Last& SessionIdSource::last() {
  static Last last;
  return last;
}

SessionId SessionIdSource::next(WallTime now, RandomSource& random) {
  const auto since = now.time_since_epoch().count();
  std::uint64_t wanted = since > 0 ? static_cast<std::uint64_t>(since) : 1;
  std::atomic<std::uint64_t>& seen = last().created_at;
  std::uint64_t before = seen.load();
  do {
    wanted = std::max(wanted, before + 1);
  } while (!seen.compare_exchange_weak(before, wanted));
  ByteArray<8> bytes;
  random.fill(bytes);
  return {wanted, load<std::uint64_t>(bytes)};
}

// ---- words --------------------------------------------------------------------------------------

std::string_view describe(SessionState state) {
  switch (state) {
    case SessionState::kNew:
      return "new";
    case SessionState::kClosed:
      return "closed";
    case SessionState::kKeyExchange:
      return "exchanging keys";
    case SessionState::kNegotiation:
      return "looking for the packet size";
    case SessionState::kEstablished:
      return "established";
    case SessionState::kPaused:
      return "paused";
    case SessionState::kClosing:
      return "closing";
  }
  return "unknown";
}

std::string_view describe(OptionsError error) {
  switch (error) {
    case OptionsError::kNoIdentity:
      return "the session needs an identity of its own";
    case OptionsError::kNoPeer:
      return "the session needs the peer's public key, unless it is to trust the first one it sees";
    case OptionsError::kPayloadSize:
      return "the payload size limit is out of range: 147 bytes to 4 MiB, and at least 358 for a "
             "peer pinned as Sealane";
    case OptionsError::kDuration:
      return "an interval or time-out must be above zero";
    case OptionsError::kLimit:
      return "a queue, window or message limit is zero, too large, or smaller than one packet";
  }
  return "unknown";
}

std::string_view describe(ProblemKind kind) {
  switch (kind) {
    case ProblemKind::kUndecryptable:
      return "packets arrive that no key opens: check that both ends have the same pre-shared key";
    case ProblemKind::kWrongIdentity:
      return "another identity than the pinned one answers";
    case ProblemKind::kBadSignature:
      return "a key exchange message has a wrong signature";
    case ProblemKind::kAnswersMode:
      return "the peer uses another answers mode: set the same on both ends";
    case ProblemKind::kLowOrderKey:
      return "the peer sent an exchange key that leaves no secret";
    case ProblemKind::kOldSession:
      return "a message of an earlier session of the peer was refused";
    case ProblemKind::kClockDifference:
      return "the peer's clock differs from ours by more than is allowed";
    case ProblemKind::kPeerNotSealane:
      return "the peer is pinned as Sealane, but what came does not announce it";
    case ProblemKind::kBindingRefused:
      return "the proof that binds both identities to the session does not fit";
    case ProblemKind::kKeyNotRenewed:
      return "the peer has not renewed its key for two intervals";
    case ProblemKind::kMessageTooBig:
      return "a message is larger than a packet may be, and could not be cut: it is lost";
    case ProblemKind::kMessageUnsent:
      return "a message could not be handed to the transport: it is lost";
    case ProblemKind::kMessagesTruncated:
      return "the peer sent a packet whose messages are cut";
    case ProblemKind::kFragmentDropped:
      return "a piece of a large message does not fit";
    case ProblemKind::kSizeMessage:
      return "a message about packet sizes makes no sense";
    case ProblemKind::kTransport:
      return "the transport refused a packet";
    case ProblemKind::kLargePacketsLost:
      return "large packets no longer arrive, small ones do: a smaller packet size is looked for";
  }
  return "unknown";
}

std::string_view describe(CloseReason reason) {
  switch (reason) {
    case CloseReason::kRequested:
      return "closed here";
    case CloseReason::kByPeer:
      return "closed by the peer";
    case CloseReason::kKeyExchangeTimeout:
      return "the peer did not complete the key exchange in time";
    case CloseReason::kUndecryptable:
      return "too many packets in a row could not be opened";
    case CloseReason::kMessageCount:
      return "the agreed number of messages has come";
    case CloseReason::kNotSealane:
      return "the peer is pinned as Sealane, but nobody there announced it";
    case CloseReason::kNotBound:
      return "the peer did not prove in time that its identity belongs to this session";
  }
  return "unknown";
}

std::string_view describe(SendError error) {
  switch (error) {
    case SendError::kNotOpen:
      return "the session is not open";
    case SendError::kWouldBlock:
      return "the queue is full";
    case SendError::kTooBig:
      return "the message is larger than the limit";
    case SendError::kBadType:
      return "not a channel";
  }
  return "unknown";
}

std::string_view describe(DropReason reason) {
  static constexpr std::array<std::string_view, static_cast<std::size_t>(DropReason::kCount)>
      kNames = {"too_short",        "too_big",       "undecryptable", "damaged",      "replayed",
                "not_key_exchange", "truncated",     "unknown_type",  "key_exchange", "reflected",
                "wrong_identity",   "bad_signature", "answers_mode",  "old_session",  "old_key",
                "low_order_key",    "clock",         "not_sealane",   "binding",      "not_bound",
                "verify_limit",     "answer_limit",  "park_limit",    "fragment",     "negotiation",
                "queue_full",       "not_open"};
  const auto index = static_cast<std::size_t>(reason);
  return index < kNames.size() ? kNames[index] : "unknown";
}

// ---- the session --------------------------------------------------------------------------------

std::optional<OptionsError> Session::check(const Identities& identities, const Options& options) {
  using Duration = Options::Duration;
  if (!identities.own) return OptionsError::kNoIdentity;
  if (!identities.peer && !identities.trust_on_first_use) return OptionsError::kNoPeer;
  const std::size_t size = options.payload_size_limit;
  const std::size_t least =
      options.peer_kind == PeerKind::kSealane ? kMinBoundPayloadSize : Options::kMinPayloadSize;
  if (size != 0 && (size < least || size > Options::kMaxPayloadSize)) {
    return OptionsError::kPayloadSize;
  }
  for (const Duration duration :
       {options.negotiation_timeout, options.key_update_interval, options.retry_interval,
        options.key_exchange_timeout, options.old_key_lifetime, options.close_timeout,
        options.keepalive.value_or(Duration(1)), options.negotiation_quiet.value_or(Duration(1)),
        options.max_clock_difference.value_or(Duration(1)), options.send_delay + Duration(1)}) {
    // So that sums of a few of them do not overflow.
    if (duration <= Duration(0) || duration > std::chrono::hours(24 * 365)) {
      return OptionsError::kDuration;
    }
  }
  if (options.send_queue_limit == 0 || options.receive_queue_limit == 0 ||
      options.max_message_size == 0 || options.max_message_size > kMaxPacketSize / 2 ||
      options.verify_rate == 0 || options.replay_window > ReplayWindow::kMaxSize ||
      options.key_update_bytes == 0) {
    return OptionsError::kLimit;
  }
  return std::nullopt;
}

Session::Session(Identities identities, Options options, RandomSource& random) {
  SEALANE_CHECK(!check(identities, options));
  impl_ = std::make_unique<Impl>(std::move(identities), std::move(options), random);
}
Session::~Session() = default;

Result<void, StateError> Session::start(SessionId id, SteadyTime now, WallTime wall, PathId path) {
  if (impl_->state != SessionState::kNew) return StateError::kWrongState;
  impl_->start(id, now, wall, path);
  return success();
}

void Session::receive(PathId from, ByteSpan datagram, SteadyTime now) {
  Impl& impl = *impl_;
  impl.now = std::max(impl.now, now);
  if (datagram.size() > impl.payload_limit + kPacketOverhead) {
    return impl.drop(impl.open_for_input() ? DropReason::kTooBig : DropReason::kNotOpen);
  }
  impl.keep_lent();
  impl.copy.assign(datagram.begin(), datagram.end());
  impl.lent_by_caller = false;
  impl.receive(from, impl.copy);
}

void Session::receive_in_place(PathId from, MutableByteSpan datagram, SteadyTime now) {
  Impl& impl = *impl_;
  impl.now = std::max(impl.now, now);
  // What is lent lies in a buffer that may be this one.
  SEALANE_CHECK(!impl.inbox.lent() || !impl.lent_in_place);
  impl.keep_lent();
  impl.lent_by_caller = true;
  impl.receive(from, datagram);
}

void Session::keep_undelivered() { impl_->keep_lent(); }

bool Session::wants_input() const {
  const Impl& impl = *impl_;
  if (!impl.open_for_input()) return false;
  if (impl.inbox.lent() && impl.lent_in_place) return false;
  return impl.options.overflow == Overflow::kDrop || !impl.inbox_full();
}

std::optional<std::uint32_t> Session::peek_length(
    std::span<const std::byte, kPacketHeaderSize> header) {
  Impl& impl = *impl_;
  for (auto& epoch : impl.epochs) {
    const auto length = epoch->peek_length(header, impl.mask());
    if (length) return length;
  }
  const auto opened = impl.non_session.peek_header(impl.mask(), header);
  if (!opened.has_value()) return std::nullopt;
  return opened.value().length();
}

std::optional<std::pair<PathId, ByteSpan>> Session::next_output() { return impl_->next_output(); }
void Session::output_sent() { impl_->output_sent(); }
void Session::output_failed(OutputFailure failure) { impl_->output_failed(failure); }
void Session::packet_too_big(std::size_t packet_size) { impl_->packet_too_big(packet_size); }

std::optional<SessionEvent> Session::next_event() {
  Impl& impl = *impl_;
  impl.unseen_events = false;
  if (!impl.events.empty()) return impl.events.pop_front();
  if (const auto message = impl.next_message()) return SessionEvent(*message);
  if (!impl.events.empty()) return impl.events.pop_front();
  if (!impl.closed) return std::nullopt;
  const SessionEvent last = *impl.closed;
  impl.closed.reset();
  return last;
}

std::optional<Received> Session::next_message() { return impl_->next_message(); }
void Session::take_messages(MessageSink sink, void* target) { impl_->take_messages(sink, target); }
std::optional<SteadyTime> Session::deadline() const { return impl_->deadline(); }
void Session::on_deadline(SteadyTime now) { impl_->on_deadline(now); }

// ---- sending ------------------------------------------------------------------------------------

Result<Ticket, SendError> Session::send(MessageType type, ByteSpan payload, SteadyTime now) {
  Impl& impl = *impl_;
  impl.outbox.ensure_open();
  if (type != MessageType::kReadWrite && !channel_of(type)) return SendError::kBadType;
  if (impl.state == SessionState::kNew || impl.state == SessionState::kClosing ||
      impl.state == SessionState::kClosed) {
    return SendError::kNotOpen;
  }
  const bool first = impl.outbox.open_empty();
  if (payload.size() > impl.payload_size || !impl.outbox.append(type, payload)) {
    if (payload.size() > impl.payload_size) {
      if (!impl.options.fragment || payload.size() > impl.options.max_message_size) {
        return SendError::kTooBig;
      }
      if (!impl.outbox.has_room(payload.size())) return SendError::kWouldBlock;
      impl.open_until.reset();
      return Ticket{impl.outbox.add_oversized(type, payload)};
    }
    if (!impl.outbox.has_room(impl.payload_size + kPacketOverhead)) return SendError::kWouldBlock;
    impl.outbox.close_open();
    impl.outbox.ensure_open();
    SEALANE_CHECK(impl.outbox.append(type, payload));
    impl.open_until = now + impl.options.send_delay;
  } else if (first) {
    impl.open_until = now + impl.options.send_delay;
  }
  const Ticket ticket{impl.outbox.open_ticket()};
  if (impl.options.send_delay == Options::Duration(0)) {
    // The direct path: nothing waits for company.
    impl.outbox.close_open();
    impl.open_until.reset();
  }
  return ticket;
}

Result<Ticket, SendError> Session::send_batch(MessageBatch& batch, SteadyTime now) {
  Impl& impl = *impl_;
  impl.now = std::max(impl.now, now);
  if (impl.state == SessionState::kNew || impl.state == SessionState::kClosing ||
      impl.state == SessionState::kClosed) {
    return SendError::kNotOpen;
  }
  if (!impl.outbox.has_room(batch.packet_size())) return SendError::kWouldBlock;
  impl.open_until.reset();
  return Ticket{impl.outbox.add_batch(batch)};
}

MessageBatch Session::make_batch() const {
  MessageBatch batch = impl_->outbox.new_batch();
  batch.reset(packet_size());
  return batch;
}

void Session::flush() {
  impl_->open_until.reset();
  impl_->outbox.close_open();
}

Ticket Session::sent_ticket() const { return Ticket{impl_->sent_ticket}; }
std::size_t Session::queued_bytes() const { return impl_->outbox.queued_bytes(); }

// ---- life ---------------------------------------------------------------------------------------

void Session::close(SteadyTime now) {
  Impl& impl = *impl_;
  impl.now = std::max(impl.now, now);
  if (impl.state == SessionState::kClosing || impl.state == SessionState::kClosed) return;
  flush();
  if (impl.state == SessionState::kNew || (!impl.was_established && impl.outbox.empty())) {
    return impl.finish(CloseReason::kRequested);
  }
  impl.begin_close();
}

void Session::abort(SteadyTime now) {
  impl_->now = std::max(impl_->now, now);
  impl_->finish(CloseReason::kRequested);
}

Result<void, StateError> Session::pause(SteadyTime now) {
  impl_->now = std::max(impl_->now, now);
  if (impl_->state != SessionState::kEstablished) return StateError::kWrongState;
  impl_->set_state(SessionState::kPaused);
  return success();
}

Result<void, StateError> Session::resume(SteadyTime now) {
  if (impl_->state != SessionState::kPaused) return StateError::kWrongState;
  impl_->set_state(SessionState::kEstablished);
  impl_->resumed(now);
  return success();
}

void Session::renew_key(SteadyTime now) {
  impl_->now = std::max(impl_->now, now);
  if (impl_->open_for_input() && impl_->state != SessionState::kClosing) impl_->begin_renewal();
}

// ---- information --------------------------------------------------------------------------------

SessionState Session::state() const { return impl_->state; }
SessionId Session::id() const { return impl_->own_id; }
std::optional<SessionId> Session::peer_id() const {
  if (impl_->current() == nullptr) return std::nullopt;
  return impl_->current()->id();
}
std::optional<crypto::Ed25519Public> Session::peer_identity() const { return impl_->peer_identity; }
bool Session::peer_is_sealane() const {
  return impl_->current() != nullptr && impl_->current()->sealane;
}
bool Session::bound() const { return impl_->current() != nullptr && impl_->current()->bound(); }
bool Session::proven() const { return impl_->was_ready; }
std::size_t Session::payload_size_limit() const { return impl_->payload_limit; }
std::size_t Session::payload_size() const { return impl_->payload_size; }

Statistics Session::statistics(SteadyTime now) const {
  const Impl& impl = *impl_;
  Statistics result = impl.statistics;
  if (!result.round_trip && impl.search) result.round_trip = impl.search->round_trip();
  const Epoch* epoch = impl.current();
  if (epoch != nullptr && impl.own) {
    if (epoch->newest() != nullptr) result.peer_key_age = now - epoch->newest()->received;
    if (const OwnKey* key = epoch->proven ? impl.own->find(*epoch->proven) : nullptr) {
      result.own_key_age = now - key->created;
    }
  }
  return result;
}

Result<void, ExportError> Session::export_key(std::string_view label, ByteSpan context,
                                              MutableByteSpan out) const {
  if (!bound()) return ExportError::kNotBound;
  export_bytes(*impl_->current()->exporter, label, context, out);
  return success();
}

}  // namespace sealane::session
