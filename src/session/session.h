#pragma once
// Session: one end of an encrypted session with one peer, without I/O, clock or threads.
// Format: docs/protocol/session.md; between two Sealane ends also docs/protocol/session-binding.md.
//
// Life: construct, start(), then like every datagram core: hand each datagram to receive(), drain
// next_event() and next_output(), wait for deadline(). Messages go in by send() and come out of
// next_message() or next_event(). close() flushes; then drain the output until state() is kClosed.
#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/core.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/crypto/curve.h"
#include "sealane/identity/keys.h"
#include "session/message_batch.h"
#include "session/messages.h"
#include "session/packet.h"

namespace sealane::session {

class PskKeys;

// The adapter's number of an address it heard datagrams from: one for a connected transport.
// Answers go where the question came from, the rest to where the newest authentic packet came from.
enum class PathId : std::uint32_t {};

// Numbers as in the protocol's description.
enum class SessionState : std::uint8_t {
  kNew = 0,
  kClosed = 1,       // final; nothing goes in or out any more
  kKeyExchange = 2,  // and, between Sealane ends, binding of the identities
  kNegotiation = 3,  // of the packet size
  kEstablished = 4,  // what was queued is sent
  kPaused = 5,       // the transport is the caller's
  kClosing = 6,      // flushing
};
std::string_view describe(SessionState state);

// What the peer's code is known to be. It decides which rules are mandatory.
enum class PeerKind : std::uint8_t {
  kAny = 0,  // whatever it announces; an announced binding is required
  kSealane,  // pinned: without announcement and binding nothing of it is delivered
  kLegacy,   // nothing is announced to it, no extension is used
};

// One number for all sessions of a process: CreatedAt always grows, also when the clock does not.
// Thread-safe.
class SessionIdSource {
 public:
  SessionId next(WallTime now, RandomSource& random);

 private:
  struct Last;
  static Last& last();
};

enum class Overflow : std::uint8_t {
  kWait =
      1,  // wants_input() turns false until messages are taken: for transports that lose nothing
  kDrop,  // newest data is dropped and counted; key exchange goes on whatever the application does
};

// Sizes are of bytes. Every default is the protocol's, and both sides must agree on answers_mode,
// psk, payload_size_limit and negotiate.
struct Options {
  using Duration = std::chrono::nanoseconds;

  AnswersMode answers_mode = AnswersMode::kAnswerAndWait;
  std::shared_ptr<const PskKeys> psk;  // may be null
  bool lossy = false;                  // datagrams may be lost or reordered (UDP)

  // Largest payload of one message in one packet; kMinPayloadSize .. kMaxPayloadSize. 0: 65216, or
  // 1392 if lossy. Receiving accepts exactly this much and no more.
  std::size_t payload_size_limit = 0;
  std::optional<bool> negotiate;                            // the packet size; unset: if lossy
  Duration negotiation_timeout = std::chrono::seconds(10);  // then the best size found is used
  // How long the peer may be silent about sizes after our own search ended. Unset: forever, as far
  // as negotiation_timeout goes.
  std::optional<Duration> negotiation_quiet = std::chrono::seconds(2);

  Duration key_update_interval = std::chrono::seconds(60);
  std::uint64_t key_update_bytes = std::uint64_t{64} << 30;  // sent under one own key
  Duration retry_interval = std::chrono::seconds(1);
  Duration key_exchange_timeout = std::chrono::seconds(60);
  Duration old_key_lifetime = std::chrono::seconds(5);  // after the peer has shown the new one

  Duration send_delay = std::chrono::microseconds(50);  // from the first message; 0: never merge
  std::size_t send_queue_limit = 512 * 1024;            // kWouldBlock above; see queued_bytes()
  std::size_t receive_queue_limit = 1024 * 1024;        // kept by keep_undelivered()
  std::optional<Overflow> overflow;                     // unset: kDrop if lossy, else kWait

  bool fragment = false;  // cut what is larger than a packet; receiving always reassembles
  std::size_t max_message_size = 65536;  // of a fragmented one; both ways
  bool accept_plain_fragments = false;   // of a legacy peer: anybody can forge them without a PSK

  std::int64_t replay_window = 0;  // see ReplayWindow: 0 is 256 packets, below 0 checks nothing
  std::uint32_t report_after_undecryptable = 3;  // in a row; 0: never
  std::uint32_t close_after_undecryptable = 0;   // in a row; 0: never
  std::uint64_t close_after_messages = 0;        // received; 0: never

  PeerKind peer_kind = PeerKind::kAny;
  // The peer's CreatedAt must be above it: the highest that was seen of this identity.
  std::uint64_t minimum_created_at = 0;
  std::optional<Duration> max_clock_difference;  // of the peer's CreatedAt to our clock at start()
  bool refuse_clock_difference = false;          // otherwise it is a Problem only
  // Signature checks a second for messages that do not bear the session id of the known peer, per
  // path; four times that in total. Messages of the known session have as much for themselves, and
  // so have the signatures that its proposals to bind ask us for.
  std::uint32_t verify_rate = 100;

  // Between Sealane ends: how often the peer is asked whether it is there. If `lossy`, sooner where
  // data went out and nothing came back for two retry intervals; and a peer that does not say so in
  // as long may have started again and not know us: it is sent key exchange requests until it
  // speaks.
  std::optional<Duration> keepalive = std::chrono::seconds(5);
  Duration close_timeout = std::chrono::seconds(5);  // for flushing

  static constexpr std::size_t kMinPayloadSize = 147;
  static constexpr std::size_t kMaxPayloadSize = 4 * 1024 * 1024;
};

// Who is who. `own` is shared by the sessions of a node.
struct Identities {
  std::shared_ptr<const identity::SigningKey> own;
  // Unset: whoever signs first is pinned for this session (PeerPinned), which takes
  // `trust_on_first_use`.
  std::optional<crypto::Ed25519Public> peer;
  bool trust_on_first_use = false;
};

enum class OptionsError : std::uint8_t {
  kNoIdentity = 1,
  kNoPeer,       // neither a peer's key nor trust on first use
  kPayloadSize,  // payload_size_limit out of range; for kSealane at least kMinBoundPayloadSize
  kDuration,     // an interval or time-out that is not above zero; send_delay below zero
  kLimit,        // a queue, window or message limit of 0, or smaller than one packet
};
std::string_view describe(OptionsError error);

// What happened that is no reason to close. Kinds that can repeat are reported at most once a
// second each; the counters count them all.
enum class ProblemKind : std::uint8_t {
  kUndecryptable = 1,  // packets that no key opens: another PSK, or an older session's
  kWrongIdentity,      // key exchange by another identity than the pinned one
  kBadSignature,       // key exchange whose signature is wrong
  kAnswersMode,        // the peer uses another answers mode
  kLowOrderKey,        // an exchange key that leaves no secret
  kOldSession,         // signed by the peer, but of an earlier session
  kClockDifference,    // CreatedAt is too far from our clock
  kPeerNotSealane,     // pinned as Sealane, but does not announce it
  kBindingRefused,     // the identity binding does not fit
  kKeyNotRenewed,      // the peer keeps its key for more than two intervals
  kMessageTooBig,      // a queued message no longer fits: dropped, and fragments are off
  kMessageUnsent,      // a message that was queued, or half sent, is lost
  kMessagesTruncated,  // an authentic packet whose messages are cut
  kFragmentDropped,    // a fragment that fits nowhere
  kSizeMessage,        // a negotiation message that makes no sense
  kTransport,          // the adapter said that a packet was lost locally
  kLargePacketsLost,  // the path stopped carrying packets of this size: a smaller one is looked for
};
std::string_view describe(ProblemKind kind);

enum class CloseReason : std::uint8_t {
  kRequested = 1,       // close() or abort() here
  kByPeer,              // an authentic close message
  kKeyExchangeTimeout,  // the peer did not answer; the last ProblemKind may tell why
  kUndecryptable,       // Options::close_after_undecryptable
  kMessageCount,        // Options::close_after_messages
  kNotSealane,          // time-out, and what came was not of a Sealane end
  kNotBound,            // time-out while the identities were not bound
};
std::string_view describe(CloseReason reason);

// `payload` is valid until the next call of next_message(), next_event(), receive() or
// keep_undelivered(), and not longer than the buffer given to receive_in_place().
struct Received {
  MessageType type = MessageType::kUndefined;
  ByteSpan payload;
};
struct StateChanged {
  SessionState state = SessionState::kNew;
};
struct PeerPinned {  // trust on first use
  crypto::Ed25519Public identity;
};
// The peer lives again under a new session id; what it had not read is lost.
struct PeerRestarted {
  SessionId session;
};
struct Problem {
  ProblemKind kind = ProblemKind::kUndecryptable;
  MessageType type = MessageType::kUndefined;  // the channel it concerns, if one
};
struct Closed {  // the last event
  CloseReason reason = CloseReason::kRequested;
  std::optional<ProblemKind> last_problem;  // before it was established
  std::uint64_t unsent_messages = 0;
};
using SessionEvent =
    std::variant<Received, StateChanged, PeerPinned, PeerRestarted, Problem, Closed>;

enum class DropReason : std::uint8_t {
  kTooShort = 0,    // less than a packet header
  kTooBig,          // above the packet size limit
  kUndecryptable,   // no key opens it, also not later
  kDamaged,         // the header opens, the rest does not
  kReplayed,        // seen before, or behind the window
  kNotKeyExchange,  // a message in a packet that anybody can make
  kTruncated,       // rest of a packet whose messages are cut
  kUnknownType,     // a type that means nothing here
  kKeyExchange,     // malformed
  kReflected,       // our own key exchange
  kWrongIdentity,
  kBadSignature,
  kAnswersMode,
  kOldSession,
  kOldKey,  // an exchange key that was replaced
  kLowOrderKey,
  kClockDifference,
  kNotSealane,   // pinned as Sealane, not announced, or the announcement changed
  kBinding,      // identity binding that does not fit
  kNotBound,     // a message before the binding
  kVerifyLimit,  // signature checks beyond Options::verify_rate
  kAnswerLimit,  // the same request again too soon
  kParkLimit,    // undecryptable, and no room to wait for its key
  kFragment,     // malformed, or its message is too large, too late or already whole
  kNegotiation,  // malformed, or a ping that must not be answered
  kQueueFull,    // Overflow::kDrop
  kNotOpen,      // state kNew, kPaused, kClosed
  kCount,
};
std::string_view describe(DropReason reason);

struct Statistics {
  std::uint64_t packets_sent = 0;
  std::uint64_t packets_received = 0;  // authentic ones
  std::uint64_t bytes_sent = 0;        // of packets
  std::uint64_t bytes_received = 0;
  std::uint64_t messages_sent = 0;  // the user's
  std::uint64_t messages_received = 0;
  std::uint64_t payload_bytes_sent = 0;
  std::uint64_t payload_bytes_received = 0;
  std::uint64_t own_renewals = 0;
  std::uint64_t peer_renewals = 0;
  std::uint64_t key_exchange_retries = 0;
  std::uint64_t signatures_checked = 0;
  std::uint64_t restarts = 0;  // of the peer
  std::uint64_t silences = 0;  // how often the peer did not say that it is there
  std::uint64_t parked = 0;    // packets that waited for a key
  std::uint64_t parked_opened = 0;
  std::uint64_t black_holes = 0;  // how often large packets vanished while small ones arrived
  std::uint64_t problems_unreported = 0;
  std::uint32_t undecryptable_in_row = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)> drops{};
  std::optional<std::chrono::nanoseconds> round_trip;    // smoothed
  std::optional<std::chrono::nanoseconds> own_key_age;   // of the key that we send under
  std::optional<std::chrono::nanoseconds> peer_key_age;  // since it arrived
  std::uint64_t dropped(DropReason reason) const { return drops[static_cast<std::size_t>(reason)]; }
};

enum class SendError : std::uint8_t {
  kNotOpen = 1,  // closing, closed or not started
  kWouldBlock,   // the queue is full; wait for output to drain
  kTooBig,       // above the payload size, and fragments are off; or above max_message_size
  kBadType,      // not a type of the user's
};
std::string_view describe(SendError error);

// Number of the packet that a message goes into; they are sent in this order.
enum class Ticket : std::uint64_t {};

enum class StateError : std::uint8_t { kWrongState = 1 };
enum class ExportError : std::uint8_t { kNotBound = 1 };

// Not thread-safe: one strand per session. `now` never goes back. Nothing is allocated per message
// or packet in the steady state; buffers are given back after a second without traffic.
class Session {
 public:
  using Source = PathId;
  using Event = SessionEvent;
  // Bytes that are kept of a peer that has not proven itself, in packets that wait for their key
  // and in such whose messages wait for the binding (of these one packet more). Whoever opens many
  // sessions and proves nothing must not fill the memory. Of a proven one it is
  // Parking::kMaxBytes and Options::receive_queue_limit.
  static constexpr std::size_t kMaxUnprovenParked = 64 * 1024;
  static constexpr std::size_t kMaxUnprovenQueue = 64 * 1024;

  // What is wrong with the options, if anything.
  static std::optional<OptionsError> check(const Identities& identities, const Options& options);
  // REQUIRES: !check(identities, options). `random` must outlive it.
  Session(Identities identities, Options options, RandomSource& random);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Begins the key exchange. `id`: of a SessionIdSource. kWrongState unless kNew.
  Result<void, StateError> start(SessionId id, SteadyTime now, WallTime wall,
                                 PathId path = PathId{0});

  // ---- in ----
  // Copies what it has to keep; the messages are valid until they are taken.
  void receive(PathId from, ByteSpan datagram, SteadyTime now);
  // The same without a copy: opens the packet in its buffer, and the messages lie there. Take all
  // events, or call keep_undelivered(), before the buffer is reused: wants_input() is false until
  // then.
  void receive_in_place(PathId from, MutableByteSpan datagram, SteadyTime now);
  void keep_undelivered();
  bool wants_input() const;
  // For a stream, which is cut into packets by their headers (Reframer): the size of the messages
  // behind a header that one of the keys opens. Changes nothing.
  std::optional<std::uint32_t> peek_length(std::span<const std::byte, kPacketHeaderSize> header);

  // ---- out ----
  // Valid until output_sent() or output_failed(); the same one until then. Sealed by this call.
  std::optional<std::pair<PathId, ByteSpan>> next_output();
  void output_sent();
  // kTooBig: the packet size shrinks to what the path carries, and the messages are sent again.
  void output_failed(OutputFailure failure);
  // The same news, late: a packet of `packet_size` bytes that was reported as sent was too big.
  void packet_too_big(std::size_t packet_size);

  // ---- events and time ----
  std::optional<SessionEvent> next_event();
  // Only the messages, faster; nothing: no message is there, but perhaps an event.
  std::optional<Received> next_message();
  // Only the messages, fastest: gives each to `sink`, until it returns false or none is there. It
  // may send, close and abort, but not take messages or events, nor give input.
  template <std::predicate<MessageType, ByteSpan> Sink>
  void take_messages(Sink&& sink) {
    using Target = std::remove_reference_t<Sink>;
    take_messages(
        [](void* target, MessageType type, ByteSpan payload) {
          return static_cast<bool>((*static_cast<Target*>(target))(type, payload));
        },
        std::addressof(sink));
  }
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);

  // ---- the user's messages ----
  // Appends it to the open packet: header and copy. Before kEstablished it is queued. An empty
  // payload is a message too. `now` may be that of the last call; it starts the send delay.
  Result<Ticket, SendError> send(MessageType type, ByteSpan payload, SteadyTime now);
  // A packet of messages that another thread has collected. Takes the content and leaves an empty
  // batch of the current size. REQUIRES: a batch of make_batch(); its messages of the user's types.
  Result<Ticket, SendError> send_batch(MessageBatch& batch, SteadyTime now);
  MessageBatch make_batch() const;
  // Closes the open packet: it leaves without waiting for the send delay.
  void flush();
  // All up to this one have left (or are lost, with a Problem).
  Ticket sent_ticket() const;
  std::size_t queued_bytes() const;

  // ---- life ----
  // Flushes, tells a Sealane peer, and ends; before it is established what was queued waits for
  // Options::close_timeout. A second call changes nothing.
  void close(SteadyTime now);
  void abort(SteadyTime now);                       // at once, without a word to the peer
  Result<void, StateError> pause(SteadyTime now);   // from kEstablished
  Result<void, StateError> resume(SteadyTime now);  // from kPaused
  void renew_key(SteadyTime now);                   // as if its time had come

  // ---- information ----
  SessionState state() const;
  SessionId id() const;
  std::optional<SessionId> peer_id() const;
  // Pinned: given, or taken on first use.
  std::optional<crypto::Ed25519Public> peer_identity() const;
  bool peer_is_sealane() const;  // announced under its signature
  bool bound() const;            // identities proven by session-binding
  bool proven() const;           // was once: it has a key of ours, and where due is bound
  std::size_t payload_size_limit() const;
  std::size_t payload_size() const;  // now: what fits in one packet
  std::size_t packet_size() const { return payload_size() + kPacketOverhead; }
  std::size_t packet_size_limit() const { return payload_size_limit() + kPacketOverhead; }
  Statistics statistics(SteadyTime now) const;
  // Key bytes that both ends, and nobody else, can compute for `label` and `context`: bound to both
  // identities, both session ids and the exchange. They stay the same for the life of the session,
  // until PeerRestarted. REQUIRES: out.size() <= 255 * 32, label and context below 64 KiB.
  Result<void, ExportError> export_key(std::string_view label, ByteSpan context,
                                       MutableByteSpan out) const;

  static constexpr std::size_t kPacketOverhead = kPacketHeaderSize + kMessageHeaderSize;

 private:
  struct Impl;
  using MessageSink = bool (*)(void* target, MessageType type, ByteSpan payload);
  void take_messages(MessageSink sink, void* target);
  std::unique_ptr<Impl> impl_;
};

static_assert(DatagramCore<Session>);

}  // namespace sealane::session
