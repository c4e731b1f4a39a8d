// Goal: a session does what session.h promises about messages, states and the end. Method: two
// sessions over a network in virtual time.
#include "session/session.h"

#include <gtest/gtest.h>

#include "tests/session/link.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

using Texts = std::vector<std::pair<MessageType, std::string>>;
constexpr auto kReadWrite = MessageType::kReadWrite;

TEST(Session, TwoEndsEstablishAndTalk) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  EXPECT_TRUE(nodes.a.session.bound());
  EXPECT_TRUE(nodes.b.session.bound());
  EXPECT_TRUE(nodes.send(nodes.a, "hello"));
  EXPECT_TRUE(nodes.send(nodes.a, "", channel_type(ChannelId{7})));
  EXPECT_TRUE(nodes.send(nodes.b, "hi", channel_type(kMaxChannelId)));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received, (Texts{{kReadWrite, "hello"}, {channel_type(ChannelId{7}), ""}}));
  EXPECT_EQ(nodes.a.received, (Texts{{channel_type(kMaxChannelId), "hi"}}));
  EXPECT_EQ(nodes.a.states, (std::vector{SessionState::kKeyExchange, SessionState::kEstablished}));
  const Statistics statistics = nodes.b.session.statistics(nodes.link.now());
  EXPECT_EQ(statistics.messages_received, 2u);
  EXPECT_EQ(statistics.payload_bytes_received, 5u);
  for (std::size_t i = 0; i < statistics.drops.size(); ++i) {
    EXPECT_EQ(statistics.drops[i], 0u) << describe(DropReason{static_cast<std::uint8_t>(i)});
  }
}

TEST(Session, EstablishesInEachAnswersMode) {
  for (const auto mode :
       {AnswersMode::kAnswerAndWait, AnswersMode::kAnswer, AnswersMode::kDisabled}) {
    for (const bool lossy : {false, true}) {
      for (const bool with_psk : {false, true}) {
        for (const auto kind : {PeerKind::kAny, PeerKind::kSealane, PeerKind::kLegacy}) {
          Options options;
          options.answers_mode = mode;
          options.lossy = lossy;
          options.peer_kind = kind;
          if (with_psk) options.psk = std::make_shared<const PskKeys>(as_bytes("secret"));
          TwoNodes nodes(options);
          EXPECT_TRUE(nodes.establish()) << static_cast<int>(mode) << lossy << with_psk;
          EXPECT_EQ(nodes.a.session.bound(), kind != PeerKind::kLegacy);
          nodes.send(nodes.a, "x");
          nodes.send(nodes.b, "y");
          nodes.link.run_for(1s);
          EXPECT_EQ(nodes.b.received.size(), 1u);
          EXPECT_EQ(nodes.a.received.size(), 1u);
        }
      }
    }
  }
}

TEST(Session, WhatIsSentBeforeItIsEstablishedArrivesLater) {
  TwoNodes nodes;
  nodes.a.start(nodes.link.now(), nodes.link.wall());
  EXPECT_TRUE(nodes.send(nodes.a, "early"));
  nodes.link.run_for(5s);
  nodes.b.start(nodes.link.now(), nodes.link.wall());
  nodes.link.run_for(3s);
  EXPECT_EQ(nodes.b.received, (Texts{{kReadWrite, "early"}}));
}

TEST(Session, MergesUntilTheDelayOfTheFirstMessageIsOver) {
  Options options;
  options.send_delay = 100us;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(1s);
  std::uint64_t packets = nodes.a.session.statistics(nodes.link.now()).packets_sent;
  // One every 60 us: a timer that starts anew with each message would never fire.
  for (int i = 0; i < 10; ++i) {
    nodes.send(nodes.a, "m");
    nodes.link.run_for(60us);
  }
  nodes.link.run_for(10ms);
  packets = nodes.a.session.statistics(nodes.link.now()).packets_sent - packets;
  EXPECT_EQ(packets, 5u);
  EXPECT_EQ(nodes.b.received.size(), 10u);
}

TEST(Session, WithoutDelayEachMessageLeavesAtOnceInItsOwnPacket) {
  Options options;
  options.send_delay = 0ns;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(1s);
  const auto before = nodes.a.session.statistics(nodes.link.now()).packets_sent;
  for (int i = 0; i < 3; ++i) {
    const auto ticket = nodes.a.session.send(kReadWrite, as_bytes("now"), nodes.link.now());
    ASSERT_TRUE(ticket.has_value());
    EXPECT_LT(nodes.a.session.sent_ticket(), ticket.value());
    ASSERT_TRUE(nodes.a.session.next_output().has_value());
    nodes.a.session.output_sent();
    EXPECT_EQ(nodes.a.session.sent_ticket(), ticket.value());
    EXPECT_FALSE(nodes.a.session.next_output().has_value());
  }
  EXPECT_EQ(nodes.a.session.statistics(nodes.link.now()).packets_sent - before, 3u);
}

TEST(Session, OutputStaysTheSameUntilItsFateIsKnown) {
  TwoNodes nodes;
  nodes.a.start(nodes.link.now(), nodes.link.wall());
  const auto first = nodes.a.session.next_output();
  ASSERT_TRUE(first.has_value());
  const Bytes copy = to_bytes(first->second);
  const auto again = nodes.a.session.next_output();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(copy, to_bytes(again->second));
  nodes.a.session.output_sent();
  EXPECT_FALSE(nodes.a.session.next_output().has_value());
}

TEST(Session, SizesFromNothingToTheLimitArriveExactly) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  EXPECT_EQ(nodes.a.session.payload_size(), 65216u);
  std::vector<std::string> sent;
  for (const std::size_t size : {0u, 1u, 27u, 28u, 29u, 63u, 64u, 1000u, 65215u, 65216u}) {
    sent.emplace_back(size, static_cast<char>('a' + sent.size()));
    ASSERT_TRUE(nodes.send(nodes.a, sent.back()));
    nodes.link.run_for(1ms);
  }
  nodes.link.run_for(1s);
  ASSERT_EQ(nodes.b.received.size(), sent.size());
  for (std::size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(nodes.b.received[i].second, sent[i]);
  const auto refused =
      nodes.a.session.send(kReadWrite, as_bytes(std::string(65217, 'x')), nodes.link.now());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), SendError::kTooBig);
}

TEST(Session, TypesOfItsOwnAreNotTheUsers) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  for (const std::uint32_t type :
       {0u, 0xffffffedu, 0xffffffeeu, 0xfffffffbu, 0xfffffffdu, 0xfffffffeu, 0xffffffffu}) {
    const auto refused = nodes.a.session.send(MessageType{type}, as_bytes("x"), nodes.link.now());
    ASSERT_FALSE(refused.has_value()) << type;
    EXPECT_EQ(refused.error(), SendError::kBadType);
  }
}

TEST(Session, TheSendQueueIsBounded) {
  Options options;
  options.send_queue_limit = 200 * 1024;
  TwoNodes nodes(options);
  nodes.a.start(nodes.link.now(), nodes.link.wall());
  const std::string block(10'000, 'q');
  std::size_t taken = 0;
  while (nodes.send(nodes.a, block)) ASSERT_LT(++taken, 1000u);
  EXPECT_GT(taken, 15u);
  EXPECT_LE(nodes.a.session.queued_bytes(), 200u * 1024);
  const auto refused = nodes.a.session.send(kReadWrite, as_bytes(block), nodes.link.now());
  EXPECT_EQ(refused.error(), SendError::kWouldBlock);
  nodes.b.start(nodes.link.now(), nodes.link.wall());
  nodes.link.run_for(5s);
  EXPECT_EQ(nodes.b.received.size(), taken);
  EXPECT_TRUE(nodes.send(nodes.a, block));
}

TEST(Session, ABatchOfAnotherThreadIsTakenWhole) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  MessageBatch batch = nodes.a.session.make_batch();
  EXPECT_TRUE(nodes.send(nodes.a, "before"));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(batch.append(kReadWrite, as_bytes("batched")));
  const auto ticket = nodes.a.session.send_batch(batch, nodes.link.now());
  ASSERT_TRUE(ticket.has_value());
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.capacity(), nodes.a.session.packet_size_limit());
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received.size(), 101u);
  EXPECT_EQ(nodes.b.received[0].second, "before");
  EXPECT_GE(nodes.a.session.sent_ticket(), ticket.value());
}

TEST(Session, LargeMessagesGoInSealedFragments) {
  Options options;
  options.payload_size_limit = 1000;
  options.fragment = true;
  options.max_message_size = 70'000;
  for (const double jitter : {0.0, 1.0}) {
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    nodes.link.tap([&](int, Bytes& datagram) {
      // Nothing of it is readable on the way.
      EXPECT_EQ(as_text(datagram).find("fragment"), std::string_view::npos);
      return true;
    });
    if (jitter > 0) nodes.link.weather.jitter = 3ms;
    for (const std::size_t size : {1001u, 60'000u, 70'000u, 1u, 2000u}) {
      std::string text;
      while (text.size() < size) text += "fragment " + std::to_string(text.size());
      text.resize(size);
      ASSERT_TRUE(nodes.send(nodes.a, text));
      nodes.link.run_for(1s);
      ASSERT_FALSE(nodes.b.received.empty()) << size;
      EXPECT_EQ(nodes.b.received.back().second, text);
    }
    EXPECT_EQ(nodes.b.received.size(), 5u);
    const auto refused =
        nodes.a.session.send(kReadWrite, as_bytes(std::string(70'001, 'x')), nodes.link.now());
    EXPECT_EQ(refused.error(), SendError::kTooBig);
  }
}

// ---- receiving ----------------------------------------------------------------------------------

TEST(Session, AnApplicationThatDoesNotReadKeepsItsSession) {
  for (const bool lossy : {false, true}) {
    Options options;
    options.lossy = lossy;
    options.receive_queue_limit = 300 * 1024;
    options.key_update_interval = 5s;
    TwoNodes nodes(options);
    ASSERT_TRUE(nodes.establish());
    nodes.b.reading = false;
    std::size_t sent = 0;
    const std::string block(1000, 'b');
    // Until it would have to wait; a transport that loses nothing then stops reading.
    for (int i = 0; i < 1000 && (lossy || nodes.b.session.wants_input()); ++i) {
      if (nodes.send(nodes.a, block)) ++sent;
      nodes.link.run_for(2ms);
    }
    EXPECT_EQ(nodes.b.session.wants_input(), lossy);
    if (lossy) {
      nodes.link.run_for(200s);  // several renewals and time-outs long
    }
    EXPECT_TRUE(nodes.a.established());
    EXPECT_TRUE(nodes.b.established());
    nodes.b.reading = true;
    nodes.link.run_for(100ms);
    EXPECT_TRUE(nodes.b.session.wants_input());
    if (lossy) {
      EXPECT_GT(nodes.b.dropped(DropReason::kQueueFull), 0u);
      EXPECT_GT(nodes.b.received.size(), 200u);
    } else {
      EXPECT_EQ(nodes.b.received.size(), sent);
    }
  }
}

// What is kept for it is counted with its book-keeping: many small packets are large too.
TEST(Session, SmallPacketsFillTheQueueOfWhoDoesNotRead) {
  Options options;
  options.lossy = true;
  options.receive_queue_limit = 128 * 1024;
  options.send_delay = 0ns;
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.b.reading = false;
  for (int i = 0; i < 5000; ++i) {
    nodes.send(nodes.a, "x");
    if (i % 100 == 0) nodes.link.run_for(1ms);
  }
  nodes.link.run_for(100ms);
  EXPECT_GT(nodes.b.dropped(DropReason::kQueueFull), 3000u);
  nodes.b.reading = true;
  nodes.link.run_for(100ms);
  EXPECT_GT(nodes.b.received.size(), 500u);
}

TEST(Session, WhoTakesNoEventsIsNotBuriedInThem) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  nodes.b.reading = false;
  std::unique_ptr<Node> again;
  for (std::uint64_t life = 1; life <= 200; ++life) {
    again = std::make_unique<Node>(Identities{nodes.identity_a, nodes.identity_b->public_key()},
                                   Options{}, 1000 + life);
    nodes.link.place(0, again.get());
    again->start(nodes.link.now(), nodes.link.wall());
    ASSERT_TRUE(nodes.link.run_for(5s, [&] {
      return again->established() && nodes.b.established() &&
             nodes.b.session.peer_id() == again->session.id();
    })) << life;
  }
  EXPECT_EQ(nodes.b.session.statistics(nodes.link.now()).restarts, 200u);
  std::size_t events = 0;
  std::optional<SessionEvent> last;
  while (auto event = nodes.b.session.next_event()) {
    ++events;
    last = event;
  }
  EXPECT_LE(events, 256u);
  ASSERT_TRUE(last.has_value());
  const auto* state = std::get_if<StateChanged>(&*last);
  ASSERT_NE(state, nullptr) << "the newest are kept";
  EXPECT_EQ(state->state, SessionState::kEstablished);
}

TEST(Session, MessagesInTheCallersBufferAreTakenOrKept) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  Bytes caught;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (from == 0) caught = datagram;
    return from != 0;
  });
  for (const char* text : {"one", "two", "three"}) nodes.send(nodes.a, text);
  nodes.link.run_for(1ms);
  Session& session = nodes.b.session;
  session.receive_in_place(PathId{0}, caught, nodes.link.now());
  EXPECT_FALSE(session.wants_input());
  auto message = session.next_message();
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(as_text(message->payload), "one");
  EXPECT_GE(message->payload.data(), caught.data());
  EXPECT_LT(message->payload.data(), caught.data() + caught.size());
  session.keep_undelivered();
  EXPECT_TRUE(session.wants_input());
  caught.assign(caught.size(), std::byte{0});
  EXPECT_EQ(as_text(session.next_message()->payload), "two");
  EXPECT_EQ(as_text(session.next_message()->payload), "three");
  EXPECT_FALSE(session.next_message().has_value());
}

TEST(Session, MessagesAreHandedOverUntilTheSinkHasEnough) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  nodes.b.reading = false;
  Session& session = nodes.b.session;
  Texts got;
  std::size_t wanted = 2;
  const auto take = [&] {
    session.take_messages([&](MessageType type, ByteSpan payload) {
      got.emplace_back(type, to_text(payload));
      // What a handler may do meanwhile.
      EXPECT_TRUE(session.send(kReadWrite, payload, nodes.link.now()).has_value());
      return got.size() < wanted;
    });
  };
  // Two packets: the first is kept by the session when the second comes.
  for (const char* text : {"one", "two", "three"}) nodes.send(nodes.a, text);
  nodes.link.run_for(1s);
  nodes.send(nodes.a, "four", channel_type(ChannelId{7}));
  nodes.send(nodes.a, "");
  nodes.link.run_for(1s);
  take();
  EXPECT_EQ(got, (Texts{{kReadWrite, "one"}, {kReadWrite, "two"}}));
  wanted = 4;
  take();
  EXPECT_EQ(got.size(), 4u);
  EXPECT_EQ(got.back(), (Texts::value_type{channel_type(ChannelId{7}), "four"}));
  // Nothing more comes of a session that the sink ends.
  session.take_messages([&](MessageType, ByteSpan payload) {
    EXPECT_TRUE(payload.empty());
    session.abort(nodes.link.now());
    return true;
  });
  EXPECT_FALSE(session.next_message().has_value());
  EXPECT_EQ(session.statistics(nodes.link.now()).messages_received, 5u);
}

TEST(Session, AfterTheAgreedNumberOfMessagesItCloses) {
  Options options;
  options.close_after_messages = 2;
  TwoNodes nodes({}, options, 1);
  ASSERT_TRUE(nodes.establish());
  for (int i = 0; i < 3; ++i) nodes.send(nodes.a, std::to_string(i));
  nodes.link.run_for(1s);
  EXPECT_GE(nodes.b.received.size(), 2u);
  ASSERT_TRUE(nodes.b.closed.has_value());
  EXPECT_EQ(nodes.b.closed->reason, CloseReason::kMessageCount);
}

// ---- life ---------------------------------------------------------------------------------------

TEST(Session, CloseFlushesAndTellsThePeer) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(nodes.send(nodes.a, std::string(9000, 'f')));
  nodes.a.session.close(nodes.link.now());
  nodes.a.session.close(nodes.link.now());
  EXPECT_EQ(nodes.a.session.send(kReadWrite, {}, nodes.link.now()).error(), SendError::kNotOpen);
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received.size(), 50u);
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->reason, CloseReason::kRequested);
  EXPECT_EQ(nodes.a.closed->unsent_messages, 0u);
  ASSERT_TRUE(nodes.b.closed.has_value());
  EXPECT_EQ(nodes.b.closed->reason, CloseReason::kByPeer);
  EXPECT_FALSE(nodes.a.session.deadline().has_value());
  EXPECT_EQ(nodes.a.session.state(), SessionState::kClosed);
}

TEST(Session, CloseBeforeItIsEstablishedWaitsAndThenCountsWhatIsLost) {
  TwoNodes nodes;
  nodes.a.start(nodes.link.now(), nodes.link.wall());
  nodes.send(nodes.a, "one");
  nodes.send(nodes.a, "two");
  nodes.a.session.close(nodes.link.now());
  nodes.link.run_for(4s);
  EXPECT_EQ(nodes.a.session.state(), SessionState::kClosing);
  nodes.link.run_for(2s);
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->unsent_messages, 2u);

  TwoNodes late;
  late.a.start(late.link.now(), late.link.wall());
  late.send(late.a, "in time");
  late.a.session.close(late.link.now());
  late.link.run_for(2s);
  late.b.start(late.link.now(), late.link.wall());
  late.link.run_for(3s);
  EXPECT_EQ(late.b.received, (Texts{{kReadWrite, "in time"}}));
  EXPECT_EQ(late.a.closed->unsent_messages, 0u);
}

TEST(Session, CloseBeforeStartAndAbortEndAtOnce) {
  TwoNodes nodes;
  nodes.a.session.close(nodes.link.now());
  EXPECT_EQ(nodes.a.session.state(), SessionState::kClosed);
  EXPECT_FALSE(nodes.a.session.start({}, nodes.link.now(), nodes.link.wall()).has_value());
  TwoNodes others;
  ASSERT_TRUE(others.establish());
  EXPECT_FALSE(others.a.session.start({}, others.link.now(), others.link.wall()).has_value());
  others.a.session.abort(others.link.now());
  EXPECT_EQ(others.a.session.state(), SessionState::kClosed);
  EXPECT_FALSE(others.a.session.next_output().has_value());
  others.link.run_for(1s);
  EXPECT_FALSE(others.b.closed.has_value());
}

TEST(Session, ForgedCloseAndCloseOfALegacyPeerMeanNothing) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  const ByteArray<1> body{std::byte{1}};
  nodes.link.deliver(1, plain_packet(PacketId{99}, MessageType{0xfffffff9}, body, kConfidential));
  nodes.link.run_for(1s);
  EXPECT_TRUE(nodes.b.established());
  EXPECT_EQ(nodes.b.dropped(DropReason::kNotKeyExchange), 1u);
}

TEST(Session, PauseLeavesTheTransportAlone) {
  TwoNodes nodes;
  EXPECT_FALSE(nodes.a.session.pause(nodes.link.now()).has_value());
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(1s);
  ASSERT_TRUE(nodes.a.session.pause(nodes.link.now()).has_value());
  EXPECT_FALSE(nodes.a.session.wants_input());
  EXPECT_TRUE(nodes.send(nodes.a, "queued"));
  EXPECT_FALSE(nodes.a.session.next_output().has_value());
  EXPECT_FALSE(nodes.a.session.pause(nodes.link.now()).has_value());
  nodes.link.run_for(30s);
  EXPECT_TRUE(nodes.b.received.empty());
  ASSERT_TRUE(nodes.a.session.resume(nodes.link.now()).has_value());
  EXPECT_FALSE(nodes.a.session.resume(nodes.link.now()).has_value());
  nodes.link.run_for(2s);
  EXPECT_EQ(nodes.b.received, (Texts{{kReadWrite, "queued"}}));
}

TEST(Session, KeepalivesMeasureTheRoundTrip) {
  Options options;
  options.keepalive = 1s;
  TwoNodes nodes(options);
  nodes.link.weather.delay = 20ms;
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(10s);
  const Statistics statistics = nodes.a.session.statistics(nodes.link.now());
  ASSERT_TRUE(statistics.round_trip.has_value());
  EXPECT_EQ(*statistics.round_trip, 40ms);
}

TEST(Session, OptionsThatCannotWorkAreNamed) {
  const auto own = shared_identity(1);
  const auto peer = shared_identity(2)->public_key();
  const auto check = [&](auto change) {
    Options options;
    change(options);
    return Session::check({own, peer}, options);
  };
  EXPECT_FALSE(check([](Options&) {}).has_value());
  EXPECT_EQ(Session::check({nullptr, peer}, {}), OptionsError::kNoIdentity);
  EXPECT_EQ(Session::check({own, std::nullopt}, {}), OptionsError::kNoPeer);
  EXPECT_FALSE(Session::check({own, std::nullopt, true}, {}).has_value());
  EXPECT_EQ(check([](Options& o) { o.payload_size_limit = 146; }), OptionsError::kPayloadSize);
  EXPECT_FALSE(check([](Options& o) { o.payload_size_limit = 147; }).has_value());
  EXPECT_EQ(check([](Options& o) { o.payload_size_limit = Options::kMaxPayloadSize + 1; }),
            OptionsError::kPayloadSize);
  EXPECT_EQ(check([](Options& o) {
              o.payload_size_limit = 357;
              o.peer_kind = PeerKind::kSealane;
            }),
            OptionsError::kPayloadSize);
  EXPECT_EQ(check([](Options& o) { o.retry_interval = 0s; }), OptionsError::kDuration);
  EXPECT_EQ(check([](Options& o) { o.send_delay = -1ns; }), OptionsError::kDuration);
  EXPECT_FALSE(check([](Options& o) { o.send_delay = 0ns; }).has_value());
  EXPECT_EQ(check([](Options& o) { o.send_queue_limit = 0; }), OptionsError::kLimit);
  EXPECT_EQ(check([](Options& o) { o.verify_rate = 0; }), OptionsError::kLimit);
}

TEST(Session, BuffersAreGivenBackWhenNothingHappens) {
  Options options;
  options.keepalive.reset();
  TwoNodes nodes(options);
  ASSERT_TRUE(nodes.establish());
  nodes.send(nodes.a, "x");
  nodes.link.run_for(1ms);
  // What is left to do is all far away: nothing wakes an idle session every moment.
  nodes.link.run_for(5s);
  const auto deadline = nodes.a.session.deadline();
  ASSERT_TRUE(deadline.has_value());
  EXPECT_GT(*deadline, nodes.link.now() + 5s);
}

TEST(SessionIds, AlwaysGrowAlsoWhenTheClockDoesNot) {
  SeededRandom random(1);
  SessionIdSource source;
  const WallTime late{std::chrono::hours(24 * 365 * 60)};
  const SessionId first = source.next(late, random);
  const SessionId second = source.next(late - 24h, random);
  SessionIdSource another;
  const SessionId third = another.next(WallTime{} - 24h, random);
  EXPECT_GT(second.created_at, first.created_at);
  EXPECT_GT(third.created_at, second.created_at);
  EXPECT_NE(second.random, third.random);
}

}  // namespace
}  // namespace sealane::session
