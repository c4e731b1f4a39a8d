// Goal: every rule of a connection holds: who is let in, what is valid where, what is discarded,
// when it ends, and what a legacy peer is spared. Method: both ends in memory in virtual time, with
// a stand-in for RSA; each row of the rules by its own small conversation.
#include <gtest/gtest.h>

#include "hub/challenge.h"
#include "hub/frame.h"
#include "tests/hub/kit.h"

namespace sealane::hub {
namespace {

using namespace testing;
using namespace std::chrono_literals;

using Outgoing = ClientConnection::Outgoing;
using Delivery = HubConnection::Delivery;

Outgoing to(const ClientId& who, std::string_view data) {
  return {.to = who, .ref = {}, .part = {}, .data = as_bytes(data)};
}
// A clear frame, as anybody can make it who knows the receiver's key.
Bytes clear_frame(const Person& receiver, ByteSpan plain) {
  const JobResult sealed = run_cheap(
      Job{.number = {}, .work = EncryptJob{.key = receiver.public_key, .plain = to_bytes(plain)}});
  return encode_frame(sealed.outcome.value());
}
Bytes heartbeat() {
  return encode(Message{C2sMessage{.type = C2sType::kHeartbeat, .time = 1, .data = {}}});
}

TEST(Connection, SealaneEndsUpgradeAndTalk) {
  auto options = hub_options();
  Pair pair(options, client_options("A", HubKind::kSealane));
  ASSERT_EQ(pair.client.all<ClientReady>().size(), 1u);
  EXPECT_EQ(pair.client.all<ClientReady>()[0].features, kAllFeatures);
  ASSERT_EQ(pair.hub.all<Ready>().size(), 1u);
  EXPECT_EQ(pair.hub.all<Ready>()[0].features, kAllFeatures);
  EXPECT_TRUE(pair.client.all<HubOffered>().at(0).pinned);
  EXPECT_TRUE(pair.client.all<HubOffered>().at(0).bound);
  EXPECT_FALSE(pair.hub.core.paced());

  Outgoing message = to(id_of("B"), "hello");
  message.ref = SenderRef{7};
  ASSERT_TRUE(pair.client.core.send(message, pair.client.now).has_value());
  pair.go();
  const auto submitted = pair.hub.all<Submitted>();
  ASSERT_EQ(submitted.size(), 1u);
  EXPECT_EQ(submitted[0].to, id_of("B"));
  EXPECT_EQ(submitted[0].ref, SenderRef{7});
  EXPECT_EQ(submitted[0].content, content_of("hello", true));

  ASSERT_TRUE(pair.hub.core
                  .deliver({.id = DeliveryId{5},
                            .sender = id_of("B"),
                            .group = id_of("A"),
                            .accepted_at = kWall,
                            .content = submitted[0].content},
                           pair.hub.now)
                  .has_value());
  EXPECT_TRUE(pair.hub.core.tell(
      ReceiptMessage{.kind = ReceiptKind::kReceived, .ref = SenderRef{7}, .recipient = id_of("B")},
      pair.hub.now));
  EXPECT_TRUE(pair.hub.core.tell(
      RefusalMessage{.reason = RefusalReason::kDenied, .ref = {}, .recipient = id_of("B")},
      pair.hub.now));
  EXPECT_TRUE(pair.hub.core.tell(
      StatesMessage{{{.client = id_of("B"), .online = true, .since_ms = 3}}}, pair.hub.now));
  EXPECT_TRUE(pair.hub.core.tell(
      HubStatusMessage{.started_ms = 1, .known = 2, .online = 3, .queued = 4}, pair.hub.now));
  pair.go();
  const auto incoming = pair.client.all<Incoming>();
  ASSERT_EQ(incoming.size(), 1u);
  EXPECT_EQ(incoming[0].sender, id_of("B"));
  EXPECT_EQ(incoming[0].group, id_of("A"));
  EXPECT_EQ(incoming[0].accepted_at, kWall);
  EXPECT_TRUE(incoming[0].sealed);
  EXPECT_EQ(as_text(incoming[0].data), "hello");
  EXPECT_EQ(pair.client.all<Receipt>().at(0).receipt.kind, ReceiptKind::kReceived);
  EXPECT_EQ(pair.client.all<Refused>().at(0).refusal.reason, RefusalReason::kDenied);
  EXPECT_EQ(pair.client.all<StatesTold>().at(0).states.size(), 1u);
  EXPECT_EQ(pair.client.all<HubStatusTold>().at(0).status.queued, 4u);

  EXPECT_TRUE(pair.client.core.received(DeliveryId{5}, pair.client.now));
  EXPECT_TRUE(pair.client.core.ask({.action = PresenceAction::kSubscribe, .ids = {id_of("B")}},
                                   pair.client.now));
  EXPECT_TRUE(pair.client.core.ask_status(pair.client.now));
  EXPECT_TRUE(pair.client.core.ping(pair.client.now));
  pair.go();
  EXPECT_EQ(pair.hub.all<Acknowledged>().at(0).id, DeliveryId{5});
  EXPECT_EQ(pair.hub.all<PresenceAsked>().at(0).request.ids.at(0), id_of("B"));
  EXPECT_EQ(pair.hub.all<StatusAsked>().size(), 1u);
  EXPECT_EQ(pair.client.all<Ponged>().size(), 1u);
  EXPECT_TRUE(pair.hub.all<HandedOver>().empty());  // it acknowledges

  pair.client.core.stop(pair.client.now);
  pair.go();
  EXPECT_EQ(pair.hub.stopped(), HubStop::kByClient);
  EXPECT_EQ(pair.client.stopped(), ClientStop::kRequested);
  EXPECT_EQ(pair.hub.core.counters().out_of_scope + pair.hub.core.counters().undecodable, 0u);
  EXPECT_EQ(pair.client.core.counters().out_of_scope, 0u);
}

TEST(Connection, HighestRefAndRealRsa) {
  auto options = hub_options();
  HubEnd hub(options);
  ClientEnd client(client_options("A", HubKind::kSealane));
  hub.runner = client.runner = &run;
  hub.highest_ref = 42;
  pump(hub, client);
  EXPECT_EQ(client.all<ClientReady>().at(0).highest_ref, 42u);
}

TEST(Connection, FeaturesAreWhatBothHave) {
  auto options = hub_options();
  options->features = {Feature::kFrom, Feature::kPing};  // aead comes with it
  ClientOptions who = client_options("A", HubKind::kSealane);
  who.features = {Feature::kAead, Feature::kPing, Feature::kPresence};
  Pair pair(options, who);
  const Features both = {Feature::kAead, Feature::kPing};
  EXPECT_EQ(pair.client.all<ClientReady>().at(0).features, both);
  EXPECT_EQ(pair.hub.all<Ready>().at(0).features, both);
  // Without "from" it gets plain messages, without "ack" the hub counts what has left.
  ASSERT_TRUE(pair.hub.core
                  .deliver({.id = DeliveryId{5},
                            .sender = id_of("B"),
                            .group = {},
                            .accepted_at = kWall,
                            .content = content_of("x")},
                           pair.hub.now)
                  .has_value());
  EXPECT_FALSE(pair.hub.core.tell(
      ReceiptMessage{.kind = ReceiptKind::kAccepted, .ref = SenderRef{1}, .recipient = id_of("B")},
      pair.hub.now));
  EXPECT_FALSE(pair.client.core.received(DeliveryId{5}, pair.client.now));
  EXPECT_FALSE(pair.client.core.ask({}, pair.client.now));
  pair.go();
  EXPECT_FALSE(pair.client.all<Incoming>().at(0).sender);
  EXPECT_EQ(pair.hub.all<HandedOver>().at(0).id, DeliveryId{5});
  Outgoing with_ref = to(id_of("B"), "x");
  with_ref.ref = SenderRef{1};
  EXPECT_EQ(pair.client.core.send(with_ref, pair.client.now).error(), SendError::kNoFeature);
}

TEST(Connection, ALegacyClientGetsPlainMessagesOneFrameAtATime) {
  Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  ASSERT_EQ(pair.hub.all<Ready>().size(), 1u);
  EXPECT_TRUE(pair.hub.all<Ready>()[0].features.empty());
  EXPECT_TRUE(pair.client.all<ClientReady>().at(0).features.empty());
  for (std::uint64_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(pair.hub.core
                    .deliver({.id = DeliveryId{i},
                              .sender = id_of("B"),
                              .group = {},
                              .accepted_at = kWall,
                              .content = content_of("hello")},
                             pair.hub.now)
                    .has_value());
  }
  pair.hub.settle();
  for (std::uint64_t i = 1; i <= 3; ++i) {
    EXPECT_TRUE(pair.hub.core.paced());
    const Bytes frame = to_bytes(pair.hub.core.next_output());
    EXPECT_EQ(frame.size(), 258u);
    // It counts as handed over once all of it has left, and not before.
    pair.hub.core.output_sent(200);
    pair.hub.settle();
    EXPECT_EQ(pair.hub.all<HandedOver>().size(), i - 1);
    pair.hub.core.output_sent(58);
    pair.hub.settle();
    EXPECT_EQ(pair.hub.all<HandedOver>().size(), i);
    give(pair.client, frame);
  }
  EXPECT_FALSE(pair.hub.core.paced());
  EXPECT_EQ(pair.client.all<Incoming>().size(), 3u);
  EXPECT_FALSE(pair.client.all<Incoming>()[0].sender);
  EXPECT_FALSE(pair.hub.core.tell(RefusalMessage{}, pair.hub.now));
}

TEST(Connection, ALegacyClientMayUpgradeLater) {
  // Listed as legacy, and it is ours: served at once, and again with features.
  Pair pair(hub_options(), client_options("A", HubKind::kAny), ClientKind::kLegacy);
  const auto ready = pair.hub.all<Ready>();
  ASSERT_EQ(ready.size(), 2u);
  EXPECT_TRUE(ready[0].features.empty());
  EXPECT_EQ(ready[1].features, kAllFeatures);
  EXPECT_EQ(pair.client.all<ClientReady>().size(), 1u);
}

TEST(Connection, WhatAHubSendsALegacyClientBeforeTheUpgradeArrives) {
  HubEnd hub(hub_options());
  for (auto& entry : hub.listed) entry.second = ClientKind::kLegacy;
  ClientEnd client(client_options("A", HubKind::kAny));
  give(client, take_output(hub));
  give(hub, take_output(client));
  ASSERT_TRUE(hub.core
                  .deliver({.id = DeliveryId{1},
                            .sender = id_of("B"),
                            .group = {},
                            .accepted_at = kWall,
                            .content = content_of("early")},
                           hub.now)
                  .has_value());
  pump(hub, client);
  ASSERT_EQ(client.all<Incoming>().size(), 1u);
  EXPECT_FALSE(client.all<Incoming>()[0].sealed);
  EXPECT_EQ(client.all<ClientReady>().at(0).features, kAllFeatures);
}

TEST(Connection, RefusedLoginsLookAlike) {
  struct Row {
    const char* what;
    ClientId id;
    const char* key;
  };
  for (const Row& row : {Row{"unknown id", id_of("unknown-id"), "stranger"},
                         Row{"wrong key", id_of("A"), "stranger"}}) {
    SCOPED_TRACE(row.what);
    HubEnd hub(hub_options());
    ClientOptions options = client_options("A");
    options.id = row.id;
    options.key = person(row.key).key;
    ClientEnd client(options);
    int verified = 0;
    hub.runner = [&](const Job& job) {
      verified += std::holds_alternative<VerifyJob>(job.work) ? 1 : 0;
      return run_cheap(job);
    };
    pump(hub, client);
    EXPECT_EQ(hub.stopped(), HubStop::kLoginFailed);
    EXPECT_EQ(verified, 1);                         // the same work
    EXPECT_EQ(hub.core.counters().frames_out, 1u);  // the challenge, and not a word after it
    EXPECT_TRUE(hub.all<Login>().empty());
    client.core.on_end(client.now);
    client.settle();
    EXPECT_EQ(client.stopped(), ClientStop::kLoginRefused);
  }
}

TEST(Connection, MalformedResponses) {
  const Person& server = person("server");
  const auto stop_after = [&](const Bytes& bytes) {
    HubEnd hub(hub_options());
    take_output(hub);
    give(hub, bytes);
    EXPECT_TRUE(take_output(hub).empty());
    return hub.stopped();
  };
  EXPECT_EQ(stop_after(clear_frame(server, Bytes(2))), HubStop::kLoginFailed);
  EXPECT_EQ(stop_after(clear_frame(server, Bytes(15))), HubStop::kLoginFailed);
  EXPECT_EQ(stop_after(clear_frame(server, id_of("A").bytes)), HubStop::kLoginFailed);
  EXPECT_EQ(stop_after(encode_frame(Bytes(256))), HubStop::kLoginFailed);
  EXPECT_EQ(stop_after(encode_frame(Bytes(300))), HubStop::kLoginFailed);
  // Too much RSA work for a stranger: refused from its first two bytes on.
  EXPECT_EQ(stop_after(*from_hex("0801")), HubStop::kLoginFailed);
  // Zero frames are nothing, and gain no time.
  HubEnd hub(hub_options());
  take_output(hub);
  hub.now += 9s;
  give(hub, encode_frame({}));
  EXPECT_EQ(hub.core.deadline(), SteadyTime{} + 10s);
  hub.now = SteadyTime{} + 10s;
  hub.core.on_deadline(hub.now);
  hub.settle();
  EXPECT_EQ(hub.stopped(), HubStop::kLoginTimeout);
}

TEST(Connection, TheHubMayRefuseAProvenClient) {
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A"));
  hub.admits = false;
  pump(hub, client);
  ASSERT_EQ(hub.all<Login>().size(), 1u);
  hub.core.refuse("already connected", hub.now);
  pump(hub, client);
  EXPECT_EQ(hub.stopped(), HubStop::kRefused);
  EXPECT_EQ(client.stopped(), ClientStop::kLoginRefused);
  EXPECT_EQ(client.all<ClientStopped>()[0].text, "already connected");
}

TEST(Connection, DeadlinesInEveryState) {
  // Login: nothing; a part of a response; an application that does not answer.
  for (const int state : {0, 1, 2}) {
    HubEnd hub(hub_options());
    ClientEnd client(client_options("A"));
    hub.admits = false;
    give(client, take_output(hub));
    const Bytes response = take_output(client);
    if (state == 1) give(hub, ByteSpan(response).first(300));
    if (state == 2) give(hub, response);
    ASSERT_EQ(hub.core.deadline(), SteadyTime{} + 10s) << state;
    hub.now += 10s;
    hub.core.on_deadline(hub.now);
    hub.settle();
    EXPECT_EQ(hub.stopped(), HubStop::kLoginTimeout) << state;
    // The client's own.
    client.now += 20s;
    client.core.on_deadline(client.now);
    client.settle();
    EXPECT_EQ(client.stopped(), ClientStop::kLoginTimeout);
  }
  // Upgrade.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A"));
  give(client, take_output(hub));
  give(hub, take_output(client));
  take_output(hub);
  hub.now += 10s;
  hub.core.on_deadline(hub.now);
  hub.settle();
  EXPECT_EQ(hub.stopped(), HubStop::kUpgradeTimeout);
}

TEST(Connection, IdleLimitsAndHeartbeats) {
  for (const bool sealed : {true, false}) {
    Pair pair(hub_options(), client_options("A", sealed ? HubKind::kSealane : HubKind::kLegacy),
              sealed ? ClientKind::kSealane : ClientKind::kLegacy);
    pair.pass(10min);  // heartbeats keep it
    EXPECT_FALSE(pair.hub.stopped());
    EXPECT_FALSE(pair.client.stopped());
    // Upgraded: as announced (20 s); legacy: at most 10 s apart.
    const auto frames = pair.client.core.counters().frames_out;
    EXPECT_GE(frames, sealed ? 30u : 60u);
    EXPECT_LE(frames, sealed ? 65u : 63u);
    // A client that falls silent is told, and dropped after the limit: 60 s as announced.
    const SteadyTime last = pair.hub.now;
    while (!pair.hub.stopped()) {
      pair.hub.now = *pair.hub.core.deadline();
      pair.hub.core.on_deadline(pair.hub.now);
      take_output(pair.hub);
    }
    EXPECT_EQ(pair.hub.stopped(), HubStop::kIdle);
    EXPECT_GE(pair.hub.now - last, 40s);
    EXPECT_LE(pair.hub.now - last, 60s);
  }
}

TEST(Connection, LegacyIdleLimitIsNeverBelow35Seconds) {
  auto options = hub_options();
  options->heartbeat_timeout = 5s;
  options->heartbeat_interval = 2s;
  Pair legacy(options, client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  EXPECT_EQ(legacy.hub.core.deadline(), SteadyTime{} + 35s);
  Pair sealed(options, client_options("A", HubKind::kSealane));
  EXPECT_EQ(sealed.hub.core.deadline(), SteadyTime{} + 7s);
  options->idle_limit = 5s;  // the strict reading
  Pair strict(options, client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  EXPECT_EQ(strict.hub.core.deadline(), SteadyTime{} + 5s);
}

TEST(Connection, ZeroFramesKeepALegacyClientOnly) {
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  for (Pair* pair : {&legacy, &sealed}) {
    pair->hub.now += 30s;
    give(pair->hub, encode_frame({}));
    EXPECT_EQ(pair->hub.core.deadline(), SteadyTime{} + (pair == &legacy ? 90s : 60s));
    EXPECT_EQ(pair->hub.core.counters().zero_frames, 1u);
  }
}

TEST(Connection, ASilentHubIsNoticed) {
  Pair pair(hub_options(), client_options("A", HubKind::kSealane));
  while (!pair.client.stopped()) {
    pair.client.now = *pair.client.core.deadline();
    pair.client.core.on_deadline(pair.client.now);
    take_output(pair.client);  // goes nowhere
  }
  EXPECT_EQ(pair.client.stopped(), ClientStop::kSilent);
  EXPECT_EQ(pair.client.now, SteadyTime{} + 60s);
}

// What a legacy client may say: each first byte, and what becomes of it.
TEST(Connection, ScopeAtTheHub) {
  const Person& server = person("server");
  struct Row {
    const char* hex;
    std::uint64_t undecodable;
    std::uint64_t out_of_scope;
    std::size_t submitted;
  };
  const std::string b = to_hex(id_of("B").bytes);
  for (const Row& row :
       {Row{"10", 0, 0, 0}, Row{"106553f100aabb", 0, 0, 0}, Row{"116553f1007b7d", 0, 1, 0},
        Row{"126553f100", 1, 0, 0}, Row{"1e6553f100", 1, 0, 0}, Row{"206553f100", 1, 0, 0},
        Row{"2e6553f100", 0, 1, 0}, Row{"2f6553f100", 0, 1, 0}, Row{"30", 1, 0, 0},
        Row{"7f00", 1, 0, 0}, Row{"f0", 1, 0, 0}, Row{"00", 1, 0, 0}, Row{"01", 1, 0, 0}}) {
    SCOPED_TRACE(row.hex);
    Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
    give(pair.hub, clear_frame(server, heartbeat()));
    give(pair.hub, clear_frame(server, *from_hex(row.hex)));
    EXPECT_EQ(pair.hub.core.counters().undecodable, row.undecodable);
    EXPECT_EQ(pair.hub.core.counters().out_of_scope, row.out_of_scope);
    // It lives, and says nothing.
    EXPECT_TRUE(take_output(pair.hub).empty());
    give(pair.hub, clear_frame(server, *from_hex("00" + b + "6869")));
    EXPECT_EQ(pair.hub.all<Submitted>().size(), 1u);
    EXPECT_FALSE(pair.hub.stopped());
  }
  // C2C without data goes on; a frame of an empty block is nothing.
  Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(pair.hub, clear_frame(server, *from_hex("00" + b)));
  EXPECT_EQ(pair.hub.all<Submitted>().at(0).content, content_of(""));
  // The strict reading refuses short times.
  auto strict = hub_options();
  strict->short_time = ShortTime::kRefuse;
  Pair other(strict, client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(other.hub, clear_frame(server, *from_hex("10ff")));
  EXPECT_EQ(other.hub.core.counters().undecodable, 1u);
}

TEST(Connection, ScopeAtTheClient) {
  const Person& a = person("A");
  Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  const std::string to_b = "00" + to_hex(id_of("B").bytes) + "6869";
  for (const char* hex : {"10", "2e6553f100", "2f6553f100", "126553f100", "30", "f0", "01"}) {
    give(pair.client, clear_frame(a, *from_hex(hex)));
  }
  give(pair.client, clear_frame(a, *from_hex(to_b)));  // for somebody else
  give(pair.client, encode_frame({}));
  EXPECT_EQ(pair.client.core.counters().undecodable, 4u);
  EXPECT_EQ(pair.client.core.counters().out_of_scope, 3u);
  EXPECT_EQ(pair.client.core.counters().zero_frames, 1u);
  EXPECT_TRUE(pair.client.all<Incoming>().empty());
  EXPECT_FALSE(pair.client.stopped());
  EXPECT_TRUE(take_output(pair.client).empty());
}

TEST(Connection, FramesThatDoNotOpenEndIt) {
  for (const std::size_t size : {256u, 300u, 1u}) {
    Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
    give(pair.hub, clear_frame(person("server"), heartbeat()));
    give(pair.hub, encode_frame(Bytes(size)));
    EXPECT_EQ(pair.hub.stopped(), HubStop::kBadFrame);
    give(pair.client, take_output(pair.hub));
    EXPECT_EQ(pair.client.stopped(), ClientStop::kByHub);
    EXPECT_EQ(pair.client.all<ClientStopped>()[0].text, "bad frame");
  }
  auto strict = hub_options();
  strict->stop_on_bad_frame = false;
  Pair pair(strict, client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(pair.hub, clear_frame(person("server"), heartbeat()));
  give(pair.hub, encode_frame(Bytes(256)));
  EXPECT_TRUE(take_output(pair.hub).empty());
  EXPECT_EQ(pair.hub.stopped(), HubStop::kBadFrame);
}

TEST(Connection, TheEndWithoutAWordFreesTheIdAtOnce) {
  Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(pair.hub, clear_frame(person("server"), heartbeat()));
  // What came just before it counts, although its job is not done yet.
  std::vector<Job> held;
  const Bytes last =
      clear_frame(person("server"), encode(Message{C2cMessage{.to = id_of("B"), .data = {}}}));
  pair.hub.core.receive(last, pair.hub.now);
  pair.hub.core.on_end(pair.hub.now);
  EXPECT_FALSE(pair.hub.stopped());
  pair.hub.settle();
  EXPECT_EQ(pair.hub.all<Submitted>().size(), 1u);
  EXPECT_EQ(pair.hub.stopped(), HubStop::kEnd);
  EXPECT_TRUE(take_output(pair.hub).empty());
}

TEST(Connection, WhatAPythonHubMeansByItsEnds) {
  const auto legacy = [] {
    return Pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  };
  Pair duplicate = legacy();
  duplicate.client.now += 900ms;
  duplicate.client.core.on_end(duplicate.client.now);
  duplicate.client.settle();
  EXPECT_EQ(duplicate.client.stopped(), ClientStop::kAlreadyConnected);
  Pair cut = legacy();
  cut.client.now += 2s;
  cut.client.core.on_end(cut.client.now);
  cut.client.settle();
  EXPECT_EQ(cut.client.stopped(), ClientStop::kEnd);
  for (const auto& [wait, expected] :
       {std::pair(1s, ClientStop::kRecipientOffline), std::pair(6s, ClientStop::kByHub)}) {
    Pair offline = legacy();
    ASSERT_TRUE(offline.client.core.send(to(id_of("B"), "x"), offline.client.now).has_value());
    take_output(offline.client);
    offline.client.now += wait;
    offline.hub.core.stop("handler stopping", offline.hub.now);
    give(offline.client, take_output(offline.hub));
    EXPECT_EQ(offline.client.stopped(), expected);
  }
}

TEST(Connection, SizesAreCheckedBeforeTheyHurt) {
  auto options = hub_options();
  Pair legacy(options, client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  const auto send = [](Pair& pair, std::size_t size) {
    return pair.client.core.send(to(id_of("B"), std::string(size, 'x')), pair.client.now);
  };
  EXPECT_EQ(send(legacy, 0).error(), SendError::kEmpty);
  EXPECT_TRUE(send(legacy, 8192).has_value());
  EXPECT_EQ(send(legacy, 8193).error(), SendError::kTooLarge);
  const auto deliver = [](Pair& pair, std::size_t size) {
    const Bytes content = content_of(std::string(size, 'x'));
    return pair.hub.core.deliver({.id = DeliveryId{1},
                                  .sender = id_of("B"),
                                  .group = {},
                                  .accepted_at = kWall,
                                  .content = content},
                                 pair.hub.now);
  };
  EXPECT_TRUE(deliver(legacy, 8192).has_value());
  EXPECT_EQ(deliver(legacy, 8193).error(), DeliverError::kTooLarge);
  // Without pacing the format's own limit holds, on both legs.
  auto free = hub_options();
  free->pace_legacy = false;
  ClientOptions who = client_options("A", HubKind::kLegacy);
  who.pace_legacy = false;
  who.allow_empty = true;
  Pair open(free, who, ClientKind::kLegacy);
  EXPECT_TRUE(send(open, 0).has_value());
  EXPECT_TRUE(send(open, 48433).has_value());
  EXPECT_EQ(send(open, 48434).error(), SendError::kTooLarge);
  EXPECT_TRUE(deliver(open, 48433).has_value());
  EXPECT_EQ(deliver(open, 48434).error(), DeliverError::kTooLarge);
  open.go();
  EXPECT_EQ(open.hub.all<Submitted>().size(), 2u);
  EXPECT_EQ(open.client.all<Incoming>().size(), 1u);
  // Upgraded: what READY says, and it can be passed on as it is.
  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  const std::size_t most = sealed.client.all<ClientReady>().at(0).max_data;
  EXPECT_EQ(most, 65468u);
  EXPECT_TRUE(send(sealed, most).has_value());
  EXPECT_EQ(send(sealed, most + 1).error(), SendError::kTooLarge);
  EXPECT_TRUE(deliver(sealed, most).has_value());
  EXPECT_EQ(deliver(sealed, most + 1).error(), DeliverError::kTooLarge);
  sealed.go();
  EXPECT_EQ(sealed.hub.all<Submitted>().size(), 1u);
  EXPECT_EQ(sealed.client.all<Incoming>().at(0).data.size(), most);
}

TEST(Connection, PartsTravelOnlyWhereTheyAreKnown) {
  const Part part{.whole = 1, .index = 0, .count = 2};
  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  Outgoing message = to(id_of("B"), "half");
  message.part = part;
  ASSERT_TRUE(sealed.client.core.send(message, sealed.client.now).has_value());
  sealed.go();
  const Bytes content = sealed.hub.all<Submitted>().at(0).content;
  EXPECT_EQ(decode_content(content)->part, part);
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  EXPECT_EQ(legacy.client.core.send(message, legacy.client.now).error(), SendError::kNoFeature);
  const Delivery delivery{.id = DeliveryId{1},
                          .sender = id_of("B"),
                          .group = {},
                          .accepted_at = kWall,
                          .content = content};
  EXPECT_EQ(legacy.hub.core.deliver(delivery, legacy.hub.now).error(), DeliverError::kTooLarge);
  ASSERT_TRUE(sealed.hub.core.deliver(delivery, sealed.hub.now).has_value());
  sealed.go();
  EXPECT_EQ(sealed.client.all<Incoming>().at(0).part, part);
}

TEST(Connection, ASlowReaderIsBusyThenStalled) {
  auto options = hub_options();
  options->send_queue_limit = kMaxPayloadSize;
  Pair pair(options, client_options("A", HubKind::kSealane));
  const Bytes content = content_of(std::string(10'000, 'x'));
  const Delivery delivery{.id = DeliveryId{1},
                          .sender = id_of("B"),
                          .group = {},
                          .accepted_at = kWall,
                          .content = content};
  int taken = 0;
  while (pair.hub.core.deliver(delivery, pair.hub.now).has_value()) ++taken;
  EXPECT_EQ(pair.hub.core.deliver(delivery, pair.hub.now).error(), DeliverError::kBusy);
  EXPECT_EQ(taken, 7);
  pair.hub.settle();
  EXPECT_TRUE(pair.hub.all<Writable>().empty());
  pair.hub.core.output_sent(50'000);
  pair.hub.settle();
  EXPECT_EQ(pair.hub.all<Writable>().size(), 1u);
  // It reads nothing any more.
  while (!pair.hub.stopped()) {
    pair.hub.now = *pair.hub.core.deadline();
    pair.hub.core.on_deadline(pair.hub.now);
    pair.hub.settle();
  }
  EXPECT_EQ(pair.hub.stopped(), HubStop::kStalled);
  EXPECT_TRUE(pair.hub.core.next_output().empty());
  EXPECT_LE(pair.hub.now, SteadyTime{} + 61s);
}

TEST(Connection, RatesLeaveTheRestUnread) {
  auto options = hub_options();
  options->frames_per_second = 10;
  options->frames_burst = 5;
  Pair pair(options, client_options("A", HubKind::kSealane));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pair.client.core.send(to(id_of("B"), "x"), pair.client.now).has_value());
  }
  Bytes rest = take_output(pair.client);
  while (!rest.empty()) {
    const std::size_t left = give(pair.hub, rest);
    rest.erase(rest.begin(), rest.end() - static_cast<std::ptrdiff_t>(left));
    if (rest.empty()) break;
    EXPECT_FALSE(pair.hub.core.wants_input());
    pair.hub.now = *pair.hub.core.deadline();
    pair.hub.core.on_deadline(pair.hub.now);
  }
  EXPECT_EQ(pair.hub.all<Submitted>().size(), 20u);
  EXPECT_GE(pair.hub.now, SteadyTime{} + 1500ms);
  EXPECT_LE(pair.hub.now, SteadyTime{} + 2500ms);
  // The gateway's own brake.
  pair.hub.core.pause_input(pair.hub.now + 1s);
  EXPECT_FALSE(pair.hub.core.wants_input());
  EXPECT_LE(*pair.hub.core.deadline(), pair.hub.now + 1s);
}

TEST(Connection, JobsUnderWayAreBounded) {
  Pair pair(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(pair.hub, clear_frame(person("server"), heartbeat()));
  const Bytes frame = clear_frame(person("server"), heartbeat());
  std::size_t taken = 0;
  while (pair.hub.core.wants_input()) {
    ASSERT_EQ(pair.hub.core.receive(frame, pair.hub.now), frame.size());
    ++taken;
  }
  EXPECT_EQ(taken, HubConnection::kMaxJobs);
  pair.hub.settle();
  EXPECT_TRUE(pair.hub.core.wants_input());
}

TEST(Connection, SettingsChangeLive) {
  for (const bool sealed : {true, false}) {
    Pair pair(hub_options(), client_options("A", sealed ? HubKind::kSealane : HubKind::kLegacy),
              sealed ? ClientKind::kSealane : ClientKind::kLegacy);
    Config config;
    config.heartbeat_interval = 3s;
    config.others = {{"motd", "\"x\""}};
    EXPECT_TRUE(pair.hub.core.configure(config, pair.hub.now));
    pair.go();
    ASSERT_EQ(pair.client.all<ConfigTold>().size(), 1u);
    EXPECT_EQ(pair.client.all<ConfigTold>()[0].config, config);
    EXPECT_LE(*pair.client.core.deadline(), pair.client.now + 3s);
  }
}

TEST(Connection, TheHubStops) {
  Pair pair(hub_options(), client_options("A", HubKind::kSealane));
  pair.hub.core.stop("maintenance", pair.hub.now);
  pair.go();
  EXPECT_EQ(pair.hub.stopped(), HubStop::kRequested);
  EXPECT_EQ(pair.client.stopped(), ClientStop::kByHub);
  EXPECT_EQ(pair.client.all<ClientStopped>()[0].text, "maintenance");
  EXPECT_EQ(pair.hub.core
                .deliver({.id = {}, .sender = {}, .group = {}, .accepted_at = {}, .content = {}},
                         pair.hub.now)
                .error(),
            DeliverError::kNotOpen);
  // A client that never answers a STOP is not waited for.
  Pair deaf(hub_options(), client_options("A", HubKind::kSealane));
  deaf.client.core.stop(deaf.client.now);
  take_output(deaf.client);
  EXPECT_EQ(deaf.client.core.deadline(), deaf.client.now + 2s);
  deaf.client.now += 2s;
  deaf.client.core.on_deadline(deaf.client.now);
  deaf.client.settle();
  EXPECT_EQ(deaf.client.stopped(), ClientStop::kRequested);
}

TEST(Connection, Pins) {
  const auto after = [](ClientOptions options, std::optional<bool> answer = {}) {
    HubEnd hub(hub_options());
    ClientEnd client(std::move(options));
    pump(hub, client);
    if (answer) {
      EXPECT_TRUE(client.all<HubOffered>().at(0).asks);
      EXPECT_EQ(hub.core.counters().frames_in, 0u);  // nothing was said yet
      client.core.trust_hub(*answer, client.now);
      pump(hub, client);
    }
    return client.stopped();
  };
  ClientOptions options = client_options("A");
  EXPECT_FALSE(after(options));
  options.pin = person("stranger").public_key->fingerprint();
  EXPECT_EQ(after(options), ClientStop::kPinMismatch);
  options.trust = HubTrust::kAcceptNew;  // a pin is a pin
  EXPECT_EQ(after(options), ClientStop::kPinMismatch);
  options.pin.reset();
  EXPECT_FALSE(after(options));
  options.trust = HubTrust::kStrict;
  EXPECT_EQ(after(options), ClientStop::kHubNotTrusted);
  options.trust = HubTrust::kAsk;
  EXPECT_FALSE(after(options, true));
  EXPECT_EQ(after(options, false), ClientStop::kHubNotTrusted);
}

TEST(Connection, OptionsThatCannotWorkAreNamed) {
  EXPECT_FALSE(problem_with(*hub_options()));
  const auto broken = [](auto change) {
    auto options = hub_options();
    change(*options);
    return problem_with(*options).has_value();
  };
  EXPECT_TRUE(broken([](HubOptions& o) { o.key.reset(); }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.key_pem = "x"; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.challenge_size = 81; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.challenge_size = 65'000; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.login_timeout = 0s; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.send_queue_limit = 10; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.frames_burst = 0; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.other_settings = {{"x", "{"}}; }));
  EXPECT_TRUE(broken([](HubOptions& o) { o.other_settings = {{"bb_ext", "1"}}; }));
  EXPECT_FALSE(broken([](HubOptions& o) { o.other_settings = {{"x", "[1, 2]"}}; }));
  EXPECT_FALSE(problem_with(client_options("A")));
  ClientOptions no_upgrade = client_options("A", HubKind::kSealane);
  no_upgrade.features = {};
  EXPECT_TRUE(problem_with(no_upgrade));
}

}  // namespace
}  // namespace sealane::hub
