// Goal: every attack on the Backbone wire that docs/protocol/hub.md lists fails wherever it can be
// made to fail, and where it cannot (a legacy client, a legacy hub) we know that it works. Method:
// an attacker in the middle who has the public keys, and what was sent in clear; each attack
// against a legacy peer and against ours.
#include <gtest/gtest.h>

#include "hub/challenge.h"
#include "hub/frame.h"
#include "hub/upgrade.h"
#include "tests/hub/kit.h"

namespace sealane::hub {
namespace {

using namespace testing;
using namespace std::chrono_literals;

Bytes encrypt_to(const crypto::RsaPublicKey& key, ByteSpan plain) {
  return encode_frame(
      run_cheap(Job{.number = {},
                    .work = EncryptJob{.key = std::make_shared<const crypto::RsaPublicKey>(key),
                                       .plain = to_bytes(plain)}})
          .outcome.value());
}
Bytes decrypt_with(const Person& who, ByteSpan frame) {
  return run_cheap(Job{.number = {},
                       .work = DecryptJob{.key = who.key, .cipher = to_bytes(frame.subspan(2))}})
      .outcome.value();
}
Bytes c2c(const ClientId& to, std::string_view data) {
  return encode(Message{C2cMessage{.to = to, .data = to_bytes(data)}});
}
Bytes stop_message() {
  return encode(Message{C2sMessage{.type = C2sType::kStop, .time = 1, .data = {}}});
}
std::shared_ptr<HubOptions> python_hub() {
  auto options = hub_options();
  options->bound_challenge = false;
  options->offer_upgrade = false;
  return options;
}

// The attacker shows its own key and passes everything else on. `rebind`: it also makes the bound
// challenge name its key.
struct Relay {
  Relay(std::shared_ptr<const HubOptions> options, ClientOptions who, ClientKind kind, bool rebind)
      : hub(std::move(options)), client(std::move(who)) {
    for (auto& entry : hub.listed) entry.second = kind;
    auto challenge = *decode_challenge(ByteSpan(take_output(hub)).subspan(2));
    challenge.key = to_bytes(attacker.public_key->to_pem());
    if (rebind) {
      std::ranges::copy(crypto::sha256(challenge.key), challenge.data.begin() + 10);
    }
    give(client, encode_frame(encode(challenge)));
    const Bytes response = take_output(client);
    if (response.empty()) return;
    give(hub, encrypt_to(*person("server").public_key, decrypt_with(attacker, response)));
    give(client, take_output(hub));
  }
  const Person& attacker = person("stranger");
  HubEnd hub;
  ClientEnd client;
};
ClientOptions unpinned(HubKind kind) {
  ClientOptions options = client_options("A", kind);
  options.pin.reset();
  options.trust = HubTrust::kAcceptNew;
  return options;
}

TEST(Attack, RelayWorksOnlyWhereNobodyChecks) {
  // Neither pin nor bound challenge: the attacker reads what the client says, as the protocol has
  // it.
  Relay legacy(python_hub(), unpinned(HubKind::kLegacy), ClientKind::kLegacy, false);
  ASSERT_EQ(legacy.hub.all<Ready>().size(), 1u);
  ASSERT_TRUE(legacy.client.core
                  .send({.to = id_of("B"), .ref = {}, .part = {}, .data = as_bytes("secret")}, {})
                  .has_value());
  const Bytes read = decrypt_with(legacy.attacker, take_output(legacy.client));
  EXPECT_NE(as_text(read).find("secret"), std::string_view::npos);

  // A pin.
  for (const auto& hub : {python_hub(), hub_options()}) {
    Relay pinned(hub, client_options("A", HubKind::kAny), ClientKind::kLegacy, true);
    EXPECT_EQ(pinned.client.stopped(), ClientStop::kPinMismatch);
    EXPECT_TRUE(pinned.hub.all<Login>().empty());
  }
  // First contact, without a pin: the bound challenge.
  for (const HubKind kind : {HubKind::kAny, HubKind::kSealane, HubKind::kLegacy}) {
    Relay bound(hub_options(), unpinned(kind), ClientKind::kSealane, false);
    EXPECT_EQ(bound.client.stopped(), ClientStop::kInterception);
    EXPECT_TRUE(bound.hub.all<Login>().empty());
  }
  // The attacker edits it: then the client signs what the hub never said.
  Relay rebound(hub_options(), unpinned(HubKind::kAny), ClientKind::kSealane, true);
  EXPECT_TRUE(rebound.hub.all<Login>().empty());
  EXPECT_EQ(rebound.hub.stopped(), HubStop::kLoginFailed);
}

TEST(Attack, InjectionIntoTheHub) {
  const Bytes forged = encrypt_to(*person("server").public_key, c2c(id_of("B"), "forged"));
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(legacy.hub, forged);
  EXPECT_EQ(legacy.hub.all<Submitted>().size(), 1u);  // known, and marked as such:
  EXPECT_FALSE(decode_content(legacy.hub.all<Submitted>()[0].content)->sealed);

  // Of a client listed as Sealane: nothing counts before the upgrade …
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  const Bytes config = take_output(hub);
  for (int i = 0; i < 3; ++i) give(hub, forged);
  EXPECT_EQ(hub.core.counters().clear, 3u);
  // … and it does not even hinder it …
  give(client, config);
  pump(hub, client);
  EXPECT_EQ(client.all<ClientReady>().size(), 1u);
  EXPECT_TRUE(hub.all<Submitted>().empty());
  // … and afterwards the connection ends.
  give(hub, forged);
  EXPECT_TRUE(hub.all<Submitted>().empty());
  EXPECT_EQ(hub.stopped(), HubStop::kBadFrame);
}

TEST(Attack, ForgedFramesBeforeTheUpgradeAreBounded) {
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  take_output(hub);
  const Bytes forged = encrypt_to(*person("server").public_key, c2c(id_of("B"), "forged"));
  for (std::size_t i = 0; i < HubConnection::kMaxAnswers; ++i) {
    EXPECT_FALSE(hub.stopped());
    give(hub, forged);
  }
  EXPECT_EQ(hub.stopped(), HubStop::kUpgradeFailed);
}

TEST(Attack, InjectionIntoTheClient) {
  const Bytes forged = encrypt_to(*person("A").public_key, c2c(id_of("A"), "forged"));
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(legacy.client, forged);
  EXPECT_EQ(legacy.client.all<Incoming>().size(), 1u);
  EXPECT_FALSE(legacy.client.all<Incoming>()[0].sealed);

  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  give(sealed.client, forged);
  EXPECT_TRUE(sealed.client.all<Incoming>().empty());
  EXPECT_EQ(sealed.client.stopped(), ClientStop::kBadFrame);

  // While it waits for the first sealed frame.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  give(client, take_output(hub));
  give(client, forged);
  give(client, encrypt_to(*person("A").public_key, stop_message()));
  EXPECT_EQ(client.core.counters().clear, 2u);
  pump(hub, client);
  EXPECT_EQ(client.all<ClientReady>().size(), 1u);
  EXPECT_TRUE(client.all<Incoming>().empty());
}

TEST(Attack, ForgedStop) {
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(legacy.hub, encrypt_to(*person("server").public_key, stop_message()));
  EXPECT_EQ(legacy.hub.stopped(), HubStop::kByClient);
  give(legacy.client, encrypt_to(*person("A").public_key, stop_message()));
  EXPECT_EQ(legacy.client.stopped(), ClientStop::kByHub);

  // Between Sealane ends it is damage, never the peer's word.
  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  give(sealed.hub, encrypt_to(*person("server").public_key, stop_message()));
  EXPECT_EQ(sealed.hub.stopped(), HubStop::kBadFrame);
  give(sealed.client, encrypt_to(*person("A").public_key, stop_message()));
  EXPECT_EQ(sealed.client.stopped(), ClientStop::kBadFrame);
  // Not by way of a kAny client that waits for its upgrade either.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kAny));
  give(client, take_output(hub));
  give(hub, take_output(client));
  give(client, take_output(hub));
  give(client, encrypt_to(*person("A").public_key, stop_message()));
  EXPECT_FALSE(client.stopped());
}

// Two messages of a client, as the attacker sees them.
std::vector<Bytes> two_messages(Pair& pair) {
  for (const char* data : {"first", "second"}) {
    EXPECT_TRUE(
        pair.client.core.send({.to = id_of("B"), .ref = {}, .part = {}, .data = as_bytes(data)}, {})
            .has_value());
  }
  return frames_of(take_output(pair.client));
}
std::vector<std::string> texts(const HubEnd& hub) {
  std::vector<std::string> found;
  for (const Submitted& one : hub.all<Submitted>()) {
    found.push_back(sealane::to_text(decode_content(one.content)->data));
  }
  return found;
}

TEST(Attack, ReplayAndReordering) {
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  std::vector<Bytes> frames = two_messages(legacy);
  give(legacy.hub, frames[1]);
  give(legacy.hub, frames[0]);
  give(legacy.hub, frames[0]);
  EXPECT_EQ(texts(legacy.hub), (std::vector<std::string>{"second", "first", "first"}));

  Pair replay(hub_options(), client_options("A", HubKind::kSealane));
  frames = two_messages(replay);
  give(replay.hub, frames[0]);
  give(replay.hub, frames[0]);
  EXPECT_EQ(texts(replay.hub), (std::vector<std::string>{"first"}));
  EXPECT_EQ(replay.hub.stopped(), HubStop::kBadFrame);

  Pair reorder(hub_options(), client_options("A", HubKind::kSealane));
  frames = two_messages(reorder);
  give(reorder.hub, frames[1]);
  EXPECT_TRUE(texts(reorder.hub).empty());
  EXPECT_EQ(reorder.hub.stopped(), HubStop::kBadFrame);

  // Left out: the next one does not open.
  Pair dropped(hub_options(), client_options("A", HubKind::kSealane));
  frames = two_messages(dropped);
  give(dropped.hub, frames[1]);
  EXPECT_EQ(dropped.hub.stopped(), HubStop::kBadFrame);

  // Of another connection of the same client, and sent back to its sender.
  Pair one(hub_options(), client_options("A", HubKind::kSealane));
  HubEnd other_hub(hub_options(), {}, 3);
  ClientEnd other_client(client_options("A", HubKind::kSealane), {}, 4);
  pump(other_hub, other_client);
  frames = two_messages(one);
  give(other_hub, frames[0]);
  EXPECT_EQ(other_hub.stopped(), HubStop::kBadFrame);
  give(one.client, frames[0]);
  EXPECT_EQ(one.client.stopped(), ClientStop::kBadFrame);
}

TEST(Attack, Splice) {
  const std::string long_data = std::string(173, '1') + "second block of the first message";
  const auto spliced = [&](Pair& pair) {
    for (const std::string& data : {long_data, std::string(200, '2')}) {
      EXPECT_TRUE(pair.client.core
                      .send({.to = id_of("B"), .ref = {}, .part = {}, .data = as_bytes(data)}, {})
                      .has_value());
    }
    const std::vector<Bytes> frames = frames_of(take_output(pair.client));
    // The head of the second message, the tail of the first.
    Bytes mixed = to_bytes(ByteSpan(frames[1]).first(frames[1].size() / 2 + 1));
    const ByteSpan tail = ByteSpan(frames[0]).subspan(mixed.size());
    mixed.insert(mixed.end(), tail.begin(), tail.end());
    return mixed;
  };
  Pair legacy(hub_options(), client_options("A", HubKind::kLegacy), ClientKind::kLegacy);
  give(legacy.hub, spliced(legacy));
  ASSERT_EQ(texts(legacy.hub).size(), 1u);
  EXPECT_EQ(texts(legacy.hub)[0], std::string(173, '2') + "second block of the first message");
  Pair sealed(hub_options(), client_options("A", HubKind::kSealane));
  const Bytes mixed = spliced(sealed);
  for (const Bytes& frame : {mixed}) {
    ByteArray<2> size;
    size[0] = static_cast<std::byte>((frame.size() - 2) >> 8);
    size[1] = static_cast<std::byte>((frame.size() - 2) & 0xff);
    give(sealed.hub, size);
    give(sealed.hub, ByteSpan(frame).subspan(2));
  }
  EXPECT_TRUE(texts(sealed.hub).empty());
  EXPECT_EQ(sealed.hub.stopped(), HubStop::kBadFrame);
}

TEST(Attack, EveryBitOfASealedFrameCounts) {
  Pair pair(hub_options(), client_options("A", HubKind::kSealane));
  const Bytes frame = two_messages(pair)[0];
  for (std::size_t at = 2; at < frame.size(); ++at) {
    Bytes damaged = frame;
    damaged[at] ^= std::byte{0x10};
    Pair fresh(hub_options(), client_options("A", HubKind::kSealane));
    give(fresh.hub, damaged);
    ASSERT_TRUE(texts(fresh.hub).empty());
    ASSERT_EQ(fresh.hub.stopped(), HubStop::kBadFrame) << at;
  }
  // The seeds are the same: the frame itself is fine.
  Pair fresh(hub_options(), client_options("A", HubKind::kSealane));
  give(fresh.hub, frame);
  EXPECT_EQ(texts(fresh.hub).size(), 1u);
}

TEST(Attack, SigningOracle) {
  // What the client signs must not be of use elsewhere.
  const auto asked_to_sign = [](ByteSpan data, HubKind kind) {
    ClientEnd client(client_options("A", kind));
    int signed_count = 0;
    client.runner = [&](const Job& job) {
      signed_count += std::holds_alternative<SignJob>(job.work) ? 1 : 0;
      return run_cheap(job);
    };
    const Challenge challenge{.key = to_bytes(hub_options()->key_pem), .data = to_bytes(data)};
    give(client, encode_frame(encode(challenge)));
    EXPECT_EQ(signed_count, client.stopped() ? 0 : 1);
    return client.stopped();
  };
  EXPECT_FALSE(asked_to_sign(Bytes(1024, std::byte{1}), HubKind::kAny));
  EXPECT_EQ(asked_to_sign(Bytes(1024, std::byte{1}), HubKind::kSealane), ClientStop::kNotSealane);
  for (const HubKind kind : {HubKind::kAny, HubKind::kLegacy}) {
    // The proof of an upgrade.
    const Bytes proof = proof_message(crypto::sha256(as_bytes("some transcript")));
    EXPECT_EQ(asked_to_sign(proof, kind), ClientStop::kBadChallenge);
    // What could be foreseen.
    EXPECT_EQ(asked_to_sign({}, kind), ClientStop::kBadChallenge);
    EXPECT_EQ(asked_to_sign(Bytes(31), kind), ClientStop::kBadChallenge);
    // A bound challenge that we cannot read; one of another hub.
    Bytes newer = to_bytes("BBCHAL1\n");
    newer.resize(100, std::byte{2});
    EXPECT_EQ(asked_to_sign(newer, kind), ClientStop::kBadChallenge);
    SeededRandom random(1);
    BoundChallenge other;
    other.key_hash = crypto::sha256(as_bytes("the key of another hub"));
    EXPECT_EQ(asked_to_sign(encode(other, 900, random), kind), ClientStop::kInterception);
  }
}

TEST(Attack, Downgrade) {
  // The offer is taken out of CONFIG: the challenge, which the hub checked, said that it offers.
  const auto without_offer = [](HubKind kind) {
    HubEnd hub(hub_options());
    for (auto& entry : hub.listed) entry.second = ClientKind::kLegacy;
    ClientEnd client(client_options("A", kind));
    give(client, take_output(hub));
    give(hub, take_output(client));
    Config config;
    config.heartbeat_interval = 20s;
    give(client,
         encrypt_to(*person("A").public_key,
                    encode(Message{C2sMessage{
                        .type = C2sType::kConfig, .time = 1, .data = to_bytes(encode(config))}})));
    return client.stopped();
  };
  EXPECT_EQ(without_offer(HubKind::kAny), ClientStop::kUpgradeFailed);
  EXPECT_EQ(without_offer(HubKind::kSealane), ClientStop::kUpgradeFailed);
  EXPECT_FALSE(without_offer(HubKind::kLegacy));
  // A hub without extensions is none that a client pinned as Sealane talks to.
  auto plain = hub_options();
  plain->offer_upgrade = false;
  Pair pinned(plain, client_options("A", HubKind::kSealane), ClientKind::kLegacy);
  EXPECT_EQ(pinned.client.stopped(), ClientStop::kNotSealane);
  // The answer never arrives: nothing of the client is taken.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  take_output(hub);
  hub.now += 10s;
  hub.core.on_deadline(hub.now);
  hub.settle();
  EXPECT_EQ(hub.stopped(), HubStop::kUpgradeTimeout);
}

TEST(Attack, InTheMiddleOfTheUpgrade) {
  // The attacker, who knows the client's public key, puts its own share into CONFIG. It cannot read
  // the client's; and the hub sees another transcript than the client signed.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  const Bytes plain = decrypt_with(person("A"), take_output(hub));
  auto message = std::get<C2sMessage>(decode_message(plain).value());
  Config config = decode_config(as_text(message.data)).value();
  SeededRandom random(9);
  config.share = crypto::x25519_public(crypto::x25519_generate(random));
  message.data = to_bytes(encode(config));
  give(client, encrypt_to(*person("A").public_key, encode(Message{message})));
  give(hub, take_output(client));
  EXPECT_EQ(hub.core.counters().clear, 1u);
  EXPECT_TRUE(hub.all<Ready>().empty());
  EXPECT_TRUE(client.all<ClientReady>().empty());
}

TEST(Attack, AnAnswerOfSomebodyElse) {
  // A whole answer, with the attacker's share and signed with the attacker's key, arrives first.
  HubEnd hub(hub_options());
  ClientEnd client(client_options("A", HubKind::kSealane));
  give(client, take_output(hub));
  give(hub, take_output(client));
  const Bytes config = take_output(hub);
  SeededRandom random(9);
  Config answer;
  answer.extension_version = 1;
  answer.features = kAllFeatures;
  answer.share = crypto::x25519_public(crypto::x25519_generate(random));
  answer.proof = run_cheap(Job{.number = {},
                               .work = SignJob{.key = person("stranger").key,
                                               .message = to_bytes("whatever")}})
                     .outcome.value();
  give(hub,
       encrypt_to(*person("server").public_key,
                  encode(Message{C2sMessage{
                      .type = C2sType::kConfig, .time = 1, .data = to_bytes(encode(answer))}})));
  EXPECT_EQ(hub.core.counters().clear, 1u);
  // A share of low order gives no key at all.
  answer.share->fill(std::byte{0});
  give(hub,
       encrypt_to(*person("server").public_key,
                  encode(Message{C2sMessage{
                      .type = C2sType::kConfig, .time = 1, .data = to_bytes(encode(answer))}})));
  EXPECT_EQ(hub.core.counters().clear, 2u);
  give(client, config);
  pump(hub, client);
  EXPECT_EQ(client.all<ClientReady>().size(), 1u);
}

}  // namespace
}  // namespace sealane::hub
