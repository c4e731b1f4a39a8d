// Goal: two Sealane ends know that they talk to each other and to nobody in between, and export
// keys that only they have. Method: an attacker with an identity of its own on the wire; the
// format's parts one by one.
#include "session/binding.h"

#include <gtest/gtest.h>

#include "session/own_keys.h"
#include "tests/session/legacy_peer.h"
#include "tests/session/link.h"

namespace sealane::session {
namespace {
using namespace testing;
using namespace std::chrono_literals;

Options pinned() {
  Options options;
  options.peer_kind = PeerKind::kSealane;
  return options;
}
ByteArray<32> exported(const Node& node, std::string_view label, std::string_view context = "") {
  ByteArray<32> out{};
  EXPECT_TRUE(node.session.export_key(label, as_bytes(context), out).has_value());
  return out;
}
KeyExchangeBody some_body(const identity::SigningKey& key, std::uint64_t seed) {
  SeededRandom random(seed);
  KeyExchangeMessage message;
  message.session = {seed, seed + 1};
  message.identity = key.public_key();
  message.flags = kSealaneFlag;
  OwnKeys keys(message, key.seed());
  return keys.renew(random, {}).request;
}

TEST(Binding, FormatRoundTripsAndEachByteIsSigned) {
  const auto a = make_identity(1);
  const auto b = make_identity(2);
  const Binding binding{BindingRole::kProposal, some_body(a, 1), some_body(b, 2)};
  const auto encoded = encode(binding, a.seed());
  const auto parsed = parse_binding(encoded);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed.value().claimed, binding);
  EXPECT_TRUE(verify(parsed.value()).has_value());
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    Bytes changed = to_bytes(encoded);
    changed[i] ^= std::byte{4};
    const auto other = parse_binding(changed);
    EXPECT_FALSE(other.has_value() && verify(other.value()).has_value()) << i;
  }
  for (std::size_t size = 0; size < encoded.size(); ++size) {
    EXPECT_FALSE(parse_binding(ByteSpan(encoded).first(size)).has_value());
  }
  Bytes longer = to_bytes(encoded);
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse_binding(longer).has_value());
}

TEST(Binding, ASignatureServesOneDirectionAndOneRole) {
  const auto a = make_identity(1);
  const auto b = make_identity(2);
  const Binding binding{BindingRole::kProposal, some_body(a, 1), some_body(b, 2)};
  const auto good = parse_binding(encode(binding, a.seed()));
  auto reflected = good.value();
  std::swap(reflected.claimed.sender_body, reflected.claimed.receiver_body);
  EXPECT_FALSE(verify(reflected).has_value());
  auto other_role = good.value();
  other_role.claimed.role = BindingRole::kReply;
  EXPECT_FALSE(verify(other_role).has_value());
  auto other_session = good.value();
  other_session.claimed.receiver_body = some_body(b, 3);
  EXPECT_FALSE(verify(other_session).has_value());
}

TEST(Binding, BothEndsExportTheSameAndItStays) {
  Options options = pinned();
  options.key_update_interval = 5s;
  TwoNodes nodes(options);
  ByteArray<32> out{};
  EXPECT_FALSE(nodes.a.session.export_key("label", {}, out).has_value());
  ASSERT_TRUE(nodes.establish());
  nodes.link.run_for(1s);
  const auto key = exported(nodes.a, "label");
  EXPECT_EQ(key, exported(nodes.b, "label"));
  EXPECT_NE(key, exported(nodes.a, "labe1"));
  EXPECT_NE(key, exported(nodes.a, "label", "context"));
  EXPECT_NE(exported(nodes.a, "ab", "c"), exported(nodes.a, "a", "bc"));
  EXPECT_EQ(exported(nodes.a, "label", "context"), exported(nodes.b, "label", "context"));
  nodes.link.run_for(30s);
  EXPECT_GT(nodes.a.session.statistics(nodes.link.now()).own_renewals, 3u);
  EXPECT_EQ(key, exported(nodes.a, "label"));
  EXPECT_EQ(key, exported(nodes.b, "label"));
  TwoNodes others(options, 2);
  ASSERT_TRUE(others.establish());
  EXPECT_NE(key, exported(others.a, "label"));
}

TEST(Binding, BadWeatherDoesNotMakeTheEndsDisagree) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    Options options = pinned();
    options.lossy = true;
    options.negotiate = false;
    options.key_update_interval = 700ms;  // renewals fall into the binding
    options.retry_interval = 300ms;
    TwoNodes nodes(options, seed);
    nodes.link.weather = {.loss = 0.4, .duplication = 0.3, .jitter = 400ms};
    EXPECT_TRUE(nodes.establish(60s)) << seed;
    nodes.link.weather = {};
    nodes.link.run_for(5s);
    EXPECT_EQ(exported(nodes.a, "x"), exported(nodes.b, "x")) << seed;
  }
}

// ---- attacks ------------------------------------------------------------------------------------

TEST(Binding, APinnedSealanePeerCannotBeDowngraded) {
  Options legacy;
  legacy.peer_kind = PeerKind::kLegacy;
  TwoNodes nodes(pinned(), legacy, 1);
  nodes.start();
  nodes.send(nodes.a, "secret");
  nodes.send(nodes.b, "forged");
  nodes.link.run_for(3s);
  EXPECT_TRUE(nodes.a.reported(ProblemKind::kPeerNotSealane));
  EXPECT_FALSE(nodes.a.established());
  nodes.link.run_for(60s);
  EXPECT_TRUE(nodes.a.received.empty());
  EXPECT_TRUE(nodes.b.received.empty());
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->reason, CloseReason::kNotSealane);
}

TEST(Binding, TheAnnouncementCannotBeTakenAwayOnTheWire) {
  TwoNodes nodes(pinned());
  nodes.link.tap([&](int, Bytes& datagram) {
    const auto message = key_exchange_in(datagram);
    if (!message) return true;
    Bytes payload = to_bytes(ByteSpan(datagram).subspan(kPacketHeaderSize + kMessageHeaderSize));
    payload[145] &= ~std::byte{kSealaneFlag};
    datagram =
        plain_packet(read_packet_id(datagram, {}).value(), MessageType::kKeyExchange, payload);
    return true;
  });
  EXPECT_FALSE(nodes.establish(5s));
  EXPECT_GT(nodes.a.dropped(DropReason::kBadSignature), 0u);
}

TEST(Binding, ARecordingWithoutTheAnnouncementChangesNothing) {
  TwoNodes nodes;
  ASSERT_TRUE(nodes.establish());
  SeededRandom random(9);
  KeyExchangeMessage message;
  message.session = *nodes.a.session.peer_id();
  message.identity = nodes.identity_b->public_key();
  message.exchange_key = crypto::x25519_public(crypto::x25519_generate(random));
  nodes.link.deliver(0, plain_packet(PacketId{500}, MessageType::kKeyExchange,
                                     encode(message, nodes.identity_b->seed())));
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.a.dropped(DropReason::kNotSealane), 1u);
  nodes.send(nodes.a, "on");
  nodes.link.run_for(1s);
  EXPECT_EQ(nodes.b.received.size(), 1u);
}

// A has pinned the attacker E; B has pinned A. E signs B's exchange key as its own, so A talks to B
// and believes that it is E.
TEST(Binding, NobodysNameStandsOnAnothersKey) {
  for (const auto kind : {PeerKind::kLegacy, PeerKind::kSealane, PeerKind::kAny}) {
    Options options;
    options.peer_kind = kind;
    Link link(1);
    const auto a = shared_identity(1);
    const auto b = shared_identity(2);
    const auto e = shared_identity(3);
    Node node_a({a, e->public_key()}, options, 1);
    Node node_b({b, a->public_key()}, options, 2);
    link.join(0, 1);
    link.place(0, &node_a);
    link.place(1, &node_b);
    link.tap([&](int from, Bytes& datagram) {
      auto message = key_exchange_in(datagram);
      if (from != 1 || !message) return true;
      message->identity = e->public_key();
      datagram = plain_packet(read_packet_id(datagram, {}).value(), MessageType::kKeyExchange,
                              encode(*message, e->seed()));
      return true;
    });
    node_a.start(link.now(), link.wall());
    node_b.start(link.now(), link.wall());
    node_a.say(MessageType::kReadWrite, "for E", link.now());
    node_b.say(MessageType::kReadWrite, "for A", link.now());
    link.run_for(5s);
    if (kind == PeerKind::kLegacy) {
      // The weakness of the protocol itself: the attack works.
      EXPECT_EQ(node_b.received.size(), 1u);
      EXPECT_EQ(node_a.received.size(), 1u);
      continue;
    }
    EXPECT_FALSE(node_a.session.bound() || node_b.session.bound());
    EXPECT_TRUE(node_a.reported(ProblemKind::kBindingRefused) ||
                node_b.reported(ProblemKind::kBindingRefused));
    link.run_for(60s);
    EXPECT_TRUE(node_a.received.empty());
    EXPECT_TRUE(node_b.received.empty());
    EXPECT_EQ(node_a.closed->reason, CloseReason::kNotBound);
  }
}

// Each proposal asks for a signature.
TEST(Binding, AFloodOfProposalsIsAnsweredWithinTheLimit) {
  Options hasty = pinned();
  hasty.retry_interval = 200us;
  TwoNodes nodes(hasty, pinned(), 1);
  std::uint64_t proposals = 0;
  std::uint64_t replies = 0;
  nodes.link.tap([&](int from, Bytes& datagram) {
    if (datagram.size() != kPacketHeaderSize + kMessageHeaderSize + kBindingSize) return true;
    ++(from == 0 ? proposals : replies);
    return from == 0;
  });
  nodes.start();
  nodes.link.run_for(2s);
  EXPECT_GT(proposals, 1000u);
  EXPECT_GE(replies, 100u);
  EXPECT_LE(replies, 3 * pinned().verify_rate);
  EXPECT_GT(nodes.b.dropped(DropReason::kVerifyLimit), 500u);
}

TEST(Binding, WithoutItNothingIsDelivered) {
  // All of A's bindings are lost; B is ready to talk, as far as A lets it.
  TwoNodes nodes(pinned());
  nodes.link.tap([&](int, Bytes& datagram) {
    return datagram.size() != kPacketHeaderSize + kMessageHeaderSize + kBindingSize;
  });
  nodes.start();
  nodes.send(nodes.a, "a");
  nodes.send(nodes.b, "b");
  nodes.link.run_for(61s);
  EXPECT_TRUE(nodes.a.received.empty());
  EXPECT_TRUE(nodes.b.received.empty());
  ASSERT_TRUE(nodes.a.closed.has_value());
  EXPECT_EQ(nodes.a.closed->reason, CloseReason::kNotBound);
}

}  // namespace
}  // namespace sealane::session
