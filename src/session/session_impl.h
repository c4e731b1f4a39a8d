#pragma once
// The parts of a Session; see session.h for what it promises. The .cc files: session.cc the public
// face, session_receive.cc what comes in, session_send.cc what goes out, session_time.cc states and
// timers.
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "base/token_bucket.h"
#include "session/binding.h"
#include "session/epoch.h"
#include "session/fragments.h"
#include "session/inbox.h"
#include "session/key_schedule.h"
#include "session/outbox.h"
#include "session/own_keys.h"
#include "session/parking.h"
#include "session/session.h"
#include "session/size_search.h"
#include "session/size_watch.h"

namespace sealane::session {

enum class LivenessKind : std::uint8_t { kRequest = 1, kReply, kConfirmation };

struct Session::Impl final : Outbox::Cutter {
  static constexpr std::size_t kMaxEpochs = 4;      // the current one and candidates
  static constexpr std::size_t kMaxAnswersDue = 8;  // beyond that the peer asks again
  static constexpr std::size_t kMaxPongsDue = 12;   // one round of a legacy peer's questions,
  static constexpr std::size_t kMaxPongBytes = 1024 * 1024;  // and of how much; one always goes
  static constexpr std::size_t kMaxSources = 64;    // whose signature checks are counted apart
  static constexpr std::size_t kMaxEvents = 256;    // problems beyond it are only counted, and
                                                    // of the others the oldest are given up
  static constexpr std::size_t kSpentRivals = 8;    // candidates that came to nothing
  static constexpr std::uint32_t kFreeAnswers = 3;  // to one key before they are spaced
  static constexpr std::chrono::nanoseconds kProblemSpacing = std::chrono::seconds(1);
  static constexpr std::chrono::nanoseconds kIdleTime = std::chrono::seconds(1);

  enum class OutputKind : std::uint8_t { kKeyExchange = 1, kControl, kPing, kData };
  struct Output {
    bool active = false;
    PathId to{};
    MutableByteSpan packet;
    OutputKind kind = OutputKind::kControl;
    // Of data: what it is sealed under.
    SessionId epoch;
    Generation own{};
    crypto::X25519Public peer{};
    Outbox::Packet data;
  };
  struct AnswerDue {
    SessionId epoch;
    PathId to{};
  };
  struct SourceLimit {
    PathId path{};
    TokenBucket bucket;
    SteadyTime used{};
  };

  Impl(Identities who, Options how, RandomSource& randomness);

  // ---- session_time.cc ----
  void start(const SessionId& id, SteadyTime at, WallTime wall, PathId from);
  void set_state(SessionState next);
  void progress();  // to the next state, if what it waits for is there
  void establish();
  void follow_search();  // kEstablished: the size in use is the one that is known
  void settle_watch();
  void begin_renewal();
  bool own_key_pending() const;
  void request_now();
  void own_key_proven(Epoch& epoch, Generation own);
  void newest_key_proven();
  void new_rival(Epoch& rival, PathId from);
  void settle_rivals();
  void promote(std::size_t index);
  void drop_rival(std::size_t index);
  void begin_close();
  void resumed(SteadyTime at);
  void heard();  // of the current epoch, under its keys
  void forget_liveness();
  void finish(CloseReason reason);
  void add_event(const SessionEvent& event) {
    // Nobody takes them, and a peer may start again as often as it likes. What they said can be
    // asked for: state(), peer_identity(), statistics().
    if (events.size() >= kMaxEvents) events.pop_front();
    events.push_back(event);
    unseen_events = true;
  }
  void report(ProblemKind kind, MessageType type = MessageType::kUndefined);
  void drop(DropReason reason, std::uint64_t count = 1) {
    statistics.drops[static_cast<std::size_t>(reason)] += count;
  }
  void release_idle();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime at);
  CloseReason timeout_reason() const;

  // ---- session_receive.cc ----
  // `lent`: of the caller's buffer, which must not be relied on for long.
  void receive(PathId from, MutableByteSpan datagram);
  bool open_session_packet(PathId from, MutableByteSpan datagram, bool keep);
  void handle_opened(Epoch& epoch, const Epoch::Opened& opened, PathId from, bool keep);
  void handle_plain_messages(PathId from, PacketId id, ByteSpan messages);
  void handle_key_exchange(PathId from, PacketId id, ByteSpan payload);
  // False: counted and dropped.
  bool accept_unknown(PathId from, PacketId id, const UnverifiedKeyExchange& message,
                      const Epoch* epoch);
  bool take_verify_token(PathId from, bool known_session);
  void handle_answer(Epoch& epoch, PacketId id);
  void queue_answer(Epoch& epoch, PathId to);
  // A message that is not the user's, or a fragment. An assembled message of the user's comes back.
  std::optional<Message> handle_internal(const SessionId& from, const Message& message);
  void handle_negotiation(Epoch& epoch, ByteSpan payload);
  void handle_binding(Epoch& epoch, ByteSpan payload);
  void handle_liveness(Epoch& epoch, ByteSpan payload);
  void keep_lent();
  void note_round_trip(std::chrono::nanoseconds trip);
  void undecryptable(PathId from, ByteSpan datagram);
  void retry_parked();
  std::optional<Received> next_message();
  void take_messages(MessageSink sink, void* target);
  void count_message(std::size_t payload_bytes);

  // ---- session_send.cc ----
  std::optional<std::pair<PathId, ByteSpan>> next_output();
  void output_sent();
  void output_failed(OutputFailure failure);
  void packet_too_big(std::size_t size);
  void search_below(std::size_t payload);
  bool choose_output();
  bool choose_key_exchange();
  bool choose_extension(Epoch& epoch);
  bool choose_negotiation();
  bool choose_data();
  void seal_key_exchange(PathId to, ByteSpan body);
  void seal_control(Epoch& epoch, Generation own, MessageType type, ByteSpan payload,
                    OutputKind kind = OutputKind::kControl);
  PacketId take_packet_id() { return PacketId{next_packet_id++}; }
  bool can_send() const;  // session packets to the current epoch
  std::optional<Generation> sending_generation(const Epoch& epoch) const;
  bool is_proposer(const Epoch& epoch) const;
  Binding make_binding(const Epoch& epoch, BindingRole role) const;
  std::optional<std::uint64_t> next_chain(std::uint64_t total) override;
  void on_unsendable(MessageType type) override;

  // ---- questions ----
  Epoch* current() { return epochs.empty() ? nullptr : epochs.front().get(); }
  const Epoch* current() const { return epochs.empty() ? nullptr : epochs.front().get(); }
  Epoch* find_epoch(const SessionId& session);
  bool must_bind(const Epoch& epoch) const {
    return options.peer_kind == PeerKind::kSealane || epoch.sealane;
  }
  // Nothing of it is delivered before its identity is bound.
  bool must_wait(const SessionId& from) const {
    const Epoch* epoch = current();
    return epoch != nullptr && epoch->id() == from && must_bind(*epoch) && !epoch->bound();
  }
  bool ready(const Epoch& epoch) const {
    return epoch.proven && (!must_bind(epoch) || epoch.bound());
  }
  const PskKeys* psk() const { return options.psk.get(); }
  PacketIdMask mask() const { return packet_id_mask; }
  std::size_t parking_limit() const { return was_ready ? Parking::kMaxBytes : kMaxUnprovenParked; }
  bool inbox_full() const {
    return inbox.kept_bytes() >=
           std::min(options.receive_queue_limit, was_ready ? SIZE_MAX : kMaxUnprovenQueue);
  }
  bool open_for_input() const {
    return state != SessionState::kNew && state != SessionState::kClosed &&
           state != SessionState::kPaused;
  }

  Identities identities;
  Options options;
  RandomSource& random;
  bool announce;
  std::size_t payload_limit;
  std::size_t payload_size;
  PacketIdMask packet_id_mask{};
  PacketKey non_session;

  SessionState state = SessionState::kNew;
  bool was_established = false;  // and what is queued may go out while closing
  bool was_ready = false;        // the peer has proven itself once
  SteadyTime now{};
  SteadyTime started{};
  WallTime started_wall{};
  SessionId own_id;
  std::uint64_t next_packet_id = 1;
  PathId path{};
  std::optional<crypto::Ed25519Public> peer_identity;

  std::optional<OwnKeys> own;
  std::vector<std::unique_ptr<Epoch>> epochs;  // the first is current
  std::optional<SteadyTime> hold_until;  // no session packets to a legacy peer: a rival is there
  std::array<SessionId, kSpentRivals> spent_rivals{};
  std::size_t spent_rival_count = 0;

  // Our requests.
  bool request_due = false;
  std::optional<PathId> request_also_to;
  std::uint32_t requests_of_newest = 0;  // sent, not yet answered
  std::uint32_t requests_of_older = 0;   // the same, of keys before
  std::uint32_t copies_of_newest = 0;    // sent at all
  SteadyTime last_older_request{};
  SteadyTime next_request{};
  std::optional<SteadyTime> pending_since;  // an own key that is not proven
  std::optional<SteadyTime> unbound_since;
  SteadyTime next_renewal{};
  bool renewal_due = false;
  std::uint64_t bytes_under_key = 0;
  std::optional<SteadyTime> wipe_own_at;

  std::vector<AnswerDue> answers_due;
  std::vector<SourceLimit> sources;
  std::optional<TokenBucket> stranger_total;
  std::optional<TokenBucket> known_total;

  Parking parking;
  Inbox inbox;
  bool lent_by_caller = false;  // the datagram at hand lies in the caller's buffer
  bool lent_in_place = false;   // so does what the inbox holds of one
  bool keep_now = false;        // the datagram at hand goes away at once
  bool new_key = false;         // worth another look at what is parked
  Bytes copy;                   // of a datagram given to receive()
  Bytes scratch_message;
  SteadyTime last_traffic{};
  bool delivery_blocked = false;  // the current epoch must be bound first
  Reassembler reassembler;
  Bytes assembled;

  Outbox outbox;
  std::optional<SteadyTime> open_until;  // the send delay of the open packet
  std::uint64_t sent_ticket = 0;
  ChainPlanner chains;
  Output output;
  Bytes scratch;  // for packets that are not data

  std::optional<SizeSearch> search;
  std::optional<SizeWatch> watch;  // where the path may shrink and sizes are negotiated
  bool looking_above = false;      // in kEstablished, without holding anything up
  std::vector<Bytes> pongs_due;
  std::size_t pong_bytes_due = 0;

  std::optional<SteadyTime> next_keepalive;
  std::uint64_t keepalive_token = 0;
  std::optional<SteadyTime> keepalive_sent;
  std::optional<SteadyTime> probe_at;    // data went out and nothing came back: ask before its time
  std::optional<SteadyTime> silence_at;  // a question was sent and nothing has come since
  bool silent = false;                   // the peer is asked by key exchange
  std::optional<std::uint64_t> liveness_reply;

  std::optional<SteadyTime> close_until;
  int close_messages_left = 0;

  RingQueue<SessionEvent> events;
  bool unseen_events = false;  // came up since the last call of next_event() or on_deadline()
  std::optional<Closed> closed;
  std::optional<ProblemKind> last_problem;
  std::array<std::optional<SteadyTime>, 32> problem_reported{};
  std::optional<SteadyTime> idle_at;
  Statistics statistics;
};

}  // namespace sealane::session
