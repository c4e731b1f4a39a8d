// Goal: what strangers, recordings, clocks and restarts may not do to a session. Method: two
// sessions, and a hand on the wire that holds back, changes, repeats and forges.
#include <gtest/gtest.h>

#include "session/binding.h"
#include "session/parking.h"
#include "tests/session/link.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

constexpr auto kReadWrite = MessageType::kReadWrite;

// A key exchange message of whoever owns `key`, in a plain packet.
Bytes forged(const identity::SigningKey& key, SessionId session,
             const crypto::X25519Public& exchange, PacketId id = PacketId{1000},
             std::uint8_t flags = kSealaneFlag, AnswersMode mode = AnswersMode::kAnswerAndWait) {
  KeyExchangeMessage message;
  message.session = session;
  message.identity = key.public_key();
  message.exchange_key = exchange;
  message.answers_mode = mode;
  message.flags = flags;
  return plain_packet(id, MessageType::kKeyExchange, encode(message, key.seed()));
}
crypto::X25519Public some_exchange_key(std::uint64_t seed) {
  SeededRandom random(seed);
  return crypto::x25519_public(crypto::x25519_generate(random));
}

// Both ways, now.
void expect_alive(TwoNodes& nodes) {
  const std::size_t before_a = nodes.a.received.size();
  const std::size_t before_b = nodes.b.received.size();
  EXPECT_TRUE(nodes.send(nodes.a, "to b"));
  EXPECT_TRUE(nodes.send(nodes.b, "to a"));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.a.received.size(), before_a + 1);
  EXPECT_EQ(nodes.b.received.size(), before_b + 1);
}

TEST(Safety, PlainPacketsCarryKeyExchangeOnly) {
  for (const bool with_psk : {false, true}) {
    Options options;
    if (with_psk) options.psk = std::make_shared<const PskKeys>(as_bytes("everybody's"));
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    std::uint64_t id = 5000;
    for (std::uint8_t flags = 0; flags < 4; ++flags) {
      for (const auto type : {kReadWrite, channel_type(ChannelId{0}), MessageType::kNegotiation,
                              MessageType{0xfffffff9}, MessageType{0xfffffffb}}) {
        const ByteArray<32> payload{};
        Bytes packet(kPacketHeaderSize + kMessageHeaderSize + payload.size());
        write_message(MutableByteSpan(packet).subspan(kPacketHeaderSize), type, flags, payload);
        PacketKey key = with_psk ? PacketKey::aux(options.psk->aux_key()) : PacketKey::plain();
        key.seal(PacketId{++id}, with_psk ? options.psk->packet_id_mask() : PacketIdMask{}, packet);
        nodes.link.deliver(1, packet);
      }
    }
    nodes.link.run_for(1s);
    EXPECT_TRUE(nodes.b.received.empty());
    EXPECT_EQ(nodes.b.dropped(DropReason::kNotKeyExchange), 20u);
    expect_alive(nodes);
  }
}

TEST(Safety, JunkNeverCloses) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  SeededRandom random(1);
  for (std::size_t size = 0; size < 300; ++size) {
    Bytes junk(size);
    random.fill(junk);
    nodes.link.deliver(0, junk);
    nodes.link.deliver(1, std::move(junk));
  }
  nodes.link.deliver(1, Bytes(nodes.b.session.packet_size_limit() + 1));
  nodes.link.run_for(5s);
  EXPECT_TRUE(nodes.b.reported(ProblemKind::kUndecryptable));
  EXPECT_EQ(nodes.b.dropped(DropReason::kTooShort), 44u);
  EXPECT_EQ(nodes.b.dropped(DropReason::kTooBig), 1u);
  EXPECT_EQ(nodes.b.dropped(DropReason::kUndecryptable) + nodes.b.dropped(DropReason::kParkLimit),
            256u);
  expect_alive(nodes);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).undecryptable_in_row, 0u);
}

TEST(Safety, OnWishTooMuchJunkCloses) {
  Options options;
  options.close_after_undecryptable = 2;
  TwoNodes nodes({}, options, 1);
  ASSERT_TRUE(nodes.establish());
  nodes.link.deliver(1, Bytes(100));
  nodes.link.run_for(1s);
  EXPECT_TRUE(nodes.b.established());
  expect_alive(nodes);  // a good packet: the count begins again
  nodes.link.deliver(1, Bytes(100));
  nodes.link.deliver(1, Bytes(100));
  nodes.link.run_for(1s);
  ASSERT_TRUE(nodes.b.closed.has_value());
  EXPECT_EQ(nodes.b.closed->reason, CloseReason::kUndecryptable);
}

TEST(Safety, EachPacketIsTakenOnce) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  std::vector<Bytes> recorded;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 0) recorded.push_back(datagram);
    return true;
  });
  for (int i = 0; i < 10; ++i) {
    nodes.send(nodes.a, std::to_string(i));
    nodes.link.run_for(1ms);
  }
  const std::size_t count = recorded.size();
  for (std::size_t i = 0; i < count; ++i) nodes.link.deliver(1, recorded[i]);
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received.size(), 10u);
  EXPECT_EQ(nodes.b.dropped(DropReason::kReplayed), count);
}

TEST(Safety, ANewKeyIsUsedOnlyWhenThePeerHasShownIt) {
  Options options;
  options.key_update_interval = 10s;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  // From now on nothing of A's key exchange arrives, and none of B's answers.
  bool cut = true;
  nodes.link.tap([&](int, Bytes& datagram) { return !cut || !key_exchange_in(datagram); });
  nodes.link.run_for(15s);
  EXPECT_EQ(nodes.a.session.statistics(nodes.link.now()).own_renewals, 1u);
  for (int i = 0; i < 20; ++i) {
    nodes.send(nodes.a, "old key");
    nodes.link.run_for(1s);
  }
  EXPECT_EQ(nodes.b.received.size(), 20u);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).parked, 0u);
  cut = false;
  nodes.link.run_for(3s);
  const auto age = nodes.a.session.statistics(nodes.link.now()).own_key_age;
  ASSERT_TRUE(age.has_value());
  expect_alive(nodes);
  EXPECT_EQ(nodes.a.session.statistics(nodes.link.now()).parked, 0u);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).parked, 0u);
}

TEST(Safety, RenewsByTimeByVolumeAndOnRequest) {
  Options options;
  options.key_update_interval = 50ms;
  TwoNodes fast(options);
  ASSERT_TRUE(fast.establish());
  for (int i = 0; i < 1000; ++i) {
    fast.send(fast.a, std::to_string(i));
    fast.send(fast.b, std::to_string(i));
    fast.link.run_for(50ms);
  }
  EXPECT_GT(fast.a.session.statistics(fast.link.now()).own_renewals, 900u);
  EXPECT_GT(fast.a.session.statistics(fast.link.now()).peer_renewals, 900u);
  EXPECT_EQ(fast.a.received.size(), 1000u);
  EXPECT_EQ(fast.b.received.size(), 1000u);

  Options volume;
  volume.key_update_bytes = 100'000;
  TwoNodes nodes(volume);
  ASSERT_TRUE(nodes.establish());
  for (int i = 0; i < 100; ++i) {
    nodes.send(nodes.a, std::string(10'000, 'v'));
    nodes.link.run_for(10ms);
  }
  EXPECT_GE(nodes.a.session.statistics(nodes.link.now()).own_renewals, 8u);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).own_renewals, 0u);
  EXPECT_EQ(nodes.b.received.size(), 100u);
  nodes.b.session.renew_key(nodes.link.now());
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).own_renewals, 1u);
}

TEST(Safety, DataThatOvertakesItsKeyWaitsForIt) {
  TwoNodes nodes;
  nodes.start();
  // A's key exchange takes half a second more than anything else of it.
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from != 0 || !key_exchange_in(datagram)) return true;
    nodes.link.deliver(1, datagram, 500ms);
    return false;
  });
  nodes.link.run_for(5s);
  EXPECT_TRUE(nodes.a.established());
  EXPECT_TRUE(nodes.b.established());
  const Statistics statistics = nodes.b.session.statistics(nodes.link.now());
  EXPECT_GT(statistics.parked, 0u);
  EXPECT_EQ(statistics.parked_opened, statistics.parked);
  expect_alive(nodes);
}

// What a stranger sends before it has proven itself takes little of our memory, whatever it is: a
// listener has many of them. A proven peer has the larger limits.
TEST(Safety, LittleIsKeptOfAPeerThatHasProvenNothing) {
  constexpr std::size_t kJunkSize = 8000;
  const Bytes junk(kJunkSize, std::byte{0x55});
  TwoNodes nodes;
  nodes.start();
  for (int i = 0; i < 100; ++i) nodes.link.deliver(1, junk);
  nodes.link.run_until(nodes.link.now());
  Statistics statistics = nodes.b.session.statistics(nodes.link.now());
  EXPECT_FALSE(nodes.b.session.proven());
  EXPECT_EQ(statistics.parked,
            Session::kMaxUnprovenParked / (kJunkSize + Parking::kPacketOverhead));
  EXPECT_EQ(statistics.dropped(DropReason::kParkLimit), 100 - statistics.parked);
  // It harms nobody: the true peer gets in beside it.
  ASSERT_TRUE(nodes.link.run_for(10s, [&] { return nodes.a.established(); }));
  expect_alive(nodes);
  EXPECT_TRUE(nodes.b.session.proven());
  for (int i = 0; i < 200; ++i) nodes.link.deliver(1, junk);
  nodes.link.run_until(nodes.link.now());
  // With those from before, which still wait.
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).parked, Parking::kMaxPackets);

  // Messages that open, and wait for a binding that never comes: B is bound, A does not hear of it.
  for (const bool lossy : {false, true}) {
    Options options;
    options.lossy = lossy;
    options.negotiate = false;
    options.payload_size_limit = 10'000;
    TwoNodes waiting(options);
    waiting.link.tap([&](int from, Bytes& datagram) {
      return from == 0 || datagram.size() != kPacketHeaderSize + kMessageHeaderSize + kBindingSize;
    });
    waiting.start();
    ASSERT_TRUE(waiting.link.run_for(5s, [&] { return waiting.b.established(); }));
    waiting.link.run_for(1s);
    ASSERT_FALSE(waiting.a.session.proven());
    std::size_t sent = 0;
    for (; sent < 20 && waiting.a.session.wants_input(); ++sent) {
      ASSERT_TRUE(waiting.send(waiting.b, std::string(8000, 'x')));
      waiting.link.run_for(10ms);
    }
    if (lossy) {
      EXPECT_EQ(sent, 20u);
      EXPECT_GT(waiting.a.dropped(DropReason::kQueueFull), 10u);
    } else {
      EXPECT_EQ(sent, Session::kMaxUnprovenQueue / 8192 + 1);
    }
    EXPECT_TRUE(waiting.a.received.empty());
  }
}

TEST(Safety, OldKeysAreGoneSecondsAfterTheNewOneIsProven) {
  Options options;
  options.key_update_interval = 20s;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  Bytes held;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from != 0 || key_exchange_in(datagram)) return true;
    held = datagram;
    return false;
  });
  nodes.send(nodes.a, "held back");
  nodes.link.run_for(1s);
  nodes.link.tap({});
  ASSERT_FALSE(held.empty());
  nodes.link.run_for(30s);  // both have renewed once, and the old keys' time is over
  nodes.link.deliver(1, held);
  nodes.link.run_for(5s);
  EXPECT_TRUE(nodes.b.received.empty());
  EXPECT_EQ(nodes.b.dropped(DropReason::kUndecryptable), 1u);
  expect_alive(nodes);
}

TEST(Safety, SignatureChecksForStrangersAreBounded) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(10s);
  const auto before = nodes.b.session.statistics(nodes.link.now()).signatures_checked;
  const auto stranger = make_identity(666);
  for (std::uint64_t i = 0; i < 5000; ++i) {
    // It claims to be A, so that only the signature tells.
    Bytes packet = forged(stranger, {~std::uint64_t{0} - i, i}, some_exchange_key(i));
    std::ranges::copy(nodes.identity_a->public_key().bytes,
                      packet.begin() + kPacketHeaderSize + kMessageHeaderSize + 80);
    Bytes payload = to_bytes(ByteSpan(packet).subspan(kPacketHeaderSize + kMessageHeaderSize));
    nodes.link.deliver(1, plain_packet(PacketId{i + 1}, MessageType::kKeyExchange, payload));
  }
  nodes.link.run_for(100ms);
  const Statistics statistics = nodes.b.session.statistics(nodes.link.now());
  EXPECT_LE(statistics.signatures_checked - before, 120u);
  EXPECT_GT(nodes.b.dropped(DropReason::kVerifyLimit), 4000u);
  EXPECT_EQ(nodes.b.dropped(DropReason::kBadSignature), statistics.signatures_checked - before);
  // The peer itself still gets through.
  nodes.a.session.renew_key(nodes.link.now());
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).peer_renewals, 1u);
  expect_alive(nodes);
}

TEST(Safety, AnswersToOneRequestAreSpaced) {
  TwoNodes nodes;
  Bytes request;
  int answers = 0;
  nodes.link.tap([&](int from, Bytes& datagram) {
    const auto message = key_exchange_in(datagram);
    if (message && from == 0 && !message->is_answer()) request = datagram;
    if (message && from == 1 && message->is_answer()) ++answers;
    return true;
  });
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(5s);
  answers = 0;
  for (int i = 0; i < 1000; ++i) {
    nodes.link.deliver(1, request);
    nodes.link.run_for(1ms);
  }
  EXPECT_LE(answers, 6);
  EXPECT_GT(nodes.b.dropped(DropReason::kAnswerLimit), 900u);
  expect_alive(nodes);
}

TEST(Safety, OurOwnMessagesSentBackMeanNothing) {
  // With one identity on both ends nothing but the session id and the keys tells.
  Link link(1);
  const auto identity = shared_identity(5);
  Node alone({identity, identity->public_key()}, {}, 1);
  link.place(0, &alone);
  link.join(0, 0);
  alone.start(link.now(), link.wall());
  alone.say(kReadWrite, "to myself", link.now());
  link.run_for(61s);
  EXPECT_GT(alone.dropped(DropReason::kReflected), 10u);
  EXPECT_TRUE(alone.received.empty());
  ASSERT_TRUE(alone.closed.has_value());
  EXPECT_EQ(alone.closed->reason, CloseReason::kKeyExchangeTimeout);
}

TEST(Safety, LowOrderKeysAreRefusedQuietly) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  const SessionId session = *nodes.b.session.peer_id();
  crypto::X25519Public one{};
  one[0] = std::byte{1};
  // Bits 2 to 7: the number of a key that comes after the first.
  const std::uint8_t second = kSealaneFlag | 2 << kKeyNumberShift;
  nodes.link.deliver(
      1, forged(*nodes.identity_a, session, crypto::X25519Public{}, PacketId{1000}, second));
  nodes.link.deliver(1, forged(*nodes.identity_a, session, one, PacketId{1001}, second));
  nodes.link.deliver(1,
                     forged(*nodes.identity_a, {session.created_at + 1, 1}, one, PacketId{1002}));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.dropped(DropReason::kLowOrderKey), 3u);
  EXPECT_TRUE(nodes.b.reported(ProblemKind::kLowOrderKey));
  expect_alive(nodes);
}

TEST(Safety, AnEarlierSessionIsRefused) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  const SessionId session = *nodes.b.session.peer_id();
  nodes.link.deliver(1,
                     forged(*nodes.identity_a, {session.created_at - 1, 1}, some_exchange_key(1)));
  nodes.link.deliver(1, forged(*nodes.identity_a, {session.created_at, session.random + 1},
                               some_exchange_key(2), PacketId{1001}));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.dropped(DropReason::kOldSession), 2u);
  EXPECT_EQ(nodes.b.session.peer_id(), session);
  expect_alive(nodes);

  Options remembers;
  remembers.minimum_created_at = ~std::uint64_t{0} - 1;
  TwoNodes later({}, remembers, 1);
  EXPECT_FALSE(later.establish(5s));
  EXPECT_GT(later.b.dropped(DropReason::kOldSession), 0u);
}

TEST(Safety, AReplacedKeyDoesNotComeBack) {
  Options options;
  options.key_update_interval = 10s;
  TwoNodes nodes(options);
  std::vector<Bytes> recorded;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 0 && key_exchange_in(datagram)) recorded.push_back(datagram);
    return true;
  });
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(35s);
  nodes.link.tap({});
  const auto renewals = nodes.b.session.statistics(nodes.link.now()).peer_renewals;
  EXPECT_EQ(renewals, 3u);
  for (const Bytes& datagram : recorded) nodes.link.deliver(1, datagram);
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).peer_renewals, renewals);
  EXPECT_GT(nodes.b.dropped(DropReason::kOldKey), 2u);
  expect_alive(nodes);
}

TEST(Safety, ALateMessageDoesNotBringAnOlderKey) {
  for (const auto kind : {PeerKind::kAny, PeerKind::kLegacy}) {
    Options options;
    options.key_update_interval = 10s;
    options.peer_kind = kind;
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    // The second key's messages all come late; the third key's come in time.
    std::vector<Bytes> late;
    nodes.link.tap([&](int from, Bytes& datagram) {
      if (from != 0 || !key_exchange_in(datagram)) return true;
      const auto first = nodes.link.now() - SteadyTime{} < 1h + 15s;
      if (first) late.push_back(datagram);
      return !first;
    });
    nodes.link.run_for(12s);
    ASSERT_FALSE(late.empty());
    // B is told of a key that is newer than those.
    const SessionId session = *nodes.b.session.peer_id();
    const std::uint8_t flags = kind == PeerKind::kAny
                                   ? std::uint8_t{kSealaneFlag | 3 << kKeyNumberShift}
                                   : std::uint8_t{0};
    nodes.link.deliver(
        1, forged(*nodes.identity_a, session, some_exchange_key(3), PacketId{900}, flags));
    nodes.link.run_for(10ms);
    const auto renewals = [&] {
      return nodes.b.session.statistics(nodes.link.now()).peer_renewals;
    };
    // A Sealane peer counts one up, and no further before we have its key.
    EXPECT_EQ(renewals(), kind == PeerKind::kAny ? 0u : 1u);
    for (const Bytes& datagram : late) nodes.link.deliver(1, datagram);
    nodes.link.run_for(10ms);
    EXPECT_EQ(renewals(), 1u);
    EXPECT_GE(nodes.b.dropped(DropReason::kOldKey), 1u);
    if (kind == PeerKind::kAny) {
      nodes.link.tap({});
      expect_alive(nodes);
    }
  }
}

// The number of a key is small and goes round; what was recorded long ago looks newer then.
TEST(Safety, AKeyFromBeforeTheNumbersWentRoundDoesNotComeBack) {
  Options options;
  options.key_update_interval = 1s;
  TwoNodes nodes(options);
  std::vector<Bytes> recorded;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 0 && key_exchange_in(datagram)) recorded.push_back(datagram);
    return true;
  });
  ASSERT_TRUE(nodes.establish());
  for (int second = 0; second < 3 * kKeyNumbers; ++second) {
    nodes.link.run_for(1s);
    const auto renewals = nodes.b.session.statistics(nodes.link.now()).peer_renewals;
    const std::vector<Bytes> again = recorded;
    for (const Bytes& datagram : again) nodes.b.receive(datagram, nodes.link.now());
    ASSERT_EQ(nodes.b.session.statistics(nodes.link.now()).peer_renewals, renewals) << second;
  }
  nodes.link.tap({});
  nodes.link.run_for(2s);
  EXPECT_GT(nodes.b.session.statistics(nodes.link.now()).peer_renewals, 2u * kKeyNumbers);
  expect_alive(nodes);
}

// Even one that gets in, because it was forgotten, gives way to the peer's own.
TEST(Safety, AKeyThatNeverOpensAPacketGivesWay) {
  Options options;
  options.key_update_interval = 10s;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(15s);
  const auto renewals = nodes.b.session.statistics(nodes.link.now()).peer_renewals;
  ASSERT_EQ(renewals, 1u);
  const std::uint8_t next = kSealaneFlag | 3 << kKeyNumberShift;
  nodes.link.deliver(1, forged(*nodes.identity_a, *nodes.b.session.peer_id(), some_exchange_key(3),
                               PacketId{900}, next));
  nodes.link.run_for(10ms);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).peer_renewals, renewals + 1);
  nodes.link.run_for(10s);
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).peer_renewals, renewals + 2);
  expect_alive(nodes);
}

TEST(Safety, WhatDoesNotFitIsSaidAndEndsInTime) {
  const auto run = [](Options options_b, std::optional<ProblemKind> problem, DropReason reason) {
    TwoNodes nodes({}, std::move(options_b), 1);
    EXPECT_FALSE(nodes.establish(3s));
    if (problem) {
      EXPECT_TRUE(nodes.a.reported(*problem)) << describe(*problem);
    }
    nodes.link.run_for(60s);
    ASSERT_TRUE(nodes.a.closed.has_value());
    EXPECT_EQ(nodes.a.closed->reason, CloseReason::kKeyExchangeTimeout);
    EXPECT_EQ(nodes.a.closed->last_problem, problem);
    EXPECT_GT(nodes.a.dropped(reason), 0u);
  };
  Options options;
  options.psk = std::make_shared<const PskKeys>(as_bytes("another"));
  run(options, ProblemKind::kUndecryptable, DropReason::kUndecryptable);
  options = Options();
  options.answers_mode = AnswersMode::kAnswer;
  run(options, ProblemKind::kAnswersMode, DropReason::kAnswersMode);

  // A stranger answers.
  Link link(1);
  const auto a = shared_identity(1);
  const auto b = shared_identity(2);
  Node node_a({a, b->public_key()}, {}, 1);
  Node stranger({shared_identity(3), a->public_key()}, {}, 2);
  link.join(0, 1);
  link.place(0, &node_a);
  link.place(1, &stranger);
  node_a.start(link.now(), link.wall());
  stranger.start(link.now(), link.wall());
  link.run_for(61s);
  ASSERT_TRUE(node_a.closed.has_value());
  EXPECT_EQ(node_a.closed->last_problem, ProblemKind::kWrongIdentity);
  EXPECT_GT(node_a.dropped(DropReason::kWrongIdentity), 0u);
}

TEST(Safety, APeerThatNeverAnswersEndsTheSession) {
  TwoNodes nodes;
  nodes.a.start(nodes.link.now(), nodes.link.wall());
  nodes.link.run_for(59s);
  EXPECT_FALSE(nodes.a.closed.has_value());
  EXPECT_GE(nodes.a.session.statistics(nodes.link.now()).key_exchange_retries, 58u);
  nodes.link.run_for(2s);
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->reason, CloseReason::kKeyExchangeTimeout);

  // One that falls silent later is found by the renewal.
  TwoNodes later;
  ASSERT_TRUE(later.establish());
  later.link.remove(1);
  later.link.run_for(125s);
  ASSERT_TRUE(later.a.closed.has_value());
  EXPECT_EQ(later.a.closed->reason, CloseReason::kKeyExchangeTimeout);
}

TEST(Safety, TheFirstSignerIsPinnedOnlyOnWish) {
  Link link(1);
  const auto a = shared_identity(1);
  const auto b = shared_identity(2);
  Node node_a({a, std::nullopt, true}, {}, 1);
  Node node_b({b, a->public_key()}, {}, 2);
  link.join(0, 1);
  link.place(0, &node_a);
  link.place(1, &node_b);
  node_a.start(link.now(), link.wall());
  // A bad signature pins nobody.
  Bytes bad = forged(*b, {1, 2}, some_exchange_key(1));
  Bytes payload = to_bytes(ByteSpan(bad).subspan(kPacketHeaderSize + kMessageHeaderSize));
  payload[3] ^= std::byte{1};
  link.deliver(0, plain_packet(PacketId{7}, MessageType::kKeyExchange, payload));
  link.run_for(10ms);
  EXPECT_TRUE(node_a.pins.empty());
  node_b.start(link.now(), link.wall());
  link.run_for(3s);
  EXPECT_TRUE(node_a.established());
  EXPECT_EQ(node_a.pins, std::vector{b->public_key()});
  EXPECT_EQ(node_a.session.peer_identity(), b->public_key());
}

TEST(Safety, ClocksThatDifferAreNamedOrRefused) {
  for (const bool refuse : {true, false}) {
    Options options;
    options.max_clock_difference = 60s;
    options.refuse_clock_difference = refuse;
    TwoNodes nodes(options);
    nodes.a.start(nodes.link.now(), nodes.link.wall());
    nodes.b.start(nodes.link.now(), nodes.link.wall() + 3h);
    nodes.link.run_for(3s);
    EXPECT_EQ(nodes.a.established(), !refuse);
    EXPECT_TRUE(nodes.a.reported(ProblemKind::kClockDifference));
  }
}

// ---- packet ids ---------------------------------------------------------------------------------

TEST(Safety, UnderAPskPacketIdsBeginAtRandom) {
  Options options;
  options.psk = std::make_shared<const PskKeys>(as_bytes("secret"));
  std::vector<std::uint64_t> first;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    TwoNodes nodes(options, seed);
    nodes.a.start(nodes.link.now(), nodes.link.wall());
    const auto out = nodes.a.session.next_output();
    const auto id = read_packet_id(out->second, options.psk->packet_id_mask());
    first.push_back(static_cast<std::uint64_t>(id.value()));
    EXPECT_GT(first.back(), 1u << 20);
    EXPECT_LE(first.back(), std::uint64_t{1} << 62);
  }
  std::ranges::sort(first);
  EXPECT_EQ(std::ranges::adjacent_find(first), first.end());
  TwoNodes plain;
  plain.a.start(plain.link.now(), plain.link.wall());
  EXPECT_EQ(read_packet_id(plain.a.session.next_output()->second, {}).value(), PacketId{1});
}

// ---- restarts -----------------------------------------------------------------------------------

TEST(Restart, IsNoticedWithinSecondsFromBothSides) {
  for (const auto kind : {PeerKind::kAny, PeerKind::kSealane, PeerKind::kLegacy}) {
    Options options;
    options.peer_kind = kind;
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    expect_alive(nodes);
    nodes.link.run_for(20s);
    Node reborn({nodes.identity_b, nodes.identity_a->public_key()}, options, 77);
    nodes.link.place(1, &reborn);
    reborn.start(nodes.link.now(), nodes.link.wall());
    EXPECT_TRUE(nodes.link.run_for(4s, [&] {
      return reborn.established() && nodes.a.established() && nodes.a.restarts == 1;
    }));
    nodes.a.received.clear();
    nodes.send(nodes.a, "again");
    EXPECT_TRUE(reborn.session.send(kReadWrite, as_bytes("back"), nodes.link.now()).has_value());
    nodes.link.run_for(1s);
    EXPECT_EQ(reborn.received.size(), 1u);
    EXPECT_EQ(nodes.a.received.size(), 1u);
    EXPECT_EQ(nodes.a.session.bound(), kind != PeerKind::kLegacy);
  }
}

// Like the listener of a UDP socket: it has no session before somebody asks for one, and never
// asks.
class Listening final : public Endpoint {
 public:
  Listening(TwoNodes& nodes, const Options& options)
      : link_(nodes.link), node({nodes.identity_b, nodes.identity_a->public_key()}, options, 78) {}
  void receive(ByteSpan datagram, SteadyTime now) override {
    if (node.session.state() == SessionState::kNew) {
      if (!key_exchange_in(datagram)) return;
      node.start(now, link_.wall());
    }
    node.receive(datagram, now);
  }
  void step(SteadyTime now, const std::function<bool(ByteSpan)>& send) override {
    node.step(now, send);
  }
  std::optional<SteadyTime> deadline() const override { return node.deadline(); }

 private:
  Link& link_;

 public:
  Node node;
};

TEST(Restart, OfAPeerThatOnlyListensIsFoundByItsSilence) {
  for (const bool one_talks : {false, true}) {
    Options options;
    options.lossy = true;
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    nodes.link.run_for(20s);
    Listening reborn(nodes, options);
    nodes.link.place(1, &reborn);
    for (int i = 0; i < 80 && nodes.a.restarts == 0; ++i) {
      if (one_talks) nodes.send(nodes.a, "hello?");
      nodes.link.run_for(100ms);
    }
    nodes.link.run_for(1s);
    EXPECT_EQ(nodes.a.restarts, 1) << one_talks;
    ASSERT_TRUE(nodes.a.established() && reborn.node.established());
    reborn.node.received.clear();
    nodes.send(nodes.a, "again");
    nodes.link.run_for(1s);
    ASSERT_EQ(reborn.node.received.size(), 1u);
    EXPECT_EQ(reborn.node.received[0].second, "again");
    // It is there now, so nobody asks any more.
    const auto retries = nodes.a.session.statistics(nodes.link.now()).key_exchange_retries;
    nodes.link.run_for(30s);
    EXPECT_EQ(nodes.a.session.statistics(nodes.link.now()).key_exchange_retries, retries);
  }
}

TEST(Restart, SilenceEndsASessionAndRecordingsDoNotBreakIt) {
  Options options;
  options.lossy = true;
  TwoNodes nodes(options);
  std::vector<Bytes> of_b;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 1) of_b.push_back(datagram);
    return true;
  });
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(7s);
  nodes.link.tap([](int from, Bytes&) { return from != 1; });
  for (int i = 0; i < 70 && !nodes.a.closed; ++i) {
    for (const Bytes& datagram : of_b) nodes.link.deliver(0, datagram);
    nodes.link.run_for(1s);
  }
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->reason, CloseReason::kKeyExchangeTimeout);
}

TEST(Restart, APeerThatHasNothingToSayIsNotTakenForDead) {
  Options options;
  options.keepalive = 3s;
  options.lossy = true;
  options.negotiate = false;  // which such a round trip would keep busy
  TwoNodes nodes(options);
  nodes.link.weather.delay = 500ms;
  ASSERT_TRUE(nodes.establish());
  for (int i = 0; i < 500; ++i) {
    nodes.send(nodes.a, "news");
    nodes.link.run_for(100ms);
  }
  for (Node* node : {&nodes.a, &nodes.b}) {
    const Statistics statistics = node->session.statistics(nodes.link.now());
    EXPECT_EQ(statistics.silences, 0u);
    EXPECT_EQ(statistics.key_exchange_retries, 0u);
  }
  EXPECT_EQ(nodes.b.received.size(), 495u);
}

TEST(Restart, ARecordingFromElsewhereChangesNothing) {
  for (const auto kind : {PeerKind::kSealane, PeerKind::kLegacy}) {
    Options options;
    options.peer_kind = kind;
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    const SessionId session = *nodes.b.session.peer_id();
    const std::uint8_t flags = kind == PeerKind::kLegacy ? 0 : kSealaneFlag;
    // What A said later to a third, and many more of the kind.
    for (std::uint64_t i = 1; i < 20; ++i) {
      nodes.link.deliver(1, forged(*nodes.identity_a, {session.created_at + i, i},
                                   some_exchange_key(i), PacketId{1000 + i}, flags));
      nodes.send(nodes.a, "through");
      nodes.send(nodes.b, "back");
      nodes.link.run_for(3s);
    }
    EXPECT_EQ(nodes.b.session.peer_id(), session);
    EXPECT_EQ(nodes.b.restarts, 0);
    EXPECT_EQ(nodes.b.received.size(), 19u);
    EXPECT_EQ(nodes.a.received.size(), 19u);
    EXPECT_TRUE(nodes.b.established());
  }
}

// While somebody's recording holds us up, what is due cannot be sent; that must not become a timer
// that is always due, least of all while closing.
TEST(Restart, ARecordingWhileClosingDoesNotTurnForEver) {
  Options options;
  options.keepalive = 1s;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.deliver(0, forged(*nodes.identity_b, {nodes.a.session.peer_id()->created_at + 1, 1},
                               some_exchange_key(1), PacketId{1000}, 0));
  nodes.link.run_for(10ms);
  ASSERT_TRUE(nodes.send(nodes.a, "the last words"));
  nodes.a.session.close(nodes.link.now());
  std::uint64_t turns = 0;
  nodes.link.run_for(1900ms, [&] {
    ++turns;
    return false;
  });
  EXPECT_LT(turns, 1000u);
  nodes.link.run_for(5s);
  EXPECT_EQ(nodes.a.session.state(), SessionState::kClosed);
  ASSERT_EQ(nodes.b.received.size(), 1u);
  EXPECT_EQ(nodes.b.received[0].second, "the last words");
}

TEST(Restart, ARecordingBeforeTheStartDoesNotKeepThePeerOut) {
  for (const std::uint64_t created_at : {std::uint64_t{5}, ~std::uint64_t{0} - 5}) {
    TwoNodes nodes;
    nodes.a.start(nodes.link.now(), nodes.link.wall());
    nodes.link.deliver(0, forged(*nodes.identity_b, {created_at, 1}, some_exchange_key(1)));
    nodes.link.run_for(100ms);
    nodes.b.start(nodes.link.now(), nodes.link.wall());
    nodes.link.run_for(5s);
    EXPECT_TRUE(nodes.a.established());
    expect_alive(nodes);
  }
}

}  // namespace
}  // namespace sealane::session
