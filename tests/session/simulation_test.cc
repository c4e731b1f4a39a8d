// Goal: whatever the network does, what a channel delivers was sent, unaltered, at most once; and
// once the network has healed, everything goes on. Method: two and three hosts in virtual time; one
// seed draws options, weather, restarts and traffic. SEALANE_SESSION_SEED=N runs one seed alone,
// SEALANE_SESSION_SEEDS=N the first N.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "tests/session/link.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 1'000;
#else
constexpr std::uint64_t kSeeds = 10'000;
#endif

// One direction of one pair: what went in, and what may come out.
struct Flow {
  std::set<std::string> sent;
  std::set<std::string> delivered;
};

// That the weather was bad enough: each of these must have happened.
struct Seen {
  std::uint64_t delivered = 0;
  std::uint64_t restarts = 0;
  std::uint64_t renewals = 0;
  std::uint64_t parked_opened = 0;
  std::uint64_t replays = 0;
  std::uint64_t damaged = 0;
  std::uint64_t late_keys = 0;
};

class World {
 public:
  Seen seen;

  explicit World(std::uint64_t seed) : seed_(seed), link_(seed) {}

  // Empty, or what went wrong.
  std::string run() {
    const bool three = link_.draw(4) == 0;
    Options options;
    options.lossy = link_.draw(2) == 0;
    options.negotiate = link_.draw(3) == 0;
    if (link_.draw(2) == 0) options.payload_size_limit = 400 + link_.draw(1200);
    options.answers_mode = static_cast<AnswersMode>(1 + link_.draw(3));
    if (link_.draw(3) == 0) options.psk = psk();
    options.fragment = link_.draw(2) == 0;
    options.key_update_interval = std::chrono::milliseconds(300 + link_.draw(20'000));
    options.key_update_bytes = link_.draw(4) == 0 ? 5000 : 1 << 30;
    options.retry_interval = std::chrono::milliseconds(100 + link_.draw(1000));
    options.send_delay = std::chrono::microseconds(link_.draw(3) == 0 ? 0 : link_.draw(200));
    options.replay_window = link_.draw(2) == 0 ? 64 : 1024;
    options.overflow = Overflow::kDrop;
    options.keepalive = 2s;
    options.negotiation_timeout = 3s;
    options.peer_kind = link_.draw(3) == 0 ? PeerKind::kSealane : PeerKind::kAny;
    options_ = options;

    const int pairs = three ? 2 : 1;
    for (int pair = 0; pair < pairs; ++pair) {
      // With three hosts the first one holds a session with each of the others.
      link_.join(2 * pair, 2 * pair + 1);
      for (int side = 0; side < 2; ++side) begin(2 * pair + side);
    }
    bad_weather();
    for (int round = 0; round < 40; ++round) {
      chatter(pairs);
      link_.run_for(std::chrono::milliseconds(20 + link_.draw(200)));
      if (link_.draw(12) == 0) bad_weather();
      if (link_.draw(25) == 0) {
        link_.jump_wall(std::chrono::seconds(link_.draw(7200)) - 3600s);
      }
      // A host starts again: its memory is gone, its identity is not.
      if (link_.draw(30) == 0)
        begin(static_cast<int>(link_.draw(2 * static_cast<unsigned>(pairs))));
      if (!problem_.empty()) return problem_;
    }
    link_.weather = {};
    link_.run_for(15s);
    collect();
    // Healed: what is said now arrives, both ways.
    for (int at = 0; at < 2 * pairs; ++at) {
      Node& node = *nodes_[at];
      if (!node.established()) return fail("not established after the network healed", at);
      const std::string text = name(at);
      flow(at).sent.insert(text);
      if (!node.say(MessageType::kReadWrite, text, link_.now())) return fail("send refused", at);
      link_.run_for(1s);
      collect();
      if (!flow(at).delivered.contains(text)) return fail("lost on a good network", at);
      if (!node.session.bound()) return fail("not bound", at);
      count(node);
    }
    return problem_;
  }

 private:
  static std::shared_ptr<const PskKeys> psk() {
    static const auto keys = std::make_shared<const PskKeys>(as_bytes("simulated"));
    return keys;
  }
  // The hosts of a pair; host 0 is in both pairs.
  static std::shared_ptr<const identity::SigningKey> identity_of(int at) {
    static const std::array keys = {shared_identity(1), shared_identity(2), shared_identity(3)};
    return keys[at % 2 == 0 ? 0 : 1 + static_cast<std::size_t>(at / 2)];
  }
  void begin(int at) {
    if (nodes_.contains(at)) {
      collect();
      count(*nodes_[at]);
    }
    Options options = options_;
    auto node =
        std::make_unique<Node>(Identities{identity_of(at), identity_of(at ^ 1)->public_key()},
                               options, seed_ * 100 + ++births_);
    link_.place(at, node.get());
    node->start(link_.now(), link_.wall());
    nodes_[at] = std::move(node);
  }
  void count(const Node& node) {
    const Statistics statistics = node.session.statistics(link_.now());
    seen.delivered += statistics.messages_received;
    seen.restarts += statistics.restarts;
    seen.renewals += statistics.own_renewals;
    seen.parked_opened += statistics.parked_opened;
    seen.replays += statistics.dropped(DropReason::kReplayed);
    seen.damaged += statistics.dropped(DropReason::kDamaged);
    seen.late_keys += statistics.dropped(DropReason::kOldKey);
  }
  void bad_weather() {
    Weather& weather = link_.weather;
    weather = {};
    if (link_.draw(4) == 0) return;
    weather.loss = static_cast<double>(link_.draw(50)) / 100;
    weather.duplication = static_cast<double>(link_.draw(30)) / 100;
    weather.corruption = static_cast<double>(link_.draw(20)) / 100;
    weather.delay = std::chrono::microseconds(100 + link_.draw(100'000));
    weather.jitter = std::chrono::microseconds(link_.draw(200'000));
    if (link_.draw(10) == 0) weather.loss = 1;  // cut
    if (link_.draw(6) == 0) weather.path_packet_size = 700 + link_.draw(900);
  }
  std::string name(int at) { return std::to_string(at) + ":" + std::to_string(++messages_) + ":"; }
  Flow& flow(int from) { return flows_[from]; }
  void chatter(int pairs) {
    for (int at = 0; at < 2 * pairs; ++at) {
      for (std::uint64_t i = link_.draw(4); i > 0; --i) {
        std::string text = name(at);
        const std::size_t size = link_.draw(10) == 0 ? link_.draw(5000) : link_.draw(60);
        while (text.size() < size) text += static_cast<char>('a' + link_.draw(26));
        const auto type = link_.draw(2) == 0
                              ? MessageType::kReadWrite
                              : channel_type(ChannelId{static_cast<std::uint32_t>(link_.draw(9))});
        if (nodes_[at]->say(type, text, link_.now())) {
          flow(at).sent.insert(std::to_string(static_cast<std::uint32_t>(type)) + "/" + text);
        }
      }
    }
    collect();
  }
  void collect() {
    for (auto& [at, node] : nodes_) {
      Flow& from = flow(at ^ 1);
      for (auto& [type, text] : node->received) {
        std::string key = std::to_string(static_cast<std::uint32_t>(type)) + "/" + text;
        if (!from.sent.contains(key)) key = text;  // of the last phase
        if (!from.sent.contains(key)) problem_ = fail("delivered what nobody sent", at);
        if (!from.delivered.insert(key).second) problem_ = fail("delivered twice", at);
      }
      node->received.clear();
      if (node->closed) problem_ = fail("closed", at);
    }
  }
  std::string fail(const std::string& what, int at) {
    std::string text = what + " (place " + std::to_string(at);
    for (const int place : {at, at ^ 1}) {
      const Node& node = *nodes_[place];
      const Statistics statistics = node.session.statistics(link_.now());
      text += ", " + std::string(describe(node.session.state()));
      for (std::size_t i = 0; i < statistics.drops.size(); ++i) {
        if (statistics.drops[i] == 0) continue;
        text += " " + std::string(describe(DropReason{static_cast<std::uint8_t>(i)})) + "=" +
                std::to_string(statistics.drops[i]);
      }
    }
    return text + ")";
  }

  std::uint64_t seed_;
  Link link_;
  Options options_;
  std::map<int, std::unique_ptr<Node>> nodes_;
  std::map<int, Flow> flows_;
  std::string problem_;
  std::uint64_t births_ = 0;
  std::uint64_t messages_ = 0;
};

std::optional<std::uint64_t> from_environment(const char* name) {
  const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return std::nullopt;
  return std::strtoull(text, nullptr, 10);
}

TEST(Simulation, NothingForgedNothingTwiceAndItGoesOn) {
  if (const auto seed = from_environment("SEALANE_SESSION_SEED")) {
    EXPECT_EQ(World(*seed).run(), "") << "seed " << *seed;
    return;
  }
  const std::uint64_t seeds = from_environment("SEALANE_SESSION_SEEDS").value_or(kSeeds);
  std::uint64_t failed = 0;
  Seen seen;
  for (std::uint64_t seed = 1; seed <= seeds && failed < 5; ++seed) {
    World world(seed);
    const std::string problem = world.run();
    EXPECT_EQ(problem, "") << "SEALANE_SESSION_SEED=" << seed;
    if (!problem.empty()) ++failed;
    seen.delivered += world.seen.delivered;
    seen.restarts += world.seen.restarts;
    seen.renewals += world.seen.renewals;
    seen.parked_opened += world.seen.parked_opened;
    seen.replays += world.seen.replays;
    seen.damaged += world.seen.damaged;
    seen.late_keys += world.seen.late_keys;
  }
  if (seeds < 100) return;
  EXPECT_GT(seen.delivered, 50 * seeds);
  EXPECT_GT(seen.restarts, seeds / 10);
  EXPECT_GT(seen.renewals, seeds);
  EXPECT_GT(seen.parked_opened, seeds / 10);
  EXPECT_GT(seen.replays, seeds);
  EXPECT_GT(seen.damaged, seeds);
  EXPECT_GT(seen.late_keys, 0u);
}

// A million packets that were good once, most of them changed.
TEST(Simulation, MutatedPacketsNeitherCrashNorFillTheMemoryNorEndTheSession) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int kPackets = 30'000;
#else
  constexpr int kPackets = 1'000'000;
#endif
  Options options;
  options.payload_size_limit = 1000;
  options.fragment = true;
  options.key_update_interval = 1s;
  TwoNodes nodes(options, 42);
  std::vector<Bytes> good;
  nodes.link.tap([&](int, Bytes& datagram) {
    if (good.size() < 400) {
      good.push_back(datagram);
    } else {
      good[nodes.link.draw(good.size())] = datagram;
    }
    return true;
  });
  ASSERT_TRUE(nodes.establish());
  Link& link = nodes.link;
  for (int i = 0; i < kPackets; ++i) {
    if (i % 1000 == 0) {
      nodes.send(nodes.a, "still here");
      nodes.send(nodes.b, std::string(1500, 'f'));
      link.run_for(100ms);
      nodes.a.received.clear();
      nodes.b.received.clear();
      nodes.a.problems.clear();
      nodes.b.problems.clear();
      ASSERT_TRUE(nodes.a.established() && nodes.b.established()) << i;
    }
    Bytes packet = good[link.draw(good.size())];
    for (std::uint64_t changes = link.draw(4); changes > 0 && !packet.empty(); --changes) {
      switch (link.draw(3)) {
        case 0:
          packet[link.draw(packet.size())] ^= static_cast<std::byte>(1 + link.draw(255));
          break;
        case 1:
          packet.resize(link.draw(packet.size() + 1));
          break;
        default:
          packet.resize(packet.size() + link.draw(100));
      }
    }
    (link.draw(2) == 0 ? nodes.a : nodes.b).receive(packet, link.now());
  }
  link.run_for(5s);
  nodes.a.received.clear();
  nodes.send(nodes.b, "the end");
  link.run_for(1s);
  ASSERT_EQ(nodes.a.received.size(), 1u);
  EXPECT_EQ(nodes.a.received[0].second, "the end");
  // Parked packets, queues and events are bounded by their limits, whatever came.
  EXPECT_LE(nodes.a.session.queued_bytes(), options.send_queue_limit);
}

}  // namespace
}  // namespace sealane::session
