// Goal: the promises of the mailbox hold whatever happens: connections cut at any moment, disks
// that fail, a hub that is killed. Method: clients that number, resend and acknowledge as the
// header says, a store that keeps exactly what it committed, and chance with a printed seed.
#include <gtest/gtest.h>

#include <random>

#include "mailbox/mailbox.h"
#include "tests/support/doubles.h"

namespace sealane::mailbox {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kClients = 100;
constexpr std::size_t kSteps = 1'500;

ClientId id_of(std::size_t number) {
  ClientId id;
  id.bytes[14] = static_cast<std::byte>(number >> 8);
  id.bytes[15] = static_cast<std::byte>(number);
  return id;
}

// A client as the promises want it: it numbers what it sends, hands in again what was not accepted,
// and remembers the highest id that it took. It outlives the hub.
struct SimulatedClient {
  std::optional<SessionId> session;
  std::uint64_t next_ref = 1;
  std::map<std::uint64_t, std::pair<std::size_t, std::string>> unaccepted;  // by number
  std::uint64_t highest_id = 0;
  std::uint64_t acknowledged_id = 0;
  std::vector<std::string> taken;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : draw_(seed), disk_fails_(seed % 2 == 1) { start_hub(); }

  void run() {
    for (std::size_t step = 0; step < kSteps; ++step) {
      one_step();
      pump();
      if (::testing::Test::HasFailure()) return;
    }
    settle();
    check_end();
  }
  std::uint64_t crashes() const { return crashes_; }

 private:
  std::size_t below(std::size_t limit) { return draw_() % limit; }
  SteadyTime now() const { return clock_.steady_now(); }
  WallTime wall() const { return clock_.wall_now(); }

  void start_hub() {
    Options options;
    options.offline = OfflinePolicy::kDurable;
    options.client_queue_messages = 40;
    options.in_flight_messages = 4;
    hub_.emplace(options, MessageId{++starts_ << 40}, now(), wall());
    for (std::size_t i = 0; i < kClients; ++i) {
      ASSERT_TRUE(hub_->add_client(id_of(i), {}, now(), wall()));
    }
    StoredState state;
    for (const auto& [id, message] : stored_) state.messages.push_back(message);
    for (const auto& [id, window] : windows_) state.windows.emplace_back(id, window);
    hub_->restore(std::move(state), now(), wall());
  }

  void crash() {
    ++crashes_;
    // What was under way is committed, or it is not.
    if (under_way_ && below(2) == 0) commit(*under_way_);
    under_way_.reset();
    for (SimulatedClient& client : clients_) client.session.reset();
    start_hub();
  }

  void commit(const StoreBatch& batch) {
    for (const ClientId& id : batch.forgotten) windows_.erase(id);
    for (const Message& message : batch.added) stored_[message.id] = message;
    for (const MessageId id : batch.removed) stored_.erase(id);
    for (const auto& [id, window] : batch.windows) windows_[id] = window;
  }

  void send(std::size_t from, std::uint64_t ref) {
    SimulatedClient& client = clients_[from];
    const auto& [to, text] = client.unaccepted.at(ref);
    hub_->submit(*client.session,
                 {.to = id_of(to),
                  .ref = SenderRef{ref},
                  .data = std::make_shared<const Bytes>(to_bytes(text))},
                 now(), wall());
  }

  void one_step() {
    clock_.advance(milliseconds(below(50)));
    const std::size_t who = below(kClients);
    SimulatedClient& client = clients_[who];
    const std::size_t what = below(100);
    if (what < 50) {
      if (!client.session) {
        connect(who);
        return;
      }
      // A few recipients get most, so that queues fill.
      const std::size_t to = below(4) == 0 ? below(kClients) : below(5);
      const std::uint64_t ref = client.next_ref++;
      std::string text = std::to_string(who);
      text += ':' + std::to_string(ref) + '>' + std::to_string(to);
      client.unaccepted[ref] = {to, std::move(text)};
      send(who, ref);
    } else if (what < 65) {
      connect(who);  // also while it is connected: a takeover
    } else if (what < 75) {
      if (client.session) hub_->disconnect(*client.session, wall());
      client.session.reset();
    } else if (what < 90) {
      read(who, below(6));
    } else if (what < 92) {
      // Within less than a message's lifetime in all: a start believes the clock that it finds.
      const std::chrono::hours offset = std::chrono::hours(below(160)) - std::chrono::hours(80);
      clock_.jump_wall(offset - wall_offset_);
      wall_offset_ = offset;
    } else if (what < 99) {
      step_store(!disk_fails_ || below(10) != 0);
    } else {
      crash();
    }
  }

  void connect(std::size_t who) {
    SimulatedClient& client = clients_[who];
    const auto session =
        hub_->connect(id_of(who), {.acknowledges = true, .notices = true}, now(), wall());
    if (!session.has_value()) return;  // too many takeovers
    client.session = session.value();
    for (const auto& [ref, what] : std::map(client.unaccepted)) send(who, ref);
  }

  // Reads up to `count` things; acknowledges messages some time later.
  void read(std::size_t who, std::size_t count) {
    SimulatedClient& client = clients_[who];
    if (!client.session) return;
    for (std::size_t i = 0; i < count; ++i) {
      const auto item = hub_->next_item(*client.session);
      if (!item) break;
      take(who, *item);
    }
    if (client.highest_id > client.acknowledged_id && below(2) == 0) {
      client.acknowledged_id = client.highest_id;
      // It may not be under way in this session, if it was taken in an earlier one.
      static_cast<void>(hub_->acknowledge(*client.session, MessageId{client.highest_id}));
    }
  }

  void take(std::size_t who, const Item& item) {
    SimulatedClient& client = clients_[who];
    if (const auto* message = std::get_if<Message>(&item)) {
      const auto id = static_cast<std::uint64_t>(message->id);
      EXPECT_EQ(message->recipient, id_of(who));
      if (id <= client.highest_id) {  // again: acknowledge it again
        static_cast<void>(hub_->acknowledge(*client.session, message->id));
        return;
      }
      client.highest_id = id;
      client.taken.push_back(std::string(as_text(*message->data)));
    } else if (const auto* receipt = std::get_if<Receipt>(&item)) {
      if (receipt->kind != ReceiptKind::kAccepted) return;
      const auto found = client.unaccepted.find(static_cast<std::uint64_t>(receipt->ref));
      if (found == client.unaccepted.end()) return;  // accepted twice, which is no harm
      accepted_.insert(found->second.second);
      client.unaccepted.erase(found);
    } else if (const auto* error = std::get_if<ErrorNotice>(&item)) {
      // Refused: this client gives it up, and it must never arrive.
      const auto found = client.unaccepted.find(static_cast<std::uint64_t>(*error->ref));
      if (found == client.unaccepted.end()) return;
      if (error->refusal == Refusal::kStorage) return;  // handed in again at the next connection
      refused_.insert(found->second.second);
      client.unaccepted.erase(found);
    }
  }

  void step_store(bool works) {
    if (under_way_) {
      if (works) commit(*under_way_);
      hub_->batch_done(under_way_->number, works, now());
      under_way_.reset();
    }
    under_way_ = hub_->next_batch(now());
  }

  void pump() {
    while (auto event = hub_->next_event()) {
      const auto* ended = std::get_if<SessionEnded>(&*event);
      if (ended == nullptr) continue;
      for (SimulatedClient& client : clients_) {
        if (client.session == ended->session) client.session.reset();
      }
      hub_->disconnect(ended->session, wall());
    }
    if (hub_->deadline() && *hub_->deadline() <= now()) hub_->on_deadline(now());
  }

  // Everybody comes, and all goes well until nothing moves any more.
  void settle() {
    for (int round = 0; round < 60; ++round) {
      clock_.advance(Mailbox::kStoreRetry);
      for (std::size_t who = 0; who < kClients; ++who) {
        if (round % 20 == 0 || !clients_[who].session) connect(who);
      }
      for (int turn = 0; turn < 4; ++turn) {
        step_store(true);
        pump();
        for (std::size_t who = 0; who < kClients; ++who) {
          SimulatedClient& client = clients_[who];
          if (!client.session) continue;
          while (auto item = hub_->next_item(*client.session)) {
            take(who, *item);
            if (const auto* message = std::get_if<Message>(&*item)) {
              static_cast<void>(hub_->acknowledge(*client.session, message->id));  // or again
            }
          }
        }
      }
    }
    step_store(true);
    step_store(true);
  }

  void check_end() {
    std::set<std::string> arrived;
    for (std::size_t who = 0; who < kClients; ++who) {
      EXPECT_TRUE(clients_[who].unaccepted.empty()) << who;
      std::map<std::string, std::uint64_t> last;  // by sender
      for (const std::string& text : clients_[who].taken) {
        EXPECT_TRUE(arrived.insert(text).second) << text << " came twice";
        EXPECT_FALSE(refused_.contains(text)) << text << " was refused and came";
        const std::string sender = text.substr(0, text.find(':'));
        const std::uint64_t ref = std::stoull(text.substr(text.find(':') + 1));
        // Only what is handed in again after a failed disk may come after younger ones.
        EXPECT_TRUE(disk_fails_ || ref > last[sender]) << text << " after " << last[sender];
        last[sender] = ref;
      }
    }
    for (const std::string& text : accepted_) EXPECT_TRUE(arrived.contains(text)) << text;
    const Totals totals = hub_->totals();
    EXPECT_EQ(totals.queued_messages, 0u);
    EXPECT_EQ(totals.queued_bytes, 0u);
    EXPECT_TRUE(stored_.empty());
  }

  std::mt19937_64 draw_;
  const bool disk_fails_;
  testing::ManualClock clock_{WallTime(std::chrono::hours(24 * 365 * 56))};
  std::optional<Mailbox> hub_;
  std::uint64_t starts_ = 0;
  std::uint64_t crashes_ = 0;
  std::chrono::hours wall_offset_{0};
  std::vector<SimulatedClient> clients_ = std::vector<SimulatedClient>(kClients);
  std::set<std::string> accepted_;
  std::set<std::string> refused_;
  std::optional<StoreBatch> under_way_;
  std::map<MessageId, Message> stored_;
  std::map<ClientId, RefWindow> windows_;
};

TEST(MailboxSimulation, ExactlyOnceWhateverHappens) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::uint64_t kSeeds = 40;  // the rest in the release build
#else
  constexpr std::uint64_t kSeeds = 1'000;
#endif
  std::uint64_t crashes = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.run();
    crashes += simulation.crashes();
    if (HasFailure()) return;
  }
  EXPECT_GT(crashes, kSeeds);  // it did try
}

}  // namespace
}  // namespace sealane::mailbox
