#pragma once
// Mailbox: who is known, who is there, what waits for whom. The rules of a message service, without
// I/O, clock or wire format: gateways hand in logins, messages and acknowledgements and fetch what
// each session is to be told; a store hands back what is durable.
//
// Promises
//  * A message of a sender who numbers its messages is accepted (Receipt) only when it is in the
//    queue: with OfflinePolicy::kDurable, when the store said so. It is given to its recipient
//    until that one acknowledges it, in the order in which it was accepted, and once per session.
//  * A recipient who remembers the highest MessageId it took, and a sender who hands in again what
//    was not accepted, together have each message exactly once, also over a crash of the mailbox.
//  * A message without a number goes to a recipient who is online from memory, at most once where
//    that one does not acknowledge.
//  * Nobody waits for anybody: a recipient who does not fetch fills its own queue, and what does
//    not fit is refused to the sender.
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/token_bucket.h"
#include "mailbox/ref_window.h"
#include "mailbox/types.h"
#include "sealane/base/result.h"

namespace sealane::mailbox {

enum class OfflinePolicy : std::uint8_t {
  kRefuse = 1,  // nothing is kept for who is away
  kMemory,      // kept, and lost when the mailbox ends
  kDurable,     // kept by the store
};
enum class DuplicatePolicy : std::uint8_t { kTakeover = 1, kRefuse };

// Units per second; a rate of 0 is no limit.
struct RateLimit {
  std::uint64_t per_second = 0;
  std::uint64_t burst = 0;
};

struct Options {
  // Longer ones mean nothing, and would overflow a time.
  static constexpr std::chrono::seconds kMaxLifetime = std::chrono::hours(24 * 365);
  OfflinePolicy offline = OfflinePolicy::kMemory;
  DuplicatePolicy duplicate = DuplicatePolicy::kTakeover;
  std::size_t max_clients = 100'000;                       // bounds memory per known client
  std::size_t max_message_size = 1 << 20;                  // bounds one queue entry
  std::size_t client_queue_messages = 20'000;              // one recipient must not take all memory
  std::size_t client_queue_bytes = 32 << 20;               // likewise
  std::size_t total_queue_bytes = std::size_t{256} << 20;  // of all queues together
  std::size_t in_flight_messages = 256;   // given to a session and not acknowledged: what one
  std::size_t in_flight_bytes = 1 << 20;  // connection buffers
  std::chrono::seconds lifetime = std::chrono::hours(24 * 7);  // then a message expires
  RateLimit messages = {};                                     // of each sender
  RateLimit bytes = {};                                        // likewise
};
enum class OptionsError : std::uint8_t { kLimit = 1, kLifetime, kRate };

struct ClientPolicy {
  bool send_to_anyone = true;
  std::set<ClientId> send_to = {};  // clients and groups; where not to anyone
  bool sees_presence = true;
};
struct GroupPolicy {
  std::set<ClientId> members = {};  // the sender gets no copy
  bool members_only = true;         // who may send there
};

// What a session's wire carries.
struct Capabilities {
  bool acknowledges = false;        // acknowledge() tells what the client has; else handed_over()
  bool notices = false;             // receipts, errors and presence
  std::size_t max_size = SIZE_MAX;  // of the data of one message
};

enum class ConnectError : std::uint8_t { kUnknown = 1, kDuplicate };

// For the store, as one transaction, in this order.
struct StoreBatch {
  std::uint64_t number = 0;
  std::vector<ClientId> forgotten =
      {};  // their windows; removals of their messages are in `removed`
  std::vector<Message> added = {};
  std::vector<MessageId> removed = {};  // some may never have been added
  std::vector<std::pair<ClientId, RefWindow>> windows = {};
};
// What a store holds after a start.
struct StoredState {
  std::vector<Message> messages = {};  // ascending ids
  std::vector<std::pair<ClientId, RefWindow>> windows;
};

struct SessionReady {  // next_item() has something, or may again
  SessionId session{};
};
struct SessionEnded {  // by the mailbox; the gateway closes the connection
  SessionId session{};
  ClientId client;
  EndReason reason = EndReason::kReplaced;
};
struct Audit {  // never holds data of a message
  AuditKind kind = AuditKind::kOnline;
  ClientId client = {};                    // whom it concerns; of a message: its sender
  std::optional<ClientId> recipient = {};  // of a message
  std::optional<MessageId> message = {};
  std::optional<Refusal> refusal = {};
};
using Event = std::variant<SessionReady, SessionEnded, Audit>;

struct Counters {
  std::uint64_t submitted = 0;
  std::uint64_t accepted = 0;     // into a queue; copies of a group count
  std::uint64_t delivered = 0;    // acknowledged or handed over
  std::uint64_t given_again = 0;  // to a later session
  std::uint64_t duplicates = 0;   // numbers that had been taken
  std::uint64_t expired = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t slowed = 0;  // submissions that had to wait for a rate
  std::uint64_t store_failures = 0;
  std::uint64_t audits_lost = 0;           // nobody took them in time
  std::array<std::uint64_t, 9> refused{};  // by Refusal
};
struct Totals {
  std::size_t clients = 0;
  std::size_t groups = 0;
  std::size_t online = 0;
  std::size_t queued_messages = 0;
  std::size_t queued_bytes = 0;
};
struct ClientStatus {
  ClientId client;
  bool online = false;
  WallTime since;
  std::size_t queued_messages = 0;
  std::size_t queued_bytes = 0;
  std::uint64_t sent = 0;      // messages that it handed in and that were taken
  std::uint64_t received = 0;  // messages that reached it
  std::uint64_t refused = 0;   // of what it handed in
};

struct Submission {
  ClientId to;
  std::optional<SenderRef> ref = {};       // asks for receipts
  std::shared_ptr<const Bytes> data = {};  // not null
};
struct Submitted {
  std::optional<Refusal> refusal;         // told to the session too, if its wire carries that
  std::optional<SteadyTime> pause_until;  // its rate: read nothing more of it until then
};

// Not thread-safe: one strand. `now` never goes back; `wall` may jump, which only changes what
// records say.
class Mailbox {
 public:
  static constexpr std::size_t kMaxGroups = 10'000;        // bounds memory
  static constexpr std::size_t kMaxGroupMembers = 1'000;   // bounds the copies of one message
  static constexpr std::size_t kMaxSubscriptions = 1'000;  // of one session, unless to all
  static constexpr std::size_t kMaxNotices = 4'096;   // unread, of one session; then it is too slow
  static constexpr std::size_t kMaxAudits = 65'536;   // not taken; newer ones are counted as lost
  static constexpr std::uint64_t kTakeoverBurst = 5;  // then one a second: two machines with one
                                                      // key must not push each other out for ever
  static constexpr std::chrono::seconds kSweepInterval{5};  // how late a message may expire
  static constexpr std::chrono::seconds kStoreRetry{1};     // after a failed batch

  static std::optional<OptionsError> check(const Options& options);
  // `first_id`: above every id of earlier starts. REQUIRES: !check(options).
  Mailbox(Options options, MessageId first_id, SteadyTime now, WallTime wall);
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  // Once, after the clients were added: what the store holds. Messages to clients that are not
  // known any more are removed. Their lifetime goes on from accepted_at; a clock that was set back
  // gives them at most a whole one.
  void restore(StoredState state, SteadyTime now, WallTime wall);
  // Limits, rates and policies act at once. REQUIRES: !check(options), the same `offline`.
  void set_options(Options options, SteadyTime now);

  // ---- who is known; acts at once ----
  // False: there is no room, or a group has that address. A known client gets the new policy.
  bool add_client(const ClientId& client, ClientPolicy policy, SteadyTime now, WallTime wall);
  // Its session ends, its queue is dropped. False: not known.
  bool remove_client(const ClientId& client, WallTime wall);
  // False: no room, too many members, or a client has that address.
  bool set_group(const ClientId& address, GroupPolicy policy);
  bool remove_group(const ClientId& address);

  // ---- sessions ----
  // The route is there when it returns, so nobody meets a client that is "nearly" online.
  Result<SessionId, ConnectError> connect(const ClientId& client, Capabilities capabilities,
                                          SteadyTime now, WallTime wall);
  // What the wire carries became more, by negotiation.
  void set_capabilities(SessionId session, Capabilities capabilities);
  // What it was given and did not acknowledge waits for the next session. An unknown session is
  // fine: the mailbox may have ended it.
  void disconnect(SessionId session, WallTime wall);
  // The highest number of its client that was ever taken.
  std::uint64_t highest_ref(SessionId session) const;

  Submitted submit(SessionId session, Submission submission, SteadyTime now, WallTime wall);
  // The next thing to tell a session; nothing until SessionReady.
  std::optional<Item> next_item(SessionId session);
  // That message and all that were given before it. False: it was not given to this session.
  bool acknowledge(SessionId session, MessageId message);
  // The same by the gateway, for clients that do not acknowledge: the transport took it.
  bool handed_over(SessionId session, MessageId message);
  // The gateway cannot give that message, and it alone, to this client: it is dropped, and its
  // sender is told kTooLarge.
  bool undeliverable(SessionId session, MessageId message);

  // ---- presence ----
  // Changes of those clients from now on, and how they are now. False: too many; nothing changed.
  bool subscribe(SessionId session, const std::vector<ClientId>& clients);
  void subscribe_all(SessionId session);
  void unsubscribe(SessionId session);
  void list_presence(SessionId session);  // once: how everybody is now

  // ---- the store ----
  // The next batch; nothing while one is under way or there is nothing to do. Batches grow while
  // the store works, which makes group commits.
  std::optional<StoreBatch> next_batch(SteadyTime now);
  // What became of it. After a failure nothing of it counts as accepted, and what was accepted
  // before is untouched.
  void batch_done(std::uint64_t number, bool success, SteadyTime now);

  // ---- events, time, information ----
  std::optional<Event> next_event();
  std::optional<SteadyTime> deadline() const;
  void on_deadline(SteadyTime now);
  const Counters& counters() const { return counters_; }
  Totals totals() const;
  std::optional<ClientStatus> status_of(const ClientId& client) const;

 private:
  struct Entry;
  struct Client;
  struct Session;
  struct Accept;
  struct Batch;

  Session* find(SessionId session);
  const Session* find(SessionId session) const;
  void make_ready(Session& session);
  bool notify(Session& session, Item item);
  void notify_client(const ClientId& client, Item item);
  void end(Session& session, EndReason reason);
  void audit(Audit what);
  void presence_changed(Client& client, WallTime wall);
  bool may_send(const Client& sender, const ClientId& to) const;
  std::optional<Refusal> room_for(const Client& recipient, std::size_t size) const;
  void enqueue(Client& recipient, const Message& message, bool wait, SteadyTime now);
  void store(Entry& entry);
  void drop_front(Client& client);
  void drop(Client& client, std::size_t index);
  std::size_t finish_front(Client& client, std::size_t count, ReceiptKind kind);
  bool finish(SessionId session, MessageId message, ReceiptKind kind);
  void refuse(const ClientId& sender, std::optional<SenderRef> ref, const ClientId& recipient,
              Refusal refusal, std::optional<MessageId> message, bool count);
  void expire(Client& client, SteadyTime now);
  void fail_batch(Batch& batch);

  Options options_;
  std::uint64_t next_id_;
  std::uint64_t next_session_ = 1;
  WallTime started_;
  std::map<ClientId, std::unique_ptr<Client>> clients_;
  std::map<ClientId, GroupPolicy> groups_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::set<std::uint64_t> watchers_;                     // sessions that are told of everybody
  std::map<ClientId, std::set<std::uint64_t>> watched_;  // client -> sessions that subscribed to it
  std::size_t queued_messages_ = 0;
  std::size_t queued_bytes_ = 0;
  std::deque<Event> events_;
  std::size_t audits_waiting_ = 0;
  Counters counters_;

  std::unique_ptr<Batch> open_batch_;  // grows
  std::unique_ptr<Batch> sent_batch_;  // with the store
  std::uint64_t next_batch_ = 1;
  std::optional<SteadyTime> store_again_;
  SteadyTime next_sweep_;
};

}  // namespace sealane::mailbox
