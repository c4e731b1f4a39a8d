// Goal: a path that begins to swallow large packets without a word is noticed, by traffic that is
// bounded, and what stands in for it (loss, silence, a peer that answers nothing) is not taken for
// one; a path that has grown is used again. Method: the watch alone, then sessions over a link that
// swallows from some moment on, in both directions and in one, with Sealane and legacy peers.
#include "session/size_watch.h"

#include <gtest/gtest.h>

#include "tests/session/legacy_peer.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

constexpr std::size_t kOverhead = Session::kPacketOverhead;

// ---- the watch alone ----------------------------------------------------------------------------

struct Watched {
  SizeWatch watch;
  SteadyTime now{1h};
  std::vector<SizeSearch::Ping> asked;

  explicit Watched(std::size_t size = 1392) { watch.settle(size, 1392, 100ms, now); }
  // Lets time go on to the next deadline; what is asked then is added to `asked`.
  SizeWatch::Finding turn() {
    now = std::max(now, watch.deadline().value());
    const auto finding = watch.on_deadline(now);
    while (const auto ping = watch.next_ping(now)) asked.push_back(*ping);
    return finding;
  }
  void answer(const SizeSearch::Ping& ping) { watch.on_pong({ping.iteration, ping.size}, now); }
};

TEST(SizeWatch, AsksNothingOfAPathThatCarriesNothingLarge) {
  Watched small;
  EXPECT_EQ(small.watch.deadline(), std::nullopt);
  small.watch.on_sent(SizeSearch::kMinSize, small.now);
  EXPECT_EQ(small.watch.deadline(), std::nullopt);
  small.watch.on_sent(SizeSearch::kMinSize + 1, small.now);
  EXPECT_EQ(small.watch.deadline(), small.now + SizeWatch::kCheckInterval);
}

TEST(SizeWatch, OneAnswerEndsACheckAndTheNextOneComesAnIntervalLater) {
  Watched it;
  it.watch.on_sent(1392, it.now);
  EXPECT_EQ(it.turn(), SizeWatch::Finding::kNothing);
  ASSERT_EQ(it.asked.size(), 1u);
  EXPECT_EQ(it.asked[0].size, 1392u);
  it.answer(it.asked[0]);
  EXPECT_EQ(it.watch.deadline(), std::nullopt);
  it.watch.on_sent(1392, it.now);
  EXPECT_EQ(it.watch.deadline(), it.now + SizeWatch::kCheckInterval);
}

// How many of the size and how many small ones come back, and what that means.
TEST(SizeWatch, OnlySmallOnesThatArriveTellAHoleFromSilence) {
  for (const std::size_t small_answers : {0u, 1u, 2u, 3u}) {
    Watched it;
    it.watch.on_sent(1392, it.now);
    SizeWatch::Finding finding = it.turn();
    while (it.watch.deadline() && finding == SizeWatch::Finding::kNothing) finding = it.turn();
    // Nothing was answered: silence.
    EXPECT_EQ(finding, SizeWatch::Finding::kNothing);
    ASSERT_EQ(it.asked.size(), 2 * SizeWatch::kCopies - 1);

    it.asked.clear();
    it.watch.on_sent(1392, it.now);
    finding = it.turn();
    std::size_t answered = 0;
    while (it.watch.deadline() && finding == SizeWatch::Finding::kNothing) {
      for (const auto& ping : std::exchange(it.asked, {})) {
        if (ping.size == SizeSearch::kMinSize && answered++ < small_answers) {
          it.answer(ping);
          it.answer(ping);  // doubled on its way: counts once
        }
      }
      finding = it.turn();
    }
    EXPECT_EQ(finding, small_answers >= SizeWatch::kSmallAnswers ? SizeWatch::Finding::kTooLarge
                                                                 : SizeWatch::Finding::kNothing)
        << small_answers;
  }
}

TEST(SizeWatch, LateAnswersBelongToNoLaterCheck) {
  Watched it;
  it.watch.on_sent(1392, it.now);
  while (it.watch.deadline()) it.turn();
  const auto late = std::exchange(it.asked, {});
  it.watch.on_sent(1392, it.now);
  it.turn();
  for (const auto& ping : late) {
    EXPECT_TRUE(it.watch.on_pong({ping.iteration, ping.size}, it.now));
  }
  SizeWatch::Finding finding = SizeWatch::Finding::kNothing;
  while (it.watch.deadline() && finding == SizeWatch::Finding::kNothing) finding = it.turn();
  EXPECT_EQ(finding, SizeWatch::Finding::kNothing);
  EXPECT_EQ(it.asked.size(), 2 * SizeWatch::kCopies - 1);  // it was not confirmed either
  EXPECT_FALSE(it.watch.on_pong({1, 1392}, it.now)) << "a question of the search";
}

TEST(SizeWatch, LooksAboveEverMoreRarely) {
  Watched it(1000);
  std::vector<SizeWatch::Duration> between;
  SteadyTime last = it.now;
  while (between.size() < 8) {
    it.watch.on_sent(100, it.now);
    if (it.turn() != SizeWatch::Finding::kLookAbove) continue;
    between.push_back(it.now - last);
    last = it.now;
    it.watch.settle(1000, 1392, 100ms, it.now);
  }
  EXPECT_EQ(between[0], SizeWatch::kFirstLookAbove);
  EXPECT_EQ(between[1], 2 * SizeWatch::kFirstLookAbove);
  EXPECT_EQ(between[7], SizeWatch::kLongestLookAbove);
  it.watch.settle(1392, 1392, 100ms, it.now);
  it.watch.on_sent(100, it.now);
  EXPECT_EQ(it.watch.deadline(), std::nullopt) << "there is nothing above";
}

// ---- between Sealane ends -----------------------------------------------------------------------

Options udp() {
  Options options;
  options.lossy = true;
  options.fragment = true;
  return options;
}

// Says something large again and again.
void talk(TwoNodes& nodes, Node& from, std::chrono::nanoseconds time, std::size_t size = 1300,
          std::chrono::nanoseconds every = 100ms) {
  for (const SteadyTime end = nodes.link.now() + time; nodes.link.now() < end;) {
    nodes.send(from, std::string(size, 'x'));
    nodes.link.run_for(every);
  }
}
std::uint64_t black_holes(const TwoNodes& nodes, const Node& node) {
  return node.session.statistics(nodes.link.now()).black_holes;
}
// The longest a hole stays unnoticed while there is traffic: the interval, the copies, the search.
constexpr auto kNoticed = SizeWatch::kCheckInterval + SizeWatch::kCopies * 250ms + 3s;

void expect_all_arrives(TwoNodes& nodes, Node& from, Node& to) {
  to.received.clear();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(nodes.send(from, std::string(1300, static_cast<char>('a' + i))));
    nodes.link.run_for(100ms);
  }
  ASSERT_EQ(to.received.size(), 10u);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(to.received[static_cast<std::size_t>(i)].second,
              std::string(1300, static_cast<char>('a' + i)));
  }
}

TEST(BlackHole, APathThatShrinksWithoutAWordIsNoticedAndUsed) {
  for (const std::size_t path : {std::size_t{200}, std::size_t{421}, std::size_t{900},
                                 std::size_t{1400}, kOverhead + 1391}) {
    SCOPED_TRACE(path);
    TwoNodes nodes(udp());
    ASSERT_TRUE(nodes.establish());
    nodes.link.run_for(10s);
    ASSERT_EQ(nodes.a.session.payload_size(), 1392u);
    nodes.link.weather.path_packet_size = path;
    talk(nodes, nodes.a, kNoticed, 1392);
    EXPECT_TRUE(nodes.a.established());
    EXPECT_LE(nodes.a.session.packet_size(), path);
    EXPECT_GE(nodes.a.session.packet_size() + SizeSearch::kPrecision, path);
    EXPECT_EQ(black_holes(nodes, nodes.a), 1u);
    EXPECT_TRUE(nodes.a.reported(ProblemKind::kLargePacketsLost));
    expect_all_arrives(nodes, nodes.a, nodes.b);
    // Who sends nothing large has nothing to notice, until it does.
    EXPECT_EQ(nodes.b.session.payload_size(), 1392u);
    talk(nodes, nodes.b, kNoticed, 1392);
    EXPECT_LE(nodes.b.session.packet_size(), path);
    expect_all_arrives(nodes, nodes.b, nodes.a);
  }
}

TEST(BlackHole, OneDirectionIsEnough) {
  for (const int narrow : {0, 1}) {
    TwoNodes nodes(udp());
    ASSERT_TRUE(nodes.establish());
    nodes.link.tap(
        [narrow](int from, Bytes& datagram) { return from != narrow || datagram.size() <= 900; });
    talk(nodes, nodes.a, kNoticed);
    // A question comes back as large as it went, so the narrower direction decides for both.
    EXPECT_LE(nodes.a.session.packet_size(), 900u);
    EXPECT_GE(nodes.a.session.packet_size() + SizeSearch::kPrecision, 900u);
    expect_all_arrives(nodes, nodes.a, nodes.b);
    talk(nodes, nodes.b, kNoticed);
    expect_all_arrives(nodes, nodes.b, nodes.a);
  }
}

// The path carries 900 bytes from now on; until `a`, which sends more, looks for what fits.
void shrink_until_noticed(TwoNodes& nodes) {
  nodes.link.run_for(10s);
  nodes.link.weather.path_packet_size = 900;
  while (nodes.a.session.state() == SessionState::kEstablished) {
    nodes.send(nodes.a, std::string(1300, 'x'));
    nodes.link.run_for(50ms, [&] { return !nodes.a.established(); });
  }
}

TEST(BlackHole, WhatWaitsIsCutToTheNewSize) {
  TwoNodes nodes(udp());
  ASSERT_TRUE(nodes.establish());
  shrink_until_noticed(nodes);
  nodes.b.received.clear();
  std::vector<std::string> sent;
  for (int i = 0; i < 30; ++i) {
    sent.emplace_back(std::size_t{200} * static_cast<std::size_t>(i),
                      static_cast<char>('a' + i % 26));
    ASSERT_TRUE(nodes.send(nodes.a, sent.back()));
  }
  nodes.link.run_for(5s);
  ASSERT_EQ(nodes.b.received.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(nodes.b.received[i].second, sent[i]);
}

TEST(BlackHole, WithoutFragmentsWhatNoLongerFitsIsNamed) {
  Options options = udp();
  options.fragment = false;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  shrink_until_noticed(nodes);
  EXPECT_TRUE(nodes.send(nodes.a, std::string(1300, 'y')));
  EXPECT_TRUE(nodes.send(nodes.a, "and this"));
  nodes.link.run_for(5s);
  EXPECT_TRUE(nodes.a.reported(ProblemKind::kMessageTooBig));
  ASSERT_FALSE(nodes.b.received.empty());
  EXPECT_EQ(nodes.b.received.back().second, "and this");
}

TEST(BlackHole, APathThatCarriesNothingIsNone) {
  TwoNodes nodes(udp());
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(10s);
  nodes.link.tap([](int, Bytes&) { return false; });
  talk(nodes, nodes.a, 30s);
  nodes.link.tap({});
  talk(nodes, nodes.a, 10s);
  EXPECT_EQ(black_holes(nodes, nodes.a), 0u);
  EXPECT_EQ(nodes.a.session.payload_size(), 1392u);
  expect_all_arrives(nodes, nodes.a, nodes.b);
}

TEST(BlackHole, LossIsRarelyTakenForOneAndCostsLittle) {
  std::uint64_t found = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    TwoNodes nodes(udp(), seed);
    ASSERT_TRUE(nodes.establish());
    nodes.link.weather = {.loss = 0.1, .duplication = 0.1, .delay = 20ms, .jitter = 20ms};
    talk(nodes, nodes.a, 300s);
    found += black_holes(nodes, nodes.a);
    nodes.link.weather = {};
    nodes.link.run_for(10s);
    expect_all_arrives(nodes, nodes.a, nodes.b);
  }
  EXPECT_LE(found, 3u);  // of some 480 checks; 0.19 to the fourth is 0.0013
}

TEST(BlackHole, TheSearchEndsWhateverThePathDoesMeanwhile) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    TwoNodes nodes(udp(), seed);
    ASSERT_TRUE(nodes.establish());
    for (int change = 0; change < 30; ++change) {
      nodes.link.weather.path_packet_size = 200 + nodes.link.draw(1400);
      nodes.link.weather.loss = static_cast<double>(nodes.link.draw(4)) / 10;
      talk(nodes, nodes.a, std::chrono::milliseconds(nodes.link.draw(12'000)));
    }
    nodes.link.weather = {.path_packet_size = 1000};
    talk(nodes, nodes.a, 30s);
    EXPECT_LE(nodes.a.session.packet_size(), 1000u) << seed;
    expect_all_arrives(nodes, nodes.a, nodes.b);
  }
}

TEST(BlackHole, AGrownPathIsUsedAgainWithoutAPause) {
  for (const std::size_t grown : {std::size_t{950}, std::size_t{1200}, std::size_t{1500}}) {
    TwoNodes nodes(udp());
    ASSERT_TRUE(nodes.establish());
    nodes.link.weather.path_packet_size = 900;
    talk(nodes, nodes.a, kNoticed);
    ASSERT_LE(nodes.a.session.packet_size(), 900u);
    nodes.link.weather.path_packet_size = grown;
    nodes.a.states.clear();
    nodes.b.received.clear();
    std::size_t sent = 0;
    for (const SteadyTime end = nodes.link.now() + SizeWatch::kFirstLookAbove + 5s;
         nodes.link.now() < end; ++sent) {
      nodes.send(nodes.a, std::string(1300, 'x'));
      nodes.link.run_for(100ms);
    }
    EXPECT_TRUE(nodes.a.states.empty());
    EXPECT_EQ(nodes.b.received.size(), sent);
    const std::size_t most = std::min<std::size_t>(grown, 1392 + kOverhead);
    EXPECT_LE(nodes.a.session.packet_size(), most);
    EXPECT_GE(nodes.a.session.packet_size() + SizeSearch::kPrecision, most);
    expect_all_arrives(nodes, nodes.a, nodes.b);
  }
}

TEST(BlackHole, QuestionsAreBounded) {
  Options options = udp();
  options.keepalive.reset();
  options.key_update_interval = 24h;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(10s);
  // Nobody speaks: nobody asks.
  std::uint64_t datagrams = 0;
  nodes.link.tap([&](int, Bytes&) {
    ++datagrams;
    return true;
  });
  nodes.link.run_for(1h);
  EXPECT_EQ(datagrams, 0u);
  // An hour of traffic over a path that stays small: one question for each check, and few above.
  nodes.link.weather.path_packet_size = 900;
  talk(nodes, nodes.a, kNoticed, 800);
  const std::size_t size = nodes.a.session.packet_size();
  std::uint64_t above = 0;
  std::uint64_t equal = 0;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 0 && datagram.size() > size) ++above;
    if (from == 0 && datagram.size() == size) ++equal;
    return true;
  });
  talk(nodes, nodes.a, 1h, 400, 1s);
  EXPECT_GE(equal, 3600 / 7u);
  EXPECT_LE(equal, 3600 / 5u);
  // After 30, 60, 120, 240, 480 seconds, then each 600: two sizes, three copies.
  EXPECT_LE(above, 2 * SizeSearch::kCopies * 10u);
  EXPECT_GE(above, 2 * SizeSearch::kCopies * 8u);
  EXPECT_EQ(nodes.a.session.packet_size(), size);
}

// A message was too big for the path and refused; later a larger one fits.
TEST(BlackHole, WhatIsOpenWhenTheSizeGrowsTakesTheNewSize) {
  Options options = udp();
  options.fragment = false;
  TwoNodes nodes(options);
  nodes.link.weather.path_packet_size = 900;
  ASSERT_TRUE(nodes.establish());
  EXPECT_FALSE(nodes.send(nodes.a, std::string(1300, 'x')));
  nodes.link.weather.path_packet_size = 1500;
  talk(nodes, nodes.a, SizeWatch::kFirstLookAbove + 1s, 100);
  ASSERT_EQ(nodes.a.session.payload_size(), 1392u);
  EXPECT_TRUE(nodes.send(nodes.a, std::string(1300, 'x')));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received.back().second, std::string(1300, 'x'));
}

TEST(BlackHole, WhereSizesAreNotNegotiatedNothingIsAsked) {
  Options options = udp();
  options.negotiate = false;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.weather.path_packet_size = 900;
  talk(nodes, nodes.a, 30s);
  EXPECT_EQ(nodes.a.session.payload_size(), 1392u);
  EXPECT_EQ(black_holes(nodes, nodes.a), 0u);
}

// ---- with others --------------------------------------------------------------------------------

struct LegacyPair {
  explicit LegacyPair(const Options& options, const LegacyOptions& legacy)
      : link(7),
        identity_a(shared_identity(100)),
        identity_b(shared_identity(200)),
        a({identity_a, identity_b->public_key()}, options, 1),
        b(*identity_b, identity_a->public_key(), legacy, 2) {
    link.join(0, 1);
    link.place(0, &a);
    link.place(1, &b);
  }
  bool establish() {
    a.start(link.now(), link.wall());
    b.start(link.now(), link.wall());
    return link.run_for(20s, [this] { return a.established() && b.established; });
  }
  void talk(std::chrono::nanoseconds time) {
    for (const SteadyTime end = link.now() + time; link.now() < end;) {
      a.say(MessageType::kReadWrite, std::string(1300, 'x'), link.now());
      link.run_for(100ms);
    }
  }
  Link link;
  std::shared_ptr<const identity::SigningKey> identity_a;
  std::shared_ptr<const identity::SigningKey> identity_b;
  Node a;
  LegacyPeer b;
};

TEST(BlackHole, ALegacyPeerAnswersAndLives) {
  for (const bool negotiates : {false, true}) {
    LegacyPair pair(udp(), {.payload_size_limit = 1392, .negotiate = negotiates});
    ASSERT_TRUE(pair.establish());
    pair.link.run_for(10s);
    pair.link.weather.path_packet_size = 900;
    pair.talk(kNoticed);
    EXPECT_LE(pair.a.session.packet_size(), 900u);
    EXPECT_GE(pair.a.session.packet_size() + SizeSearch::kPrecision, 900u);
    pair.b.received.clear();
    pair.talk(1s);
    EXPECT_EQ(pair.b.received.size(), 10u);
    pair.link.weather.path_packet_size = SIZE_MAX;
    pair.talk(SizeWatch::kFirstLookAbove + 5s);
    EXPECT_EQ(pair.a.session.payload_size(), 1392u);
    pair.talk(200s);
    EXPECT_EQ(pair.b.death, "");
  }
}

// What it sends itself is beyond our reach: it never looks again.
TEST(BlackHole, WhatALegacyPeerSendsStaysLost) {
  LegacyPair pair(udp(), {.payload_size_limit = 1392, .negotiate = true});
  ASSERT_TRUE(pair.establish());
  pair.link.weather.path_packet_size = 900;
  pair.talk(kNoticed);
  pair.b.write(std::string(1300, 'l'));
  pair.b.write("small");
  pair.link.run_for(5s);
  ASSERT_EQ(pair.a.received.size(), 1u);
  EXPECT_EQ(pair.a.received[0].second, "small");
}

// A Sealane end that takes us for a legacy peer answers no question after our end message.
TEST(BlackHole, APeerThatAnswersNothingIsNotTakenForASmallPath) {
  Options wary = udp();
  wary.peer_kind = PeerKind::kLegacy;
  TwoNodes nodes(udp(), wary, 1);
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(10s);
  talk(nodes, nodes.a, 60s);
  EXPECT_GT(nodes.b.dropped(DropReason::kNegotiation), 0u);
  EXPECT_EQ(black_holes(nodes, nodes.a), 0u);
  EXPECT_EQ(nodes.a.session.payload_size(), 1392u);
}

}  // namespace
}  // namespace sealane::session
