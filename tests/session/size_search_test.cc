// Goal: the search for the packet size always ends, near the truth, and answers a legacy peer so
// that it ends too. Method: paths of many sizes, loss, sizes refused locally, a path that shrinks;
// the ladders of the published vectors with the legacy model asking.
#include "session/size_search.h"

#include <gtest/gtest.h>

#include "session/binding.h"
#include "tests/session/legacy_peer.h"
#include "tests/session/vectors.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

Options udp() {
  Options options;
  options.lossy = true;
  return options;
}

TEST(SizeSearch, FindsThePathsSize) {
  for (std::size_t payload : {360u, 400u, 523u, 562u, 977u, 1000u, 1219u, 1319u, 1391u, 1392u}) {
    for (const bool local : {false, true}) {
      TwoNodes nodes(udp());
      (local ? nodes.link.weather.local_packet_size : nodes.link.weather.path_packet_size) =
          payload + Session::kPacketOverhead;
      ASSERT_TRUE(nodes.establish(9s)) << payload;
      EXPECT_LE(nodes.a.session.payload_size(), payload);
      EXPECT_GE(nodes.a.session.payload_size() + SizeSearch::kPrecision, payload);
      EXPECT_LE(nodes.b.session.payload_size(), payload);
    }
  }
}

TEST(SizeSearch, EndsUnderLossWithASafeSize) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    TwoNodes nodes(udp(), seed);
    nodes.link.weather = {.loss = 0.3,
                          .duplication = 0.1,
                          .delay = 20ms,
                          .jitter = 20ms,
                          .path_packet_size = 1000 + Session::kPacketOverhead};
    ASSERT_TRUE(nodes.establish(40s)) << seed;
    EXPECT_LE(nodes.a.session.payload_size(), 1000u);
    EXPECT_GE(nodes.a.session.payload_size(), 147u);
  }
}

TEST(SizeSearch, APeerThatAnswersNoQuestionEndsIt) {
  TwoNodes nodes(udp());
  nodes.link.tap([&](int from, Bytes& datagram) {
    return key_exchange_in(datagram) || from == 0 || datagram.size() < 190 ||
           datagram.size() == kPacketHeaderSize + kMessageHeaderSize + kBindingSize;
  });
  nodes.start();
  nodes.link.run_for(11s);
  EXPECT_TRUE(nodes.a.established());
  EXPECT_EQ(nodes.a.session.payload_size(), 147u);
}

TEST(SizeSearch, AShrinkingPathLosesNothing) {
  Options options = udp();
  options.fragment = true;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  EXPECT_EQ(nodes.a.session.payload_size(), 1392u);
  nodes.link.run_for(1s);
  nodes.link.weather.local_packet_size = 900;
  std::vector<std::string> sent = {
      std::string(5000, 'y')};  // cut before its first piece is refused
  ASSERT_TRUE(nodes.send(nodes.a, sent.back()));
  for (int i = 0; i < 20; ++i) {
    sent.push_back(std::string(100, static_cast<char>('a' + i)) + std::to_string(i));
    ASSERT_TRUE(nodes.send(nodes.a, sent.back()));
  }
  sent.emplace_back(1300, 'x');
  ASSERT_TRUE(nodes.send(nodes.a, sent.back()));
  nodes.link.run_for(5s);
  EXPECT_TRUE(nodes.a.established());
  EXPECT_LE(nodes.a.session.packet_size(), 900u);
  EXPECT_GE(nodes.a.session.packet_size(), 900u - SizeSearch::kPrecision);
  ASSERT_EQ(nodes.b.received.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(nodes.b.received[i].second, sent[i]);
}

TEST(SizeSearch, AnOvertakenControlMessageDoesNotShrinkWhatWasFound) {
  const SteadyTime now{};
  SizeSearch search({.limit = 1392, .first_wait = 10ms, .timeout = 10s, .quiet = 2s}, true, now);
  const auto ping = search.next_ping(now);
  ASSERT_TRUE(ping.has_value());
  search.on_control({.largest = 977, .end = false}, now);
  search.on_pong({.iteration = ping->iteration, .size = 1392}, now);
  search.on_control({.largest = 1392, .end = true}, now);
  search.on_control({.largest = 147, .end = false}, now);
  EXPECT_EQ(search.size(), 1392u);
}

TEST(SizeSearch, OneSideMayHaveItOff) {
  Options off = udp();
  off.negotiate = false;
  TwoNodes nodes(udp(), off, 1);
  ASSERT_TRUE(nodes.establish(9s));
  EXPECT_EQ(nodes.a.session.payload_size(), 1392u);
}

// ---- with a legacy peer -------------------------------------------------------------------------

struct WithLegacy {
  WithLegacy(Options options, const LegacyOptions& legacy_options, std::uint64_t seed = 1)
      : link(seed),
        identity_a(shared_identity(100)),
        identity_b(shared_identity(200)),
        a({identity_a, identity_b->public_key()}, std::move(options), seed),
        b(*identity_b, identity_a->public_key(), legacy_options, seed + 1000) {
    link.join(0, 1);
    link.place(0, &a);
    link.place(1, &b);
  }
  bool establish(std::chrono::nanoseconds within) {
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

TEST(SizeSearch, LegacyLaddersEndAsInTheVectors) {
  for (const auto& ladder : vectors()["negotiation_ladders"]) {
    const auto limit = ladder["payload_size_limit"].get<std::size_t>();
    const auto path = ladder["path_payload_max"].get<std::size_t>();
    if (path < Options::kMinPayloadSize) continue;  // our questions would not get through either
    SCOPED_TRACE(path);
    Options options = udp();
    options.payload_size_limit = limit;
    options.negotiation_timeout = 8s;
    WithLegacy both(options, {.payload_size_limit = limit, .negotiate = true});
    // The path of the ladders is that of a legacy peer; key exchange passes.
    both.link.tap([&](int, Bytes& datagram) {
      return key_exchange_in(datagram) || datagram.size() <= path + Session::kPacketOverhead;
    });
    const bool ended = both.establish(20s);
    both.link.run_for(5s);
    EXPECT_EQ(both.b.death, "");
    EXPECT_TRUE(ended);
    const auto& rounds = ladder["rounds"];
    ASSERT_EQ(both.b.rounds.size(), rounds.size());
    for (std::size_t i = 0; i < rounds.size(); ++i) {
      EXPECT_EQ(both.b.rounds[i].sizes, rounds[i]["sizes"].get<std::vector<std::size_t>>());
      EXPECT_EQ(both.b.rounds[i].largest_pong, rounds[i]["largest_pong"].get<std::size_t>());
    }
    EXPECT_EQ(both.b.own_largest, ladder["result"].get<std::size_t>());
    EXPECT_EQ(both.b.sent_end, ladder["go_sends_end_message"].get<bool>());
    EXPECT_TRUE(both.a.established());
    EXPECT_LE(both.a.session.payload_size(), path);
  }
}

TEST(SizeSearch, NoEndMessageForALegacyPeerThatDoesNotAsk) {
  WithLegacy both(udp(), {.payload_size_limit = 1392, .negotiate = false});
  EXPECT_TRUE(both.establish(9s));
  both.link.run_for(10s);
  EXPECT_EQ(both.b.death, "");
  EXPECT_EQ(both.a.session.payload_size(), 1392u);
}

TEST(SizeSearch, ALegacyPeerThatAsksIsLedToItsEnd) {
  Options off = udp();
  off.negotiate = false;
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    WithLegacy both(off, {.payload_size_limit = 1392, .negotiate = true}, seed);
    both.link.weather.jitter = std::chrono::milliseconds(seed);
    EXPECT_TRUE(both.establish(20s));
    both.link.run_for(5s);
    EXPECT_EQ(both.b.death, "");
    // What it said meanwhile, step by step and perhaps out of order, does not count for ever.
    EXPECT_EQ(both.a.session.payload_size(), 1392u);
  }
}

// The path shrinks while it still waits for our end message, without which it would for ever.
TEST(SizeSearch, ALegacyPeerThatWaitsForTheEndGetsItThoughThePathShrinks) {
  Options off = udp();
  off.negotiate = false;
  WithLegacy both(off, {.payload_size_limit = 1392, .negotiate = true});
  both.a.start(both.link.now(), both.link.wall());
  both.b.start(both.link.now(), both.link.wall());
  ASSERT_TRUE(both.link.run_for(9s, [&] { return both.b.own_largest == 1392; }));
  ASSERT_FALSE(both.b.established);
  both.link.weather.local_packet_size = 900;
  ASSERT_TRUE(both.a.say(MessageType::kReadWrite, std::string(1300, 'x'), both.link.now()));
  both.link.run_for(5s);
  EXPECT_TRUE(both.a.established());
  EXPECT_LE(both.a.session.packet_size(), 900u);
  EXPECT_EQ(both.b.death, "");
  EXPECT_TRUE(both.b.established);
}

// It may ask as fast as it likes: what waits to be answered is bounded, in number and in bytes.
TEST(SizeSearch, AFloodOfQuestionsIsAnsweredWithinLimits) {
  constexpr std::size_t kFlood = 1000;
  struct Case {
    std::size_t limit;
    std::size_t size;
    std::size_t answers;
  };
  // By number; by bytes; and one always goes, however large.
  for (const auto& [limit, size, answers] :
       {Case{65216, 65216, 12}, Case{65216, 147, 12}, Case{4u << 20, 400'000, 2},
        Case{4u << 20, 4'000'000, 1}}) {
    SCOPED_TRACE(size);
    Options options = udp();
    options.payload_size_limit = limit;
    options.negotiate = false;
    WithLegacy both(options, {.payload_size_limit = limit});
    ASSERT_TRUE(both.establish(9s));
    both.link.run_for(1s);
    const std::uint64_t dropped = both.a.dropped(DropReason::kNegotiation);
    std::size_t answered = 0;
    std::size_t asked = 0;
    both.link.tap([&, wanted = size](int from, Bytes& datagram) {
      if (datagram.size() == wanted + Session::kPacketOverhead) ++(from == 0 ? answered : asked);
      return from == 1;
    });
    // They come at once, before anything can leave.
    const std::size_t flood = size > 100'000 ? 20 : kFlood;
    for (std::size_t i = 0; i < flood; ++i) both.b.ask(size);
    both.link.run_for(1s);
    EXPECT_EQ(asked, flood);
    EXPECT_EQ(answered, answers);
    EXPECT_EQ(both.a.dropped(DropReason::kNegotiation) - dropped, flood - answers);
    EXPECT_TRUE(both.a.established());
  }
}

// Somebody repeats what the peer once signed for another session, while sizes are looked for: for a
// while nothing may be sent to a legacy peer, and that must not become a timer that is always due.
TEST(SizeSearch, WhatMayNotBeSentNowIsNotWaitedFor) {
  WithLegacy both(udp(), {.payload_size_limit = 1392, .negotiate = true});
  both.link.tap([](int, Bytes& datagram) { return datagram.size() <= 300; });
  both.a.start(both.link.now(), both.link.wall());
  both.b.start(both.link.now(), both.link.wall());
  ASSERT_TRUE(
      both.link.run_for(9s, [&] { return both.a.session.state() == SessionState::kNegotiation; }));
  KeyExchangeMessage recorded;
  recorded.session = {both.a.session.peer_id()->created_at + 1, 1};
  recorded.identity = both.identity_b->public_key();
  SeededRandom random(1);
  recorded.exchange_key = crypto::x25519_public(crypto::x25519_generate(random));
  recorded.answers_mode = AnswersMode::kAnswerAndWait;
  both.link.deliver(0, plain_packet(PacketId{1000}, MessageType::kKeyExchange,
                                    encode(recorded, both.identity_b->seed())));
  std::uint64_t turns = 0;
  both.link.run_for(1900ms, [&] {
    ++turns;
    return false;
  });
  EXPECT_LT(turns, 1000u);
}

}  // namespace
}  // namespace sealane::session
