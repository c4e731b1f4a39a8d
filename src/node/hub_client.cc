#include "node/hub_client.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "base/backoff.h"
#include "flow/thread.h"
#include "flow/workers.h"
#include "net/io_loop.h"
#include "net/real_network.h"
#include "net/resolve.h"
#include "net/sockets.h"
#include "net/stream_driver.h"
#include "node/hub_state.h"
#include "node/message_parts.h"

namespace sealane::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPaceInterval{1};
constexpr int kBriefJobs = 4;  // of one step on the loop's own thread; the others go to the workers
// One word to the hub for all that was received goes with the next output, or after so many
// messages or bytes, far below what a hub has under way to a client, or so long after the first of
// them.
constexpr std::size_t kAcknowledgeMessages = 32;
constexpr std::size_t kAcknowledgeBytes = 128 * 1024;
constexpr milliseconds kAcknowledgeTime{5};
constexpr std::size_t kOutputHigh = 256 * 1024;  // then messages wait in the outbox
constexpr seconds kLastMessages{3};              // for what was sent a moment before the end
constexpr seconds kStopTime{4};                  // for STOP and its answer

class Client;

class Connection final : public net::CoreHandler<hub::ClientConnection> {
 public:
  Connection(Client& client, const hub::ClientOptions& options, RandomSource& random,
             SteadyTime now, WallTime wall)
      : CoreHandler(options, random, now, wall), client_(client) {}
  void on_open(net::StreamConnection& connection, SteadyTime now) override {
    CoreHandler::on_open(connection, now);
    connection.reset_unless_finished();  // a crash must free the id at a Python hub
  }
  bool wants_input() const override;
  void after_step(SteadyTime now) override;
  ByteSpan next_output() override;
  std::optional<SteadyTime> deadline() const override;
  void on_deadline(SteadyTime now) override;
  void on_closed(const NetworkError& why, SteadyTime now) override;
  hub::ClientConnection& wire() { return core(); }
  void wake() {
    if (opened()) connection().wake();
  }
  bool is_open() const { return opened() && !stopped_; }

 private:
  void on_event(hub::ClientEvent event, SteadyTime now) override;
  Client& client_;
  std::optional<SteadyTime> look_again_;
  int brief_jobs_ = 0;  // of this step
  std::optional<hub::ClientStopped> stopped_;
  std::optional<crypto::Sha256Digest> shown_;  // the hub's key
};

class Client final : public HubClient {
 public:
  Client(Clock& wall_clock, RandomSource& randomness, HubClientOptions how)
      : clock(wall_clock),
        random(randomness),
        options(std::move(how)),
        backoff_(options.first_pause, options.longest_pause),
        stream_loop_(net::make_stream_loop(loop_)) {
    loop_.run([this] {
      // Whoever waits for a private RSA step of the workers waits for this thread first.
      static_cast<void>(flow::ask_for_short_slices());
      network_ = net::make_network(loop_);
      timer_ = stream_loop_->make_timer();
    });
    driver_.emplace(*stream_loop_, *network_, &workers_);
    loop_.run([this] { dial(); });
  }
  ~Client() override {
    loop_.run([this] {
      ending_ = true;
      timer_.reset();
      if (connection_ == nullptr) return;
      tell_received(stream_loop_->now());
      connection_->wake();  // leaves before the driver's end
    });
    driver_.reset();
    loop_.run([this] { network_.reset(); });
  }

  std::optional<HubClientEvent> next(SteadyTime deadline) override {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] { return !events_.empty(); });
    if (events_.empty()) return std::nullopt;
    HubClientEvent event = std::move(events_.front());
    events_.pop_front();
    if (events_.size() + 1 == kMaxEvents) {
      lock.unlock();
      poke();
    }
    return event;
  }

  std::optional<HubTicket> send(const hub::ClientId& to, Bytes data) override {
    std::unique_lock lock(mutex_);
    const std::size_t size = data.size();
    const bool cut = piece_ > 0 && size > piece_ + hub::Part::kEncodedSize && size <= max_data_;
    const std::size_t count = cut ? (size + piece_ - 1) / piece_ : 1;
    if (count > kMaxOutbox - outbox_.size()) return std::nullopt;
    const HubTicket ticket{next_ticket_++};
    for (std::size_t i = 0; cut && i < count; ++i) {
      const ByteSpan part = ByteSpan(data).subspan(i * piece_, std::min(piece_, size - i * piece_));
      outbox_.push_back({.ticket = ticket,
                         .to = to,
                         .data = to_bytes(part),
                         .index = static_cast<std::uint32_t>(i),
                         .count = static_cast<std::uint32_t>(count)});
    }
    if (!cut) outbox_.push_back({.ticket = ticket, .to = to, .data = std::move(data)});
    const bool first = !std::exchange(poked_, true);
    lock.unlock();
    if (first) poke();
    return ticket;
  }
  std::size_t waiting() const override {
    const std::lock_guard lock(mutex_);
    return outbox_.size();
  }
  void received(hub::DeliveryId id) override {
    std::unique_lock lock(mutex_);
    received_.push_back(id);
    const bool first = !std::exchange(poked_, true);
    lock.unlock();
    if (first) poke();
  }
  void ask(const hub::PresenceMessage& request) override {
    loop_.post([this, request] {
      presence_ = request;
      if (connection_ == nullptr || !ready_) return;
      connection_->wire().ask(request, stream_loop_->now());
      connection_->wake();
    });
  }
  void ask_status() override {
    loop_.post([this] {
      if (connection_ == nullptr || !ready_) return;
      connection_->wire().ask_status(stream_loop_->now());
      connection_->wake();
    });
  }
  void stop() override {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kLastMessages, [this] { return outbox_.empty() || gone_; });
    }
    loop_.run([this] {
      ending_ = true;
      timer_->cancel();
      if (connection_ == nullptr) return;
      tell_received(stream_loop_->now());
      connection_->wire().stop(stream_loop_->now());
      connection_->wake();
    });
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kStopTime, [this] { return gone_; });
  }

  // ---- on the loop's thread ----
  void emit(HubClientEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.notify_all();
  }
  bool room() {
    const std::lock_guard lock(mutex_);
    return events_.size() < kMaxEvents;
  }
  void poke() {
    loop_.post([this] {
      if (connection_ != nullptr) connection_->wake();
    });
  }

  // A name is looked up each time: what it stands for may change while we are away.
  void dial() {
    workers_.add([this] {
      auto found =
          std::make_shared<Result<std::vector<net::Endpoint>, Error>>(net::resolve(options.hub));
      loop_.post([this, found] {
        if (ending_) return;
        if (!found->has_value()) {
          return offline(found->error(), found->error().kind == ErrorKind::kUsage);
        }
        addresses_.clear();
        for (const net::Endpoint& endpoint : found->value()) {
          addresses_.push_back({net::format_endpoint(endpoint.kind, endpoint.address)});
        }
        dial_next();
      });
    });
  }
  void dial_next() {
    const Address address = std::move(addresses_.front());
    addresses_.pop_front();
    hub::ClientOptions how_to_log_in = options.connection;
    if (pin_) how_to_log_in.pin = pin_;
    auto connection = std::make_unique<Connection>(*this, how_to_log_in, random,
                                                   stream_loop_->now(), clock.wall_now());
    connection_ = connection.get();
    ready_ = false;
    {
      const std::lock_guard lock(mutex_);
      gone_ = false;
    }
    net::StreamOptions how;
    how.linger = seconds(1);
    driver_->dial(address, stream_loop_->now() + options.connect_timeout, how,
                  std::move(connection));
  }

  void ready(const hub::ClientReady& how, SteadyTime now) {
    ready_ = true;
    owed_.reset();  // a new connection is given it again
    was_ready_ = true;
    backoff_.reset();
    numbered_ = how.features.has(hub::Feature::kReceipts);
    next_ref_ = std::max(next_ref_, how.highest_ref + 1);
    const bool in_parts = numbered_ && how.features.has(hub::Feature::kParts) &&
                          how.max_data > hub::Part::kEncodedSize;
    std::size_t max_data = how.max_data;
    {
      const std::lock_guard lock(mutex_);
      piece_ = in_parts ? max_data - hub::Part::kEncodedSize : 0;
      max_data_ = max_data = std::max(max_data, std::min(kMaxInParts, piece_ * kMaxParts));
      std::erase_if(outbox_, [](const Outgoing& message) { return message.given_up; });
      for (Outgoing& message : outbox_) message.under_way = false;
      under_way_ = 0;
    }
    if (presence_ && how.features.has(hub::Feature::kPresence)) {
      connection_->wire().ask(*presence_, now);
    }
    emit(HubOnline{how.features, max_data});
    push(now);
  }

  // Gives the core what fits, and the hub one word for all that was received.
  void push(SteadyTime now) {
    if (!ready_) return;
    std::vector<HubClientEvent> told;
    std::vector<hub::DeliveryId> received;
    bool moved = false;
    {
      const std::lock_guard lock(mutex_);
      poked_ = false;
      received.swap(received_);
      for (std::size_t i = under_way_; i < outbox_.size();) {
        Outgoing& message = outbox_[i];
        if (under_way_ >= kWindow || connection_->wire().output_size() >= kOutputHigh) break;
        if (numbered_ && !message.ref) {
          message.ref = hub::SenderRef{next_ref_++};
          // Parts get theirs one after the other, as they stand in the outbox.
          if (message.index == 0) last_whole_ = static_cast<std::uint64_t>(*message.ref);
          message.whole = last_whole_;
        }
        const auto sent = connection_->wire().send({.to = message.to,
                                                    .ref = numbered_ ? message.ref : std::nullopt,
                                                    .part = message.part(),
                                                    .data = message.data},
                                                   now);
        if (sent.has_value()) {
          moved = true;
          if (numbered_) {
            message.under_way = true;
            ++under_way_;
            ++i;
          } else {
            told.emplace_back(HubSent{message.ticket, hub::ReceiptKind::kPassedOn});
            outbox_.erase(outbox_.begin() + static_cast<std::ptrdiff_t>(i));
            changed_.notify_all();
          }
          continue;
        }
        if (sent.error() == hub::SendError::kBusy || sent.error() == hub::SendError::kNotOpen) {
          break;
        }
        told.emplace_back(HubRefused{message.ticket, message.to, describe(sent.error())});
        give_up(message.ticket);
      }
    }
    for (auto& event : told) emit(std::move(event));
    note_received(received, now);
    if (!owed_) return;
    if (moved || owed_->messages >= kAcknowledgeMessages || owed_->bytes >= kAcknowledgeBytes ||
        now >= owed_->by) {
      tell_owed(now);
    }
  }
  void tell_owed(SteadyTime now) {
    if (owed_) static_cast<void>(connection_->wire().received(owed_->last, now));
    owed_.reset();
  }
  // Before the end nothing is owed any more.
  void tell_received(SteadyTime now) {
    if (!ready_) return;
    push(now);
    tell_owed(now);
  }
  void note_received(const std::vector<hub::DeliveryId>& received, SteadyTime now) {
    for (const hub::DeliveryId id : received) {
      const auto given = given_.find(id);
      if (given == given_.end() || given->second.turn < next_unacknowledged_) continue;
      next_unacknowledged_ = given->second.turn + 1;
      if (!owed_) owed_ = Owed{.by = now + kAcknowledgeTime};
      owed_->last = id;
      ++owed_->messages;
      owed_->bytes += given->second.size;
    }
  }
  std::optional<SteadyTime> acknowledge_by() const {
    return owed_ && owed_->by > SteadyTime::min() ? std::optional(owed_->by) : std::nullopt;
  }
  void acknowledge_now() { owed_->by = SteadyTime::min(); }  // with the step that follows

  void take_receipt(const hub::ReceiptMessage& receipt) {
    std::optional<HubTicket> ticket;
    {
      const std::lock_guard lock(mutex_);
      ticket = last_part_of(receipt.ref);
      if (receipt.kind == hub::ReceiptKind::kAccepted) settle(receipt.ref);
    }
    if (ticket) emit(HubSent{*ticket, receipt.kind});
  }
  void take_refusal(const hub::RefusalMessage& refusal) {
    std::optional<HubTicket> ticket;
    {
      const std::lock_guard lock(mutex_);
      if (refusal.ref) {
        const auto at = find_outgoing(*refusal.ref);
        if (at != outbox_.end() && at->given_up) return settle(*refusal.ref);  // was told already
        ticket = at != outbox_.end() ? std::optional(at->ticket) : last_part_of(*refusal.ref);
        settle(*refusal.ref);
        if (ticket) give_up(*ticket);
      }
    }
    emit(HubRefused{ticket, refusal.recipient, describe(refusal.reason)});
  }
  void take_message(hub::Incoming message, SteadyTime now) {
    if (message.id) {
      const WallTime time = message.accepted_at.value_or(WallTime());
      const auto before = given_.find(*message.id);
      if (before != given_.end() && before->second.accepted_at == time) {
        // The hub did not hear of it, or the application has it still.
        if (before->second.turn < next_unacknowledged_) {
          static_cast<void>(connection_->wire().received(*message.id, now));
        }
        return;
      }
      given_.insert_or_assign(
          *message.id, Given{.turn = next_turn_, .size = message.data.size(), .accepted_at = time});
      turns_.push_back(*message.id);
      ++next_turn_;
      if (turns_.size() > kRemembered) {
        const auto oldest = given_.find(turns_.front());
        if (oldest->second.turn + turns_.size() == next_turn_) given_.erase(oldest);
        turns_.pop_front();
      }
    }
    emit(HubMessage{std::move(message)});
  }

  // `opened`: somebody was there.
  void closed(Connection& connection, const Error& why, bool opened, bool hopeless) {
    if (connection_ != &connection) return;
    connection_ = nullptr;
    ready_ = false;
    if (!opened && !ending_ && !addresses_.empty()) return dial_next();
    offline(why, hopeless);
  }
  void offline(const Error& why, bool hopeless) {
    const bool final = ending_ || hopeless || !was_ready_ || !options.reconnect;
    emit(HubOffline{why, final});
    {
      const std::lock_guard lock(mutex_);
      gone_ = true;
      changed_.notify_all();
    }
    if (final || !timer_) return;
    timer_->at(stream_loop_->now() + backoff_.next(random), [this] { dial(); });
  }
  // From now on it is the pinned one: accepting what is new is not accepting what changes.
  bool takes_new_key(const crypto::Sha256Digest& fingerprint) {
    if (!options.new_key || !options.new_key(fingerprint)) return false;
    pin_ = fingerprint;
    return true;
  }
  bool ending() const { return ending_; }

  Clock& clock;
  RandomSource& random;
  const HubClientOptions options;

 private:
  struct Outgoing {
    HubTicket ticket{};
    hub::ClientId to;
    Bytes data;
    std::optional<hub::SenderRef> ref = {};
    bool under_way = false;
    std::uint32_t index = 0;  // of a part
    std::uint32_t count = 1;
    std::uint64_t whole = 0;
    bool given_up = false;  // another part was refused
    bool is_last() const { return index + 1 == count; }
    std::optional<hub::Part> part() const {
      if (count == 1) return std::nullopt;
      return hub::Part{.whole = whole, .index = index, .count = count};
    }
  };
  // What the application was given. With the hub's time, because a hub whose queue was lost begins
  // with numbers that were there before.
  struct Given {
    std::uint64_t turn = 0;  // counts what was given
    std::size_t size = 0;
    WallTime accepted_at;
  };
  // What the hub is to be told.
  struct Owed {
    SteadyTime by;
    hub::DeliveryId last{};
    std::size_t messages = 0;
    std::size_t bytes = 0;
  };
  // Receipts beyond acceptance come later, and messages again; so they are remembered for a while.
  static constexpr std::size_t kRemembered = 4096;
  static constexpr std::size_t kMaxInParts = MessageParts::kMaxMessage;  // else nobody takes it
  static constexpr std::size_t kMaxParts = kMaxOutbox / 2;  // of one message: others have room

  // The message of that ref in the outbox, where refs ascend and those without come last.
  std::deque<Outgoing>::iterator find_outgoing(hub::SenderRef ref) {
    const auto at = std::ranges::lower_bound(outbox_, ref, {}, [](const Outgoing& message) {
      return message.ref.value_or(hub::SenderRef{UINT64_MAX});
    });
    return at == outbox_.end() || at->ref == ref ? at : outbox_.end();
  }
  // Of a message in parts its last one speaks for all, as the hub takes them in order.
  std::optional<HubTicket> last_part_of(hub::SenderRef ref) {
    const auto at = find_outgoing(ref);
    if (at != outbox_.end()) {
      return at->is_last() && !at->given_up ? std::optional(at->ticket) : std::nullopt;
    }
    const auto known = accepted_.find(ref);
    return known == accepted_.end() ? std::nullopt : std::optional(known->second);
  }
  // A step of the connection follows, which uses the room.
  void settle(hub::SenderRef ref) {
    const auto at = find_outgoing(ref);
    if (at == outbox_.end()) return;
    if (at->under_way) --under_way_;
    if (at->is_last() && !at->given_up) accepted_.emplace(ref, at->ticket);
    if (accepted_.size() > kRemembered) accepted_.erase(accepted_.begin());
    outbox_.erase(at);
    changed_.notify_all();
  }

  // What is not under way of that message goes no more, and nothing is told of the rest.
  void give_up(HubTicket ticket) {
    std::size_t under_way = 0;
    for (; under_way < under_way_; ++under_way) {
      Outgoing& message = outbox_[under_way];
      if (message.ticket == ticket) message.given_up = true;
    }
    const auto waiting = outbox_.begin() + static_cast<std::ptrdiff_t>(under_way);
    outbox_.erase(std::remove_if(waiting, outbox_.end(),
                                 [&](const Outgoing& message) { return message.ticket == ticket; }),
                  outbox_.end());
    changed_.notify_all();
  }

  // The loop's thread:
  Backoff backoff_;
  std::optional<crypto::Sha256Digest> pin_;  // of a key that was new
  std::deque<Address> addresses_;            // of the hub, not tried yet
  Connection* connection_ = nullptr;         // the driver owns it
  bool ready_ = false;
  bool was_ready_ = false;
  bool numbered_ = false;
  bool ending_ = false;
  std::uint64_t next_ref_ = 1;
  std::uint64_t last_whole_ = 0;  // the ref of the first part of the message pushed last
  std::map<hub::DeliveryId, Given> given_;
  std::deque<hub::DeliveryId> turns_;  // of given_; oldest first
  std::uint64_t next_turn_ = 0;
  std::optional<Owed> owed_;
  std::uint64_t next_unacknowledged_ = 0;  // a turn; the application has dealt with those before
  std::optional<hub::PresenceMessage> presence_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<HubClientEvent> events_;
  std::deque<Outgoing> outbox_;                   // those under way first
  std::map<hub::SenderRef, HubTicket> accepted_;  // the newest
  std::vector<hub::DeliveryId> received_;         // by the application; the hub does not know yet
  std::size_t under_way_ = 0;
  std::size_t piece_ = 0;     // largest part; 0: the hub knows none
  std::size_t max_data_ = 0;  // of one send()
  std::uint64_t next_ticket_ = 1;
  bool poked_ = false;
  bool gone_ = true;

  net::IoLoop loop_;
  std::unique_ptr<net::StreamLoop> stream_loop_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<net::StreamLoop::Timer> timer_;
  flow::Workers workers_{flow::core_count()};
  std::optional<net::StreamDriver> driver_;
};

bool Connection::wants_input() const { return core().wants_input() && client_.room(); }

std::optional<SteadyTime> Connection::deadline() const {
  auto next = core().deadline();
  for (const auto& other : {look_again_, client_.acknowledge_by()}) {
    if (other && (!next || *other < *next)) next = other;
  }
  return next;
}

void Connection::on_deadline(SteadyTime now) {
  if (look_again_ && *look_again_ <= now) look_again_.reset();
  if (const auto due = client_.acknowledge_by(); due && *due <= now) client_.acknowledge_now();
  if (const auto due = core().deadline(); due && *due <= now) core().on_deadline(now);
}

ByteSpan Connection::next_output() {
  if (opened() && core().paced() && connection().unconfirmed() > 0) {
    if (!look_again_) look_again_ = client_.clock.steady_now() + kPaceInterval;
    return {};
  }
  return core().next_output();
}

void Connection::after_step(SteadyTime now) {
  brief_jobs_ = 0;
  CoreHandler::after_step(now);
  if (!stopped_) {
    client_.push(now);
    CoreHandler::after_step(now);
  }
  if (stopped_ && core().output_size() == 0) connection().close();
}

void Connection::on_event(hub::ClientEvent event, SteadyTime now) {
  if (auto* job = std::get_if<hub::Job>(&event)) {
    // Outcomes must stay in order, so only where none is awaited.
    if (brief_jobs_ < kBriefJobs && connection().jobs() == 0 && hub::is_brief(*job)) {
      ++brief_jobs_;
      return core().job_done(hub::run(*job), now);
    }
    connection().run_job([this, work = std::make_shared<hub::Job>(std::move(*job))] {
      auto result = std::make_shared<hub::JobResult>(hub::run(*work));
      return [this, result] { core().job_done(std::move(*result), client_.clock.steady_now()); };
    });
  } else if (const auto* offered = std::get_if<hub::HubOffered>(&event)) {
    shown_ = offered->fingerprint;
    // Where the pin alone counts the core has refused it, and nobody is to take it for trusted.
    if (offered->asks) {
      core().trust_hub(client_.takes_new_key(offered->fingerprint), now);
    } else if (!offered->pinned && client_.options.connection.trust == hub::HubTrust::kAcceptNew &&
               !client_.takes_new_key(offered->fingerprint)) {
      core().stop(now);
    }
  } else if (const auto* ready = std::get_if<hub::ClientReady>(&event)) {
    client_.ready(*ready, now);
  } else if (auto* incoming = std::get_if<hub::Incoming>(&event)) {
    client_.take_message(std::move(*incoming), now);
  } else if (const auto* receipt = std::get_if<hub::Receipt>(&event)) {
    client_.take_receipt(receipt->receipt);
  } else if (const auto* refused = std::get_if<hub::Refused>(&event)) {
    client_.take_refusal(refused->refusal);
  } else if (auto* states = std::get_if<hub::StatesTold>(&event)) {
    client_.emit(HubStates{std::move(states->states)});
  } else if (const auto* status = std::get_if<hub::HubStatusTold>(&event)) {
    client_.emit(HubStatus{status->status});
  } else if (auto* stopped = std::get_if<hub::ClientStopped>(&event)) {
    stopped_ = std::move(*stopped);
  }
}

void Connection::on_closed(const NetworkError& why, SteadyTime) {
  if (!stopped_) {
    client_.closed(*this, net::to_error(why, client_.options.hub), opened(), false);
    return;
  }
  using hub::ClientStop;
  const ClientStop reason = stopped_->reason;
  // What another try cannot change.
  const bool hopeless = reason == ClientStop::kPinMismatch ||
                        reason == ClientStop::kHubNotTrusted ||
                        reason == ClientStop::kInterception ||
                        reason == ClientStop::kBadChallenge || reason == ClientStop::kNotSealane ||
                        (reason == ClientStop::kByHub &&
                         (stopped_->text == "replaced" || stopped_->text == "removed"));
  client_.closed(*this, to_error(*stopped_, client_.options.hub, shown_), true, hopeless);
}

}  // namespace

Error to_error(const hub::ClientStopped& stopped, const Address& hub,
               const std::optional<crypto::Sha256Digest>& shown) {
  using hub::ClientStop;
  std::string text = "the hub at " + printable(hub.text) + ": ";
  text += describe(stopped.reason);
  if (!stopped.text.empty()) text += " (" + printable(stopped.text) + ")";
  ErrorKind kind = ErrorKind::kFailed;
  switch (stopped.reason) {
    case ClientStop::kHubNotTrusted:
      kind = ErrorKind::kPinMismatch;
      if (shown) text += ": " + fingerprint_text(*shown);
      text +=
          "; compare it with what 'sealane hub status' says there, and take it with "
          "--trust-hub ask, at a terminal, or accept-new";
      break;
    case ClientStop::kPinMismatch:
      kind = ErrorKind::kPinMismatch;
      text +=
          "; if it was changed on purpose, enrol this client again, or remove the hub's line "
          "from $SEALANE_HOME/hub_pins";
      break;
    case ClientStop::kInterception:
    case ClientStop::kNotSealane:
      kind = ErrorKind::kPinMismatch;
      break;
    case ClientStop::kLoginRefused:
    case ClientStop::kAlreadyConnected:
      kind = ErrorKind::kRefused;
      text += "; check that the hub knows this client ('sealane hub clients')";
      break;
    case ClientStop::kByHub:
      kind = ErrorKind::kRefused;
      break;
    default:
      break;
  }
  return {kind, text};
}

std::unique_ptr<HubClient> HubClient::start(Clock& clock, RandomSource& random,
                                            HubClientOptions options) {
  return std::make_unique<Client>(clock, random, std::move(options));
}

}  // namespace sealane::node
