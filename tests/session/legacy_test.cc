// Goal: nothing that a session sends ends a legacy peer, and what that one sends is understood.
// Method: the model of legacy_peer.h, which dies of what the real one dies of; the handshake of the
// published vectors.
#include <gtest/gtest.h>

#include "tests/session/legacy_peer.h"
#include "tests/session/vectors.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

constexpr auto kReadWrite = MessageType::kReadWrite;

struct Pair {
  Pair(Options options, const LegacyOptions& legacy_options, std::uint64_t seed = 1)
      : link(seed),
        identity_a(shared_identity(100)),
        identity_b(shared_identity(200)),
        a({identity_a, identity_b->public_key()}, std::move(options), seed),
        b(*identity_b, identity_a->public_key(), legacy_options, seed + 1000) {
    link.join(0, 1);
    link.place(0, &a);
    link.place(1, &b);
  }
  bool establish(std::chrono::nanoseconds within = 10s) {
    a.start(link.now(), link.wall());
    b.start(link.now(), link.wall());
    return link.run_for(within, [this] { return a.established() && b.established; });
  }
  Link link;
  std::shared_ptr<const identity::SigningKey> identity_a;
  std::shared_ptr<const identity::SigningKey> identity_b;
  Node a;
  LegacyPeer b;
};

TEST(Legacy, TalksInEachModeWithAndWithoutPsk) {
  for (const auto mode :
       {AnswersMode::kAnswerAndWait, AnswersMode::kAnswer, AnswersMode::kDisabled}) {
    for (const bool with_psk : {false, true}) {
      for (const bool lossy : {false, true}) {
        SCOPED_TRACE(static_cast<int>(mode) * 100 + with_psk * 10 + lossy);
        Options options;
        options.answers_mode = mode;
        options.lossy = lossy;
        LegacyOptions legacy{.mode = mode, .negotiate = lossy};
        if (lossy) legacy.payload_size_limit = 1392;
        if (with_psk) {
          options.psk = std::make_shared<const PskKeys>(as_bytes("psk"));
          legacy.psk = options.psk;
        }
        Pair pair(options, legacy);
        EXPECT_TRUE(pair.establish());
        EXPECT_FALSE(pair.a.session.peer_is_sealane());
        for (int i = 0; i < 200; ++i) {
          pair.a.say(kReadWrite, "question", pair.link.now());
          pair.b.write("answer", channel_type(ChannelId{3}));
          pair.link.run_for(1s);  // through several renewals of both
        }
        pair.link.run_for(1s);
        EXPECT_EQ(pair.b.death, "");
        EXPECT_EQ(pair.b.received.size(), 200u);
        EXPECT_EQ(pair.a.received.size(), 200u);
        pair.a.session.close(pair.link.now());
        pair.link.run_for(1s);
        EXPECT_EQ(pair.b.death, "");
      }
    }
  }
}

TEST(Legacy, SurvivesAThousandRenewalsOfBoth) {
  Options options;
  options.key_update_interval = 50ms;
  Pair pair(options, {.update_interval = 50ms});
  ASSERT_TRUE(pair.establish());
  for (int i = 0; i < 2100; ++i) {
    pair.a.say(kReadWrite, "a", pair.link.now());
    pair.b.write("b");
    pair.link.run_for(25ms);
  }
  EXPECT_EQ(pair.b.death, "");
  EXPECT_GT(pair.b.renewals, 1000u);
  EXPECT_GT(pair.a.session.statistics(pair.link.now()).own_renewals, 900u);
  EXPECT_EQ(pair.b.received.size(), 2100u);
  EXPECT_EQ(pair.a.received.size(), 2100u);
}

TEST(Legacy, SurvivesLostKeyExchange) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Options options;
    options.lossy = true;
    options.negotiate = false;
    options.payload_size_limit = 1392;
    options.key_update_interval = 5s;
    Pair pair(options, {.payload_size_limit = 1392, .update_interval = 7s}, seed);
    // What is lost is our key exchange and its answers: the rest would die of its own key switch.
    pair.link.tap([&](int from, Bytes& datagram) {
      const auto message = key_exchange_in(datagram);
      if (message && (from == 0 || message->is_answer())) return !pair.link.chance(0.4);
      return true;
    });
    EXPECT_TRUE(pair.establish(30s)) << seed;
    for (int i = 0; i < 60; ++i) {
      pair.a.say(kReadWrite, "a", pair.link.now());
      pair.link.run_for(1s);
    }
    EXPECT_EQ(pair.b.death, "") << seed;
    EXPECT_EQ(pair.b.received.size(), 60u) << seed;
  }
}

TEST(Legacy, ItsDataAheadOfItsKeyIsNotLost) {
  Pair pair({}, {.update_interval = 3s});
  ASSERT_TRUE(pair.establish());
  pair.link.tap([&](int from, Bytes& datagram) {
    if (from != 1 || !key_exchange_in(datagram)) return true;
    pair.link.deliver(0, datagram, 300ms);
    return false;
  });
  for (int i = 0; i < 100; ++i) {
    pair.b.write(std::to_string(i));
    pair.link.run_for(100ms);
  }
  pair.link.run_for(1s);
  EXPECT_EQ(pair.a.received.size(), 100u);
  EXPECT_GT(pair.a.session.statistics(pair.link.now()).parked_opened, 5u);
}

TEST(Legacy, FragmentsKeepItsRules) {
  Options options;
  options.payload_size_limit = 1000;
  options.fragment = true;
  Pair pair(options, {.payload_size_limit = 1000});
  ASSERT_TRUE(pair.establish());
  std::vector<std::string> sent;
  // Lengths that go down: each needs a slot that has not held a longer one.
  for (const std::size_t size : {60'000u, 5'000u, 60'000u, 2'000u, 5'000u, 1'001u, 65'536u}) {
    sent.emplace_back(size, static_cast<char>('a' + sent.size()));
    ASSERT_TRUE(
        pair.a.session.send(kReadWrite, as_bytes(sent.back()), pair.link.now()).has_value());
    pair.a.say(channel_type(ChannelId{1}), "between", pair.link.now());
    pair.link.run_for(100ms);
  }
  pair.link.run_for(1s);
  EXPECT_EQ(pair.b.death, "");
  std::vector<std::string> large;
  for (const auto& [type, text] : pair.b.received) {
    if (type == kReadWrite) large.push_back(text);
  }
  EXPECT_EQ(large, sent);
}

TEST(Legacy, ItsFragmentsInTheClearAreTakenOnlyOnWish) {
  for (const bool allowed : {false, true}) {
    for (const bool clear : {false, true}) {
      Options options;
      options.payload_size_limit = 1000;
      options.accept_plain_fragments = allowed;
      Pair pair(options, {.payload_size_limit = 1000, .fragments_in_the_clear = clear});
      ASSERT_TRUE(pair.establish());
      pair.link.weather.jitter = 2ms;  // they come in any order
      pair.b.write(std::string(20'000, 'f'));
      pair.link.run_for(1s);
      EXPECT_EQ(pair.a.received.size(), clear && !allowed ? 0u : 1u);
      EXPECT_EQ(pair.a.dropped(DropReason::kNotKeyExchange) > 0, clear && !allowed);
    }
  }
}

TEST(Legacy, ItsRestartIsFollowedWithoutKillingIt) {
  for (const bool talks : {false, true}) {
    Options options;
    options.lossy = true;
    options.payload_size_limit = 1392;
    options.negotiate = false;
    Pair pair(options, {.payload_size_limit = 1392});
    ASSERT_TRUE(pair.establish());
    pair.link.run_for(10s);
    LegacyPeer reborn(*pair.identity_b, pair.identity_a->public_key(), {.payload_size_limit = 1392},
                      4711);
    pair.link.place(1, &reborn);
    reborn.start(pair.link.now(), pair.link.wall());
    if (talks) reborn.write("here again");
    pair.link.run_for(100ms);
    pair.a.say(kReadWrite, "hello?", pair.link.now());
    pair.link.run_for(5s);
    EXPECT_EQ(reborn.death, "") << talks;
    EXPECT_EQ(pair.a.restarts, 1);
    EXPECT_EQ(reborn.received.size(), 1u);
    EXPECT_EQ(pair.a.received.size(), talks ? 1u : 0u);
  }
}

TEST(Legacy, NothingIsSaidToItThatItDoesNotKnow) {
  // The model dies of any message of an extension.
  Options options;
  options.keepalive = 100ms;
  Pair pair(options, {});
  ASSERT_TRUE(pair.establish());
  pair.link.run_for(70s);
  pair.a.session.close(pair.link.now());
  pair.link.run_for(1s);
  EXPECT_EQ(pair.b.death, "");
}

// ---- the published handshake --------------------------------------------------------------------

// Gives what is written down, then nothing more.
class ScriptedRandom final : public RandomSource {
 public:
  explicit ScriptedRandom(Bytes script) : script_(std::move(script)) {}
  void fill(MutableByteSpan out) override {
    SEALANE_CHECK(out.size() <= script_.size() - at_);
    std::copy_n(script_.begin() + static_cast<std::ptrdiff_t>(at_), out.size(), out.begin());
    at_ += out.size();
  }

 private:
  Bytes script_;
  std::size_t at_ = 0;
};

TEST(Legacy, TheHandshakeIsThatOfTheVectorsFromBothSides) {
  const auto& steps = vectors()["handshake"]["steps"];
  for (const std::size_t me : {0u, 1u}) {
    const auto& mine = vectors()["sides"][me];
    const auto& theirs = vectors()["sides"][1 - me];
    ScriptedRandom random(hex(mine["x25519"][0]["private_clamped"]));
    const auto own = std::make_shared<const identity::SigningKey>(
        crypto::Ed25519Seed(hex_array<32>(mine["ed25519_seed"])), "");
    Options options;
    options.peer_kind = PeerKind::kLegacy;
    Session session({own, crypto::Ed25519Public{hex_array<32>(theirs["ed25519_public"])}}, options,
                    random);
    SteadyTime now{};
    ASSERT_TRUE(
        session.start(session_id_of(mine["name"].get<std::string>()), now, WallTime{}).has_value());
    std::vector<Bytes> said;
    std::vector<std::string> heard;
    const auto drain = [&] {
      while (const auto event = session.next_event()) {
        if (const auto* message = std::get_if<Received>(&*event)) {
          heard.push_back(to_text(message->payload));
        }
      }
      while (const auto out = session.next_output()) {
        said.push_back(to_bytes(out->second));
        session.output_sent();
      }
    };
    drain();
    for (const auto& step : steps) {
      if (step["sender"] == mine["name"]) continue;
      session.receive(PathId{0}, hex(step["wire"]), now);
      drain();
    }
    EXPECT_EQ(session.state(), SessionState::kEstablished);
    EXPECT_EQ(heard, std::vector<std::string>{"hello, secureio"});
    // The request is the very packet; of the answer the id differs, since ours have no gaps.
    ASSERT_EQ(said.size(), 2u);
    for (const auto& step : steps) {
      if (step["sender"] != mine["name"] || step["mode"] != "plain") continue;
      const bool request = step["packet_id"].get<int>() == 1;
      const Bytes payload = hex(step["messages"][0]["payload"]);
      const Bytes& packet = said[request ? 0 : 1];
      EXPECT_EQ(Bytes(packet.begin() + kPacketHeaderSize + kMessageHeaderSize, packet.end()),
                payload);
      if (request) {
        EXPECT_EQ(packet, hex(step["wire"]));
      }
    }
  }
}

}  // namespace
}  // namespace sealane::session
