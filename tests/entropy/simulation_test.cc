// Goal: parts that are pushed over a bad network arrive exactly once and never partly, whatever is
// cut, lost, repeated by an attacker, or believed about the time. Method: a sending and a receiving
// host over the simulated network, in virtual time; faults by seed; then the network heals, and
// what the sink got is compared with what was sent. A failure prints its seed.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/backoff.h"
#include "net/stream_driver.h"
#include "tests/entropy/support.h"
#include "tests/support/doubles.h"
#include "tests/support/stream_loop.h"

namespace sealane::entropy {
namespace {

using namespace std::chrono_literals;
using sealane::testing::EventLoop;
using sealane::testing::SeededRandom;
using sealane::testing::SimulatedNetwork;
using sealane::testing::SimulatedStreamLoop;

const Address kServer{"tcp:vault:8105"};

// A clock that may be wrong.
struct HostClock {
  explicit HostClock(EventLoop& the_loop) : loop(the_loop) {}
  WallTime now() const {
    return WallTime{} + 1000h + loop.steady_now().time_since_epoch() + wrong_by;
  }
  EventLoop& loop;
  std::chrono::nanoseconds wrong_by{};
};

// The receiving host: its sink keeps parts, after a while, and sometimes fails.
class Vault {
 public:
  Vault(EventLoop& loop, SimulatedStreamLoop& stream_loop, Network& network, std::uint64_t seed)
      : loop_(loop),
        clock(loop),
        engine_(seed),
        driver_(stream_loop, network),
        keys_(testing::test_keys()) {
    restart();
    listener_ =
        std::move(driver_
                      .listen(kServer, {},
                              [this](const Address&) { return std::make_unique<Handler>(*this); })
                      .value());
  }
  // Forgets what it received.
  void restart() {
    memory_ = std::make_shared<ReplayMemory>(ReplayMemory::Rules{10min, clock.now()});
  }

  std::map<std::uint32_t, std::vector<Bytes>> applied;  // by part, each time
  std::map<Reason, int> refused;

 private:
  class Handler final : public net::StreamHandler {
   public:
    explicit Handler(Vault& vault) : vault_(vault), memory_(vault.memory_) {
      Receiver::Setup setup;
      setup.keys = &vault.keys_;
      setup.secrets.push_back(testing::test_secret());
      setup.memory = memory_.get();
      setup.wall = vault.clock.now();
      core_ = std::make_shared<Receiver>(std::move(setup), vault.loop_.steady_now());
    }
    std::size_t receive(ByteSpan bytes, SteadyTime now) override {
      return core_->receive(bytes, now);
    }
    void on_end(SteadyTime now) override { core_->on_end(now); }
    ByteSpan next_output() override { return core_->next_output(); }
    void output_sent(std::size_t size) override { core_->output_sent(size); }
    std::optional<SteadyTime> deadline() const override { return core_->deadline(); }
    void on_deadline(SteadyTime now) override { core_->on_deadline(now); }
    bool wants_input() const override { return core_->wants_input(); }
    void on_open(net::StreamConnection& connection, SteadyTime) override {
      connection_ = &connection;
    }
    void after_step(SteadyTime) override {
      while (auto event = core_->next_event()) {
        if (const auto* header = std::get_if<Receiver::Header>(&*event)) {
          part_ = header->extension->part;
        } else if (const auto* plaintext = std::get_if<Receiver::Plaintext>(&*event)) {
          content_.insert(content_.end(), plaintext->bytes.begin(), plaintext->bytes.end());
        } else if (const auto* why = std::get_if<Receiver::Refused>(&*event)) {
          ++vault_.refused[why->reason];
          if (connection_ != nullptr) connection_->close();
        } else {
          apply();
        }
      }
    }
    void on_closed(const NetworkError& why, SteadyTime now) override {
      connection_ = nullptr;
      if (why.code == NetworkErrorCode::kReset) core_->on_reset(now);
      after_step(now);
    }

   private:
    // The work outlives the connection, and keeps the core: it knows what is being applied.
    void apply() {
      const auto wait = std::chrono::milliseconds(vault_.engine_() % 2000);
      const bool fails = vault_.engine_() % 5 == 0;
      const bool half = vault_.engine_() % 2 == 0;
      auto alive = std::make_shared<bool>(true);
      alive_ = alive;
      vault_.loop_.at(vault_.loop_.steady_now() + wait,
                      [&vault = vault_, core = core_, memory = memory_, part = part_,
                       content = std::move(content_), fails, half, self = this, alive]() mutable {
                        if (!fails || half) vault.applied[part].push_back(std::move(content));
                        // Failing after the work: the sender does not learn that it was done.
                        core->applied(
                            {fails ? AckStatus::kSinkFailed : AckStatus::kApplied, 1, 0, 0},
                            vault.loop_.steady_now());
                        if (fails && half) ++vault.done_but_failed[part];
                        if (*alive) self->done();
                      });
    }
    void done() {
      if (connection_ != nullptr) connection_->close();
    }

   public:
    ~Handler() override {
      if (alive_) *alive_ = false;
    }

   private:
    Vault& vault_;
    std::shared_ptr<ReplayMemory> memory_;
    std::shared_ptr<Receiver> core_;
    net::StreamConnection* connection_ = nullptr;
    std::uint32_t part_ = 0;
    Bytes content_;
    std::shared_ptr<bool> alive_;
  };

  EventLoop& loop_;

 public:
  HostClock clock;
  std::map<std::uint32_t, int> done_but_failed;

 private:
  std::mt19937_64 engine_;
  net::StreamDriver driver_;
  ChunkKeys keys_;
  std::shared_ptr<ReplayMemory> memory_;
  std::unique_ptr<net::StreamListener> listener_;
};

// The sending host: each part again and again until its answer says that it was applied.
class Shop {
 public:
  Shop(EventLoop& loop, SimulatedStreamLoop& stream_loop, Network& network, std::uint64_t seed,
       std::vector<Bytes> all)
      : parts(std::move(all)),
        clock(loop),
        loop_(loop),
        random_(seed),
        driver_(stream_loop, network),
        keys_(testing::test_keys()),
        secret_(testing::test_secret()) {
    random_.fill(snapshot_);
    for (std::uint32_t i = 0; i < parts.size(); ++i) push(i);
  }
  bool all_acknowledged() const { return acknowledged.size() == parts.size(); }

  const std::vector<Bytes> parts;
  HostClock clock;
  std::set<std::uint32_t> acknowledged;
  std::vector<Bytes> recordings;  // of whole streams, as an attacker on the way has them
  int attempts = 0;

 private:
  class Handler final : public net::StreamHandler {
   public:
    Handler(Shop& shop, std::uint32_t part, SenderSetup setup)
        : shop_(shop),
          part_(part),
          setup_(setup),
          core_(setup, shop.loop_.steady_now()),
          encoder_(setup.buffer_size, &shop.keys_) {}
    std::size_t receive(ByteSpan bytes, SteadyTime now) override {
      return core_.receive(bytes, now);
    }
    void on_end(SteadyTime now) override { core_.on_end(now); }
    ByteSpan next_output() override { return core_.next_output(); }
    void output_sent(std::size_t size) override {
      core_.output_sent(size, shop_.loop_.steady_now());
    }
    std::optional<SteadyTime> deadline() const override { return core_.deadline(); }
    void on_deadline(SteadyTime now) override { core_.on_deadline(now); }
    bool wants_input() const override { return core_.wants_input(); }
    void on_open(net::StreamConnection& connection, SteadyTime) override {
      connection_ = &connection;
    }
    void after_step(SteadyTime now) override {
      while (const std::size_t size = core_.claim_plaintext()) {
        core_.supply(encoder_.encode_reusing(core_.take_spent(),
                                             ByteSpan(shop_.parts[part_]).subspan(at_, size)),
                     now);
        at_ += size;
      }
      while (auto event = core_.next_event()) {
        if (std::holds_alternative<Sender::OutputEnd>(*event)) {
          if (connection_ != nullptr) connection_->finish_output();
          continue;
        }
        const auto& finished = std::get<Sender::Finished>(*event);
        if (finished.acknowledgement && finished.acknowledgement->status == AckStatus::kApplied) {
          shop_.acknowledged.insert(part_);
        }
        if (connection_ != nullptr) connection_->close();
      }
    }
    void on_closed(const NetworkError& why, SteadyTime now) override {
      connection_ = nullptr;
      if (why.code != NetworkErrorCode::kClosed) core_.on_reset(now);
      after_step(now);
      shop_.recordings.push_back(testing::encode_stream(setup_, shop_.parts[part_], shop_.keys_));
      if (shop_.acknowledged.contains(part_)) return;
      shop_.loop_.at(now + shop_.backoff_.next(shop_.random_),
                     [&shop = shop_, part = part_] { shop.push(part); });
    }

   private:
    Shop& shop_;
    const std::uint32_t part_;
    SenderSetup setup_;
    Sender core_;
    ChunkEncoder encoder_;
    std::size_t at_ = 0;
    net::StreamConnection* connection_ = nullptr;
  };

  void push(std::uint32_t part) {
    ++attempts;
    SenderSetup setup;
    setup.buffer_size = 256;
    setup.total = parts[part].size();
    setup.extension.emplace();
    setup.extension->snapshot = snapshot_;
    setup.extension->part = part;
    setup.extension->created_ms = static_cast<std::uint64_t>(
        std::chrono::floor<std::chrono::milliseconds>(clock.now().time_since_epoch()).count());
    setup.extension->digest = crypto::sha256(parts[part]);
    setup.secret = &secret_;
    driver_.dial(kServer, loop_.steady_now() + 5s, {},
                 std::make_unique<Handler>(*this, part, std::move(setup)));
  }

  EventLoop& loop_;
  SeededRandom random_;
  Backoff backoff_{500ms, 10s};
  net::StreamDriver driver_;
  ChunkKeys keys_;
  ClusterSecret secret_;
  SnapshotId snapshot_{};
};

// Sends a recording, whole or not, and looks at nothing.
class Replayer final : public net::StreamHandler {
 public:
  explicit Replayer(Bytes stream) : stream_(std::move(stream)) {}
  std::size_t receive(ByteSpan bytes, SteadyTime) override { return bytes.size(); }
  void on_end(SteadyTime) override {}
  ByteSpan next_output() override { return ByteSpan(stream_).subspan(sent_); }
  void output_sent(std::size_t size) override { sent_ += size; }
  std::optional<SteadyTime> deadline() const override { return std::nullopt; }
  void on_deadline(SteadyTime) override {}
  bool wants_input() const override { return true; }
  void on_open(net::StreamConnection& connection, SteadyTime) override {
    connection.finish_output();
  }
  void after_step(SteadyTime) override {}
  void on_closed(const NetworkError&, SteadyTime) override {}

 private:
  Bytes stream_;
  std::size_t sent_ = 0;
};

struct World {
  World(std::uint64_t the_seed, std::size_t part_count)
      : seed(the_seed),
        engine(the_seed),
        network(loop, the_seed),
        stream_loop(loop),
        vault(loop, stream_loop, network.host("vault"), the_seed),
        attacker(stream_loop, network.host("attacker")),
        shop(loop, stream_loop, network.host("shop"), the_seed, make_parts(part_count)) {
    network.set_link("shop", "vault", {.max_segment = 1 + the_seed * 131 % 1460});
  }
  std::vector<Bytes> make_parts(std::size_t count) {
    std::vector<Bytes> out;
    for (std::size_t i = 0; i < count; ++i) {
      out.push_back(testing::random_bytes(engine() % 4 == 0 ? engine() % 3 : engine() % 20'000,
                                          seed * 100 + i));
    }
    return out;
  }
  void disturb(bool clocks) {
    switch (engine() % (clocks ? 7 : 5)) {
      case 0:
      case 1:
        network.cut("shop", "vault");
        break;
      case 2:
        network.partition("shop", "vault");
        break;
      case 3:
        network.heal("shop", "vault");
        break;
      case 4:
        if (!shop.recordings.empty()) {
          Bytes stream = shop.recordings[engine() % shop.recordings.size()];
          if (engine() % 3 == 0) stream.resize(engine() % (stream.size() + 1));
          if (engine() % 3 == 0 && !stream.empty()) {
            stream[engine() % stream.size()] ^= std::byte{0x20};
          }
          attacker.dial(kServer, loop.steady_now() + 5s, {},
                        std::make_unique<Replayer>(std::move(stream)));
        }
        break;
      default:
        (engine() % 2 == 0 ? shop.clock : vault.clock).wrong_by =
            std::chrono::minutes(engine() % 41) - 20min;
        break;
    }
  }
  void run_disturbed(bool clocks) {
    for (int i = 0; i < 60; ++i) {
      loop.run_until(loop.steady_now() + std::chrono::milliseconds(engine() % 400));
      disturb(clocks);
    }
    network.heal("shop", "vault");
    shop.clock.wrong_by = {};
    vault.clock.wrong_by = {};
    for (int i = 0; i < 400 && !shop.all_acknowledged(); ++i) {
      loop.run_until(loop.steady_now() + 5s);
    }
  }

  std::uint64_t seed;
  std::mt19937_64 engine;
  EventLoop loop;
  SimulatedNetwork network;
  SimulatedStreamLoop stream_loop;
  Vault vault;
  net::StreamDriver attacker;
  Shop shop;
};

class Simulation : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Simulation, PartsArriveOnceAndWhole) {
  World world(GetParam(), 8);
  world.run_disturbed(true);
  ASSERT_TRUE(world.shop.all_acknowledged()) << "seed " << GetParam();
  for (std::uint32_t part = 0; part < world.shop.parts.size(); ++part) {
    const auto& times = world.vault.applied[part];
    // A sink that did its work and said it failed is asked again: that is all that may repeat.
    EXPECT_EQ(times.size(), 1u + static_cast<std::size_t>(world.vault.done_but_failed[part]))
        << "seed " << GetParam() << " part " << part;
    for (const Bytes& content : times) {
      EXPECT_EQ(content, world.shop.parts[part]) << "seed " << GetParam() << " part " << part;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, Simulation, ::testing::Range<std::uint64_t>(1, 31));

// A receiver that starts anew does not remember, so parts may come again from their sender; but
// nothing that was recorded before counts any more.
TEST(SimulationOfRestarts, RecordingsOfTheTimeBeforeAreRefused) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    World world(seed, 4);
    world.run_disturbed(false);
    ASSERT_TRUE(world.shop.all_acknowledged()) << "seed " << seed;
    world.loop.run_until(world.loop.steady_now() + 1s);
    world.vault.restart();
    const auto before = world.vault.applied;
    for (const Bytes& recording : world.shop.recordings) {
      world.attacker.dial(kServer, world.loop.steady_now() + 5s, {},
                          std::make_unique<Replayer>(recording));
      world.loop.run_until(world.loop.steady_now() + 5s);
    }
    EXPECT_EQ(world.vault.applied, before) << "seed " << seed;
    EXPECT_GE(world.vault.refused[Reason::kStale], 4) << "seed " << seed;
  }
}

}  // namespace
}  // namespace sealane::entropy
