#include "mailbox/mailbox.h"

#include <algorithm>

#include "base/check.h"

namespace sealane::mailbox {
namespace {

std::size_t index_of(Refusal refusal) { return static_cast<std::size_t>(refusal); }
std::uint64_t number(SessionId session) { return static_cast<std::uint64_t>(session); }

std::unique_ptr<TokenBucket> make_bucket(const RateLimit& limit, SteadyTime now) {
  if (limit.per_second == 0) return nullptr;
  return std::make_unique<TokenBucket>(limit.per_second, limit.burst, now);
}

// The message of that id in a queue, which is in the order of ids; else its end.
template <class Queue>
auto find_queued(Queue& queue, MessageId id) {
  const auto at = std::lower_bound(
      queue.begin(), queue.end(), id,
      [](const auto& entry, MessageId wanted) { return entry.message.id < wanted; });
  return at == queue.end() || at->message.id == id ? at : queue.end();
}

}  // namespace

// One message in one queue.
struct Mailbox::Entry {
  Message message;
  SteadyTime expires = {};
  bool waits = false;   // must not be given out before the store has it
  bool stored = false;  // the store has it, or is asked to
  bool given = false;   // to an earlier session
  std::size_t size() const { return message.data->size(); }
};

// What a client has of a mailbox; lives as long as the client is known.
struct Mailbox::Client {
  Client(const ClientId& own_id, const Options& options, SteadyTime now, WallTime wall)
      : id(own_id),
        since(wall),
        messages(make_bucket(options.messages, now)),
        bytes(make_bucket(options.bytes, now)),
        takeovers(1, kTakeoverBurst, now) {}
  const ClientId id;
  ClientPolicy policy;
  Session* session = nullptr;
  WallTime since;
  // Ascending ids. Those before `in_flight` were given to the session.
  std::deque<Entry> queue;
  std::size_t queue_bytes = 0;
  std::size_t in_flight = 0;
  std::size_t in_flight_bytes = 0;
  RefWindow window;
  std::unique_ptr<TokenBucket> messages;
  std::unique_ptr<TokenBucket> bytes;
  TokenBucket takeovers;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t refused = 0;
};

struct Mailbox::Session {
  SessionId id{};
  Client* client = nullptr;
  Capabilities capabilities;
  bool ready = false;  // the gateway was told, and has not found it empty since
  std::deque<Item> notices;
  std::set<ClientId> presence;  // to be told of; by client, so that changes do not pile up
  std::set<ClientId> subscriptions;
};

// A receipt that is due when a batch is stored.
struct Mailbox::Accept {
  ClientId sender;
  SenderRef ref{};
  ClientId to;
  bool again = false;  // handed in a second time
};

struct Mailbox::Batch {
  StoreBatch store;
  std::vector<Accept> accepts;
  std::set<ClientId> windows;
  bool empty() const {
    return store.added.empty() && store.removed.empty() && store.forgotten.empty() &&
           accepts.empty() && windows.empty();
  }
};

std::optional<OptionsError> Mailbox::check(const Options& o) {
  const bool sizes = o.max_clients > 0 && o.max_message_size > 0 && o.client_queue_messages > 0 &&
                     o.client_queue_bytes > 0 && o.in_flight_messages > 0 && o.in_flight_bytes > 0;
  if (!sizes || o.client_queue_bytes > o.total_queue_bytes) return OptionsError::kLimit;
  if (o.lifetime.count() <= 0 || o.lifetime > Options::kMaxLifetime) return OptionsError::kLifetime;
  for (const RateLimit& rate : {o.messages, o.bytes}) {
    if (rate.per_second > 0 && rate.burst == 0) return OptionsError::kRate;
  }
  return std::nullopt;
}

Mailbox::Mailbox(Options options, MessageId first_id, SteadyTime now, WallTime wall)
    : options_(options),
      next_id_(static_cast<std::uint64_t>(first_id)),
      started_(wall),
      open_batch_(std::make_unique<Batch>()),
      next_sweep_(now + kSweepInterval) {
  SEALANE_CHECK(!check(options_));
}
Mailbox::~Mailbox() = default;

void Mailbox::restore(StoredState state, SteadyTime now, WallTime wall) {
  for (auto& [id, window] : state.windows) {
    const auto client = clients_.find(id);
    if (client != clients_.end()) {
      client->second->window = window;
    } else {
      open_batch_->store.forgotten.push_back(id);
    }
  }
  for (Message& message : state.messages) {
    next_id_ = std::max(next_id_, static_cast<std::uint64_t>(message.id) + 1);
    const auto client = clients_.find(message.recipient);
    if (client == clients_.end()) {
      open_batch_->store.removed.push_back(message.id);
      continue;
    }
    const bool later = wall > message.accepted_at;  // else the clock was set back
    const auto waited = later ? wall - message.accepted_at : std::chrono::nanoseconds(0);
    const auto left = std::max(message.lifetime - waited, std::chrono::nanoseconds(0));
    Client& owner = *client->second;
    queued_bytes_ += message.data->size();
    owner.queue_bytes += message.data->size();
    ++queued_messages_;
    owner.queue.push_back({.message = std::move(message), .expires = now + left, .stored = true});
  }
}

void Mailbox::set_options(Options options, SteadyTime now) {
  SEALANE_CHECK(!check(options) && options.offline == options_.offline);
  const auto same = [](const RateLimit& a, const RateLimit& b) {
    return a.per_second == b.per_second && a.burst == b.burst;
  };
  const bool messages = !same(options.messages, options_.messages);
  const bool bytes = !same(options.bytes, options_.bytes);
  options_ = options;
  for (auto& [id, client] : clients_) {
    if (messages) client->messages = make_bucket(options_.messages, now);
    if (bytes) client->bytes = make_bucket(options_.bytes, now);
  }
}

// ---- who is known

bool Mailbox::add_client(const ClientId& id, ClientPolicy policy, SteadyTime now, WallTime wall) {
  const auto known = clients_.find(id);
  if (known != clients_.end()) {
    known->second->policy = std::move(policy);
    return true;
  }
  if (groups_.contains(id) || clients_.size() >= options_.max_clients) return false;
  auto client = std::make_unique<Client>(id, options_, now, wall);
  client->policy = std::move(policy);
  clients_.emplace(id, std::move(client));
  audit({.kind = AuditKind::kClientAdded, .client = id});
  return true;
}

bool Mailbox::remove_client(const ClientId& id, WallTime wall) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return false;
  Client& client = *found->second;
  if (client.session != nullptr) {
    end(*client.session, EndReason::kRemoved);
    disconnect(client.session->id, wall);
  }
  while (!client.queue.empty()) drop_front(client);
  if (options_.offline == OfflinePolicy::kDurable) {
    open_batch_->windows.erase(id);
    open_batch_->store.forgotten.push_back(id);
  }
  clients_.erase(found);
  audit({.kind = AuditKind::kClientRemoved, .client = id});
  return true;
}

bool Mailbox::set_group(const ClientId& address, GroupPolicy policy) {
  if (clients_.contains(address) || policy.members.size() > kMaxGroupMembers) return false;
  if (groups_.size() >= kMaxGroups && !groups_.contains(address)) return false;
  groups_[address] = std::move(policy);
  return true;
}

bool Mailbox::remove_group(const ClientId& address) { return groups_.erase(address) > 0; }

// ---- sessions

Mailbox::Session* Mailbox::find(SessionId session) {
  const auto found = sessions_.find(number(session));
  return found == sessions_.end() ? nullptr : found->second.get();
}
const Mailbox::Session* Mailbox::find(SessionId session) const {
  const auto found = sessions_.find(number(session));
  return found == sessions_.end() ? nullptr : found->second.get();
}

Result<SessionId, ConnectError> Mailbox::connect(const ClientId& id, Capabilities capabilities,
                                                 SteadyTime now, WallTime wall) {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return ConnectError::kUnknown;
  Client& client = *found->second;
  if (client.session != nullptr) {
    const bool takeover =
        options_.duplicate == DuplicatePolicy::kTakeover && client.takeovers.try_take(1, now);
    if (!takeover) {
      audit({.kind = AuditKind::kRefusedLogin, .client = id});
      return ConnectError::kDuplicate;
    }
    ++counters_.takeovers;
    audit({.kind = AuditKind::kReplaced, .client = id});
    end(*client.session, EndReason::kReplaced);
    disconnect(client.session->id, wall);
  }
  auto session = std::make_unique<Session>();
  session->id = SessionId{next_session_++};
  session->client = &client;
  session->capabilities = capabilities;
  client.session = session.get();
  const SessionId result = session->id;
  sessions_.emplace(number(result), std::move(session));
  audit({.kind = AuditKind::kOnline, .client = id});
  presence_changed(client, wall);
  if (!client.queue.empty()) make_ready(*client.session);
  return result;
}

void Mailbox::set_capabilities(SessionId session, Capabilities capabilities) {
  Session* const found = find(session);
  if (found == nullptr) return;
  found->capabilities = capabilities;
  make_ready(*found);
}

void Mailbox::disconnect(SessionId session, WallTime wall) {
  Session* const found = find(session);
  if (found == nullptr) return;
  Client& client = *found->client;
  unsubscribe(session);
  client.session = nullptr;
  client.in_flight = 0;
  client.in_flight_bytes = 0;
  sessions_.erase(number(session));
  // What was accepted stays for the next session: it is not lost because a connection was.
  if (options_.offline == OfflinePolicy::kDurable) {
    for (Entry& entry : client.queue) store(entry);
  }
  audit({.kind = AuditKind::kOffline, .client = client.id});
  presence_changed(client, wall);
}

std::uint64_t Mailbox::highest_ref(SessionId session) const {
  const Session* const found = find(session);
  return found == nullptr ? 0 : found->client->window.highest();
}

void Mailbox::make_ready(Session& session) {
  if (session.ready) return;
  session.ready = true;
  events_.emplace_back(SessionReady{session.id});
}

// False: the session is too slow and was ended; it lives until the gateway disconnects it.
bool Mailbox::notify(Session& session, Item item) {
  if (!session.capabilities.notices) return true;
  if (session.notices.size() >= kMaxNotices) {
    end(session, EndReason::kSlow);
    return false;
  }
  session.notices.push_back(std::move(item));
  make_ready(session);
  return true;
}

void Mailbox::notify_client(const ClientId& client, Item item) {
  const auto found = clients_.find(client);
  if (found == clients_.end() || found->second->session == nullptr) return;
  notify(*found->second->session, std::move(item));
}

void Mailbox::end(Session& session, EndReason reason) {
  session.notices.clear();
  session.capabilities.notices = false;
  events_.emplace_back(SessionEnded{session.id, session.client->id, reason});
}

void Mailbox::audit(Audit what) {
  if (audits_waiting_ >= kMaxAudits) {
    ++counters_.audits_lost;
    return;
  }
  ++audits_waiting_;
  events_.emplace_back(what);
}

// ---- messages

bool Mailbox::may_send(const Client& sender, const ClientId& to) const {
  return sender.policy.send_to_anyone || sender.policy.send_to.contains(to);
}

std::optional<Refusal> Mailbox::room_for(const Client& recipient, std::size_t size) const {
  if (recipient.session == nullptr && options_.offline == OfflinePolicy::kRefuse) {
    return Refusal::kOffline;
  }
  if (recipient.session != nullptr && size > recipient.session->capabilities.max_size) {
    return Refusal::kTooLarge;
  }
  const bool full = recipient.queue.size() >= options_.client_queue_messages ||
                    recipient.queue_bytes + size > options_.client_queue_bytes ||
                    queued_bytes_ + size > options_.total_queue_bytes;
  return full ? std::optional(Refusal::kQueueFull) : std::nullopt;
}

void Mailbox::store(Entry& entry) {
  if (entry.stored) return;
  entry.stored = true;
  open_batch_->store.added.push_back(entry.message);
}

void Mailbox::enqueue(Client& recipient, const Message& message, bool wait, SteadyTime now) {
  recipient.queue.push_back({.message = message, .expires = now + message.lifetime, .waits = wait});
  const std::size_t size = message.data->size();
  recipient.queue_bytes += size;
  queued_bytes_ += size;
  ++queued_messages_;
  ++counters_.accepted;
  const bool durable = options_.offline == OfflinePolicy::kDurable;
  if (durable && (wait || recipient.session == nullptr)) store(recipient.queue.back());
  if (recipient.session != nullptr && !wait) make_ready(*recipient.session);
}

void Mailbox::refuse(const ClientId& sender, std::optional<SenderRef> ref,
                     const ClientId& recipient, Refusal refusal, std::optional<MessageId> message,
                     bool count) {
  ++counters_.refused[index_of(refusal)];
  audit({.kind = refusal == Refusal::kExpired ? AuditKind::kExpired : AuditKind::kRefused,
         .client = sender,
         .recipient = recipient,
         .message = message,
         .refusal = refusal});
  const auto found = clients_.find(sender);
  if (found == clients_.end()) return;
  if (count) ++found->second->refused;
  notify_client(sender, ErrorNotice{refusal, ref, recipient});
}

Submitted Mailbox::submit(SessionId session, Submission submission, SteadyTime now, WallTime wall) {
  SEALANE_CHECK(submission.data != nullptr);
  Session* const found = find(session);
  if (found == nullptr) return {};  // ended a moment ago: what it still sends is nobody's
  Client& sender = *found->client;
  ++counters_.submitted;
  const std::size_t size = submission.data->size();
  Submitted result;
  for (TokenBucket* bucket : {sender.messages.get(), sender.bytes.get()}) {
    if (bucket == nullptr) continue;
    const SteadyTime until = bucket->take(bucket == sender.bytes.get() ? size : 1, now);
    if (until > now) result.pause_until = std::max(result.pause_until.value_or(until), until);
  }
  if (result.pause_until) ++counters_.slowed;
  const auto refuse_all = [&](Refusal refusal) {
    refuse(sender.id, submission.ref, submission.to, refusal, std::nullopt, true);
    result.refusal = refusal;
    return result;
  };

  const bool durable = options_.offline == OfflinePolicy::kDurable;
  const bool wait = durable && submission.ref.has_value();
  if (submission.ref) {
    const RefWindow::Seen seen = sender.window.look_up(*submission.ref);
    if (seen == RefWindow::Seen::kTooOld) return refuse_all(Refusal::kStaleRef);
    if (seen == RefWindow::Seen::kTaken) {
      ++counters_.duplicates;
      if (wait) {  // the first one may still be on its way to the disk: answer after it
        open_batch_->accepts.push_back({sender.id, *submission.ref, submission.to, true});
      } else {
        notify(*found, Receipt{ReceiptKind::kAccepted, *submission.ref, submission.to});
      }
      return result;
    }
  }

  std::vector<Client*> recipients;
  const auto group = groups_.find(submission.to);
  if (group != groups_.end()) {
    const GroupPolicy& policy = group->second;
    if (!may_send(sender, submission.to) ||
        (policy.members_only && !policy.members.contains(sender.id))) {
      return refuse_all(Refusal::kDenied);
    }
    for (const ClientId& member : policy.members) {
      const auto client = clients_.find(member);
      if (client != clients_.end() && member != sender.id)
        recipients.push_back(client->second.get());
    }
  } else {
    const auto client = clients_.find(submission.to);
    if (client == clients_.end()) return refuse_all(Refusal::kUnknown);
    if (!may_send(sender, submission.to)) return refuse_all(Refusal::kDenied);
    recipients.push_back(client->second.get());
  }
  if (size > options_.max_message_size) return refuse_all(Refusal::kTooLarge);

  Message message{.sender = sender.id,
                  .group = group != groups_.end() ? std::optional(submission.to) : std::nullopt,
                  .ref = submission.ref,
                  .accepted_at = wall,
                  .lifetime = options_.lifetime,
                  .data = std::move(submission.data)};
  bool taken = false;
  std::optional<Refusal> last;
  for (Client* recipient : recipients) {
    if (const auto refusal = room_for(*recipient, size)) {
      last = refusal;
      refuse(sender.id, submission.ref, recipient->id, *refusal, std::nullopt, true);
      continue;
    }
    message.id = MessageId{next_id_++};
    message.recipient = recipient->id;
    enqueue(*recipient, message, wait, now);
    taken = true;
  }
  if (!taken && last) {  // to nobody: it may be handed in again under its number
    result.refusal = last;
    return result;
  }
  ++sender.sent;
  if (submission.ref) {
    sender.window.take(*submission.ref);
    if (durable) open_batch_->windows.insert(sender.id);
    const Accept accept{sender.id, *submission.ref, submission.to, false};
    if (wait) {
      open_batch_->accepts.push_back(accept);
    } else {
      notify(*found, Receipt{ReceiptKind::kAccepted, accept.ref, accept.to});
    }
  }
  return result;
}

std::optional<Item> Mailbox::next_item(SessionId session) {
  Session* const found = find(session);
  if (found == nullptr) return std::nullopt;
  if (!found->notices.empty()) {
    Item item = std::move(found->notices.front());
    found->notices.pop_front();
    return item;
  }
  Client& client = *found->client;
  if (!found->presence.empty()) {
    const auto about = found->presence.extract(found->presence.begin()).value();
    const auto other = clients_.find(about);
    if (other == clients_.end()) return Item(PresenceNotice{about, false, started_});
    return Item(PresenceNotice{about, other->second->session != nullptr, other->second->since});
  }
  while (client.in_flight < client.queue.size()) {
    Entry& entry = client.queue[client.in_flight];
    if (entry.waits) break;
    if (client.in_flight >= options_.in_flight_messages) break;
    if (client.in_flight > 0 && client.in_flight_bytes + entry.size() > options_.in_flight_bytes) {
      break;
    }
    if (entry.size() > found->capabilities.max_size) {
      // Known only now, because it waited for a connection. In front of it may be others that are
      // under way; it goes when they are gone.
      if (client.in_flight > 0) break;
      refuse(entry.message.sender, entry.message.ref, client.id, Refusal::kTooLarge,
             entry.message.id, false);
      drop_front(client);
      continue;
    }
    ++client.in_flight;
    client.in_flight_bytes += entry.size();
    if (entry.given) ++counters_.given_again;
    entry.given = true;
    return Item(entry.message);
  }
  found->ready = false;
  return std::nullopt;
}

void Mailbox::drop_front(Client& client) { drop(client, 0); }

void Mailbox::drop(Client& client, std::size_t index) {
  const Entry& entry = client.queue[index];
  const std::size_t size = entry.size();
  if (entry.stored) open_batch_->store.removed.push_back(entry.message.id);
  client.queue_bytes -= size;
  queued_bytes_ -= size;
  --queued_messages_;
  if (client.in_flight > index) {
    --client.in_flight;
    client.in_flight_bytes -= size;
  }
  client.queue.erase(client.queue.begin() + static_cast<std::ptrdiff_t>(index));
}

bool Mailbox::finish(SessionId session, MessageId message, ReceiptKind kind) {
  Session* const found = find(session);
  if (found == nullptr) return true;  // ended a moment ago; the next session is given it again
  Client& client = *found->client;
  const auto given_end = client.queue.begin() + static_cast<std::ptrdiff_t>(client.in_flight);
  const auto at = std::lower_bound(
      client.queue.begin(), given_end, message,
      [](const Entry& entry, MessageId wanted) { return entry.message.id < wanted; });
  if (at == given_end || at->message.id != message) return false;
  const auto count = static_cast<std::size_t>(at - client.queue.begin()) + 1;
  for (std::size_t i = 0; i < count; ++i) {
    const Message& done = client.queue.front().message;
    ++counters_.delivered;
    ++client.received;
    if (done.ref) notify_client(done.sender, Receipt{kind, *done.ref, client.id});
    drop_front(client);
  }
  if (client.in_flight < client.queue.size()) make_ready(*found);
  return true;
}

bool Mailbox::acknowledge(SessionId session, MessageId message) {
  return finish(session, message, ReceiptKind::kReceived);
}
bool Mailbox::handed_over(SessionId session, MessageId message) {
  return finish(session, message, ReceiptKind::kPassedOn);
}

bool Mailbox::undeliverable(SessionId session, MessageId message) {
  Session* const found = find(session);
  if (found == nullptr) return true;  // as finish()
  Client& client = *found->client;
  const auto given_end = client.queue.begin() + static_cast<std::ptrdiff_t>(client.in_flight);
  const auto at = std::find_if(client.queue.begin(), given_end, [message](const Entry& entry) {
    return entry.message.id == message;
  });
  if (at == given_end) return false;
  refuse(at->message.sender, at->message.ref, client.id, Refusal::kTooLarge, message, false);
  drop(client, static_cast<std::size_t>(at - client.queue.begin()));
  if (client.in_flight < client.queue.size()) make_ready(*found);
  return true;
}

// ---- presence

void Mailbox::presence_changed(Client& client, WallTime wall) {
  client.since = wall;
  const auto tell = [&](std::uint64_t session) {
    Session* const watcher = find(SessionId{session});
    if (watcher == nullptr || watcher->client == &client) return;
    watcher->presence.insert(client.id);
    make_ready(*watcher);
  };
  for (const std::uint64_t session : watchers_) tell(session);
  const auto subscribers = watched_.find(client.id);
  if (subscribers == watched_.end()) return;
  for (const std::uint64_t session : subscribers->second) tell(session);
}

bool Mailbox::subscribe(SessionId session, const std::vector<ClientId>& clients) {
  Session* const found = find(session);
  if (found == nullptr) return true;
  std::set<ClientId> all = found->subscriptions;
  all.insert(clients.begin(), clients.end());
  if (all.size() > kMaxSubscriptions) return false;
  for (const ClientId& client : clients) {
    if (!found->client->policy.sees_presence) {
      refuse(found->client->id, std::nullopt, client, Refusal::kDenied, std::nullopt, false);
      continue;
    }
    if (!clients_.contains(client)) {
      refuse(found->client->id, std::nullopt, client, Refusal::kUnknown, std::nullopt, false);
      continue;
    }
    found->subscriptions.insert(client);
    watched_[client].insert(number(session));
    found->presence.insert(client);
  }
  make_ready(*found);
  return true;
}

void Mailbox::subscribe_all(SessionId session) {
  Session* const found = find(session);
  if (found == nullptr) return;
  if (found->client->policy.sees_presence) watchers_.insert(number(session));
  list_presence(session);
}

void Mailbox::unsubscribe(SessionId session) {
  Session* const found = find(session);
  if (found == nullptr) return;
  watchers_.erase(number(session));
  for (const ClientId& client : found->subscriptions) {
    const auto subscribers = watched_.find(client);
    if (subscribers == watched_.end()) continue;
    subscribers->second.erase(number(session));
    if (subscribers->second.empty()) watched_.erase(subscribers);
  }
  found->subscriptions.clear();
}

void Mailbox::list_presence(SessionId session) {
  Session* const found = find(session);
  if (found == nullptr) return;
  if (!found->client->policy.sees_presence) {
    refuse(found->client->id, std::nullopt, found->client->id, Refusal::kDenied, std::nullopt,
           false);
    return;
  }
  for (const auto& [id, client] : clients_) {
    if (client.get() != found->client) found->presence.insert(id);
  }
  make_ready(*found);
}

// ---- the store

std::optional<StoreBatch> Mailbox::next_batch(SteadyTime now) {
  if (sent_batch_ != nullptr || open_batch_->empty()) return std::nullopt;
  if (store_again_ && now < *store_again_) return std::nullopt;
  store_again_.reset();
  sent_batch_ = std::exchange(open_batch_, std::make_unique<Batch>());
  sent_batch_->store.number = next_batch_++;
  for (const ClientId& id : sent_batch_->windows) {
    const auto client = clients_.find(id);
    if (client != clients_.end())
      sent_batch_->store.windows.emplace_back(id, client->second->window);
  }
  return sent_batch_->store;
}

void Mailbox::batch_done(std::uint64_t batch_number, bool success, SteadyTime now) {
  SEALANE_CHECK(sent_batch_ != nullptr && sent_batch_->store.number == batch_number);
  const auto batch = std::move(sent_batch_);
  if (!success) {
    store_again_ = now + kStoreRetry;
    fail_batch(*batch);
    return;
  }
  std::set<Client*> woken;
  for (const Message& message : batch->store.added) {
    const auto found = clients_.find(message.recipient);
    if (found == clients_.end()) continue;
    Client& client = *found->second;
    const auto at = find_queued(client.queue, message.id);
    if (at == client.queue.end()) continue;
    at->waits = false;
    woken.insert(&client);
  }
  for (Client* client : woken) {
    if (client->session != nullptr) make_ready(*client->session);
  }
  for (const Accept& accept : batch->accepts) {
    const auto sender = clients_.find(accept.sender);
    if (sender == clients_.end()) continue;
    // A second copy of a number whose first one failed: nothing was accepted.
    if (accept.again && sender->second->window.look_up(accept.ref) != RefWindow::Seen::kTaken) {
      continue;
    }
    notify_client(accept.sender, Receipt{ReceiptKind::kAccepted, accept.ref, accept.to});
  }
}

void Mailbox::fail_batch(Batch& batch) {
  ++counters_.store_failures;
  audit({.kind = AuditKind::kStoreFailed});
  Batch& next = *open_batch_;
  for (const Message& message : batch.store.added) {
    const auto found = clients_.find(message.recipient);
    if (found == clients_.end()) continue;
    Client& client = *found->second;
    const auto at = find_queued(client.queue, message.id);
    if (at == client.queue.end()) continue;
    at->stored = false;
    if (!at->waits) {  // nobody was told that it is safe; it stays in memory
      if (client.session == nullptr) store(*at);
      continue;
    }
    client.queue_bytes -= at->size();
    queued_bytes_ -= at->size();
    --queued_messages_;
    client.queue.erase(at);  // never given out, so behind those in flight
    --counters_.accepted;
    if (client.session != nullptr) make_ready(*client.session);
  }
  for (const Accept& accept : batch.accepts) {
    const auto sender = clients_.find(accept.sender);
    if (sender == clients_.end()) continue;
    Client& client = *sender->second;
    if (accept.again && client.window.look_up(accept.ref) == RefWindow::Seen::kTaken) {
      next.accepts.push_back(accept);  // it was accepted earlier; say so when the disk works
      continue;
    }
    client.window.give_back(accept.ref);
    if (!accept.again) --client.sent;
    refuse(accept.sender, accept.ref, accept.to, Refusal::kStorage, std::nullopt, true);
  }
  // The same removals again: those of the failed batch first, as they came.
  std::vector<MessageId> removed = std::move(batch.store.removed);
  removed.insert(removed.end(), next.store.removed.begin(), next.store.removed.end());
  next.store.removed = std::move(removed);
  for (const ClientId& id : batch.store.forgotten) next.store.forgotten.push_back(id);
  for (const ClientId& id : batch.windows) {
    if (clients_.contains(id)) next.windows.insert(id);
  }
}

// ---- events, time, information

std::optional<Event> Mailbox::next_event() {
  if (events_.empty()) return std::nullopt;
  Event event = events_.front();
  events_.pop_front();
  if (std::holds_alternative<Audit>(event)) --audits_waiting_;
  return event;
}

std::optional<SteadyTime> Mailbox::deadline() const {
  std::optional<SteadyTime> next;
  if (queued_messages_ > 0) next = next_sweep_;
  if (store_again_ && !open_batch_->empty())
    next = std::min(next.value_or(*store_again_), *store_again_);
  return next;
}

void Mailbox::on_deadline(SteadyTime now) {
  if (now < next_sweep_) return;
  next_sweep_ = now + kSweepInterval;
  for (auto& [id, client] : clients_) expire(*client, now);
}

void Mailbox::expire(Client& client, SteadyTime now) {
  // What a session was given is its own until it ends. What waits for the store will know soon.
  while (client.in_flight == 0 && !client.queue.empty()) {
    const Entry& entry = client.queue.front();
    if (entry.expires > now || entry.waits) break;
    // A burst of ours must not end the session of a sender as too slow.
    const auto sender = clients_.find(entry.message.sender);
    if (sender != clients_.end() && sender->second->session != nullptr &&
        sender->second->session->notices.size() >= kMaxNotices / 2) {
      break;
    }
    ++counters_.expired;
    refuse(entry.message.sender, entry.message.ref, client.id, Refusal::kExpired, entry.message.id,
           false);
    drop_front(client);
  }
}

Totals Mailbox::totals() const {
  return {.clients = clients_.size(),
          .groups = groups_.size(),
          .online = sessions_.size(),
          .queued_messages = queued_messages_,
          .queued_bytes = queued_bytes_};
}

std::optional<ClientStatus> Mailbox::status_of(const ClientId& id) const {
  const auto found = clients_.find(id);
  if (found == clients_.end()) return std::nullopt;
  const Client& client = *found->second;
  return ClientStatus{.client = id,
                      .online = client.session != nullptr,
                      .since = client.since,
                      .queued_messages = client.queue.size(),
                      .queued_bytes = client.queue_bytes,
                      .sent = client.sent,
                      .received = client.received,
                      .refused = client.refused};
}

}  // namespace sealane::mailbox
