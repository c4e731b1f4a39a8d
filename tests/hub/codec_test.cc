// Goal: every format reads back what it writes, reads nothing else, and gives the bytes and the
// sizes that the Python implementation gives. Method: its recorded codec rows, round trips of every
// message cut and damaged at every byte, the tables of docs/protocol/hub.md.
#include <gtest/gtest.h>

#include "hub/challenge.h"
#include "hub/config.h"
#include "hub/extension.h"
#include "hub/frame.h"
#include "hub/jobs.h"
#include "hub/message.h"
#include "tests/hub/capture.h"
#include "tests/support/doubles.h"

namespace sealane::hub {
namespace {

using namespace std::chrono_literals;
using sealane::testing::SeededRandom;
using testing::capture;

const ClientId kA = testing::capture().ids.at("A");
constexpr std::uint32_t kTime = 1'700'000'000;

TEST(Ids, BothFormsAndVersion4) {
  EXPECT_EQ(to_text(kA), "11111111-1111-4111-8111-111111111111");
  EXPECT_EQ(to_file_name(kA), "11111111111141118111111111111111");
  EXPECT_EQ(parse_client_id(to_text(kA)), kA);
  EXPECT_EQ(parse_client_id(to_file_name(kA)), kA);
  EXPECT_EQ(parse_client_id("00000000000000000000000000000000"), ClientId{});
  for (const char* text :
       {"", "1", "11111111-1111-4111-8111-11111111111", "1111111-11111-4111-8111-111111111111",
        "1111111111114111811111111111111g"}) {
    EXPECT_FALSE(parse_client_id(text)) << text;
  }
  SeededRandom random(1);
  const std::string made = to_text(make_client_id(random));
  EXPECT_EQ(made[14], '4');
  EXPECT_NE(std::string("89ab").find(made[19]), std::string::npos);
  EXPECT_NE(make_client_id(random), make_client_id(random));
}

TEST(Frame, AnyCutGivesTheSameFrames) {
  Bytes stream;
  std::vector<Bytes> payloads;
  for (const std::size_t size : {0u, 1u, 2u, 255u, 256u, 300u, 0u, 5u}) {
    payloads.emplace_back(size, static_cast<std::byte>(size));
    const Bytes frame = encode_frame(payloads.back());
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  const auto read = [&](std::size_t first_cut, std::size_t step) {
    FrameSplitter splitter;
    std::vector<Bytes> found;
    ByteSpan rest = stream;
    std::size_t piece = first_cut;
    while (!rest.empty()) {
      ByteSpan part = rest.first(std::min(piece, rest.size()));
      rest = rest.subspan(part.size());
      piece = step;
      while (!part.empty()) {
        part = part.subspan(splitter.feed(part));
        if (auto payload = splitter.next()) found.push_back(std::move(*payload));
      }
    }
    EXPECT_FALSE(splitter.inside());
    return found;
  };
  for (std::size_t cut = 1; cut < stream.size(); ++cut) {
    ASSERT_EQ(read(cut, stream.size()), payloads) << cut;
  }
  for (std::size_t step = 1; step < 20; ++step) ASSERT_EQ(read(step, step), payloads) << step;
}

TEST(Frame, TheLargestAndACutOne) {
  const Bytes frame = encode_frame(Bytes(kMaxPayloadSize));
  FrameSplitter splitter;
  EXPECT_EQ(splitter.feed(ByteSpan(frame).first(1)), 1u);
  EXPECT_FALSE(splitter.payload_size());
  EXPECT_TRUE(splitter.inside());
  EXPECT_EQ(splitter.feed(ByteSpan(frame).subspan(1, 65535)), 65535u);
  EXPECT_EQ(splitter.payload_size(), kMaxPayloadSize);
  EXPECT_FALSE(splitter.next());
  EXPECT_EQ(splitter.feed(ByteSpan(frame).last(1)), 1u);
  EXPECT_EQ(splitter.next()->size(), kMaxPayloadSize);
  EXPECT_FALSE(splitter.next());
}

TEST(Challenge, RoundTripAndEveryCut) {
  const Challenge challenge{.key = to_bytes("key"), .data = to_bytes("data")};
  const Bytes payload = encode(challenge);
  EXPECT_EQ(to_hex(payload), "00036b657964617461");
  EXPECT_EQ(decode_challenge(payload), challenge);
  for (std::size_t cut = 0; cut < 5; ++cut) {
    EXPECT_FALSE(decode_challenge(ByteSpan(payload).first(cut))) << cut;
  }
  // The data are whatever is left, and may be nothing.
  EXPECT_EQ(decode_challenge(ByteSpan(payload).first(5))->data, Bytes());
}

TEST(Challenge, ThatIsBound) {
  SeededRandom random(3);
  BoundChallenge bound{.flags = BoundChallenge::kOffers | BoundChallenge::kRequires,
                       .key_hash = crypto::sha256(as_bytes("key")),
                       .time_ms = 0x0102030405060708,
                       .nonce = {}};
  random.fill(bound.nonce);
  for (const std::size_t size :
       {BoundChallenge::kSize, kOneSegmentChallengeSize, kDefaultChallengeSize}) {
    const Bytes data = encode(bound, size, random);
    EXPECT_EQ(data.size(), size);
    EXPECT_EQ(decode_bound_challenge(data), bound);
  }
  const Bytes data = encode(bound, BoundChallenge::kSize, random);
  EXPECT_EQ(to_hex(ByteSpan(data).first(10)), "42424348414c310a0103");
  EXPECT_EQ(to_hex(ByteSpan(data).subspan(42, 8)), "0102030405060708");
  for (std::size_t cut = 0; cut < data.size(); ++cut) {
    EXPECT_FALSE(decode_bound_challenge(ByteSpan(data).first(cut))) << cut;
    EXPECT_EQ(has_bound_magic(ByteSpan(data).first(cut)), cut >= 8) << cut;
  }
  Bytes newer = data;
  newer[8] = std::byte{2};
  EXPECT_FALSE(decode_bound_challenge(newer));
}

TEST(Response, RoundTripAndEveryCut) {
  const Response response{.id = kA, .signature = Bytes(256, std::byte{9})};
  const Bytes plain = encode(response);
  EXPECT_EQ(plain.size(), 272u);
  EXPECT_EQ(decode_response(plain), response);
  for (std::size_t cut = 0; cut < 16; ++cut) {
    EXPECT_FALSE(decode_response(ByteSpan(plain).first(cut))) << cut;
  }
  EXPECT_TRUE(decode_response(ByteSpan(plain).first(16))->signature.empty());
}

TEST(Messages, EncodeAsRecorded) {
  const auto c2s = [](C2sType type, std::string_view data) {
    return encode(Message{C2sMessage{.type = type, .time = kTime, .data = to_bytes(data)}});
  };
  const auto s2s = [](S2sType type) {
    return encode(Message{S2sMessage{.type = type, .time = kTime, .data = {}}});
  };
  const auto& rows = capture().encoded;
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(encode(Message{C2cMessage{.to = kA, .data = to_bytes("hi")}}),
            rows.at("C2C to A data 'hi'"));
  EXPECT_EQ(c2s(C2sType::kHeartbeat, ""), rows.at("HEARTBEAT"));
  EXPECT_EQ(c2s(C2sType::kConfig, "{}"), rows.at("CONFIG {}"));
  EXPECT_EQ(c2s(C2sType::kStop, "bye"), rows.at("STOP reason bye"));
  EXPECT_EQ(s2s(S2sType::kDone), rows.at("S2S DONE"));
  EXPECT_EQ(s2s(S2sType::kStop), rows.at("S2S STOP"));
}

std::string name_of(const Message& message) {
  if (std::holds_alternative<C2cMessage>(message)) return "C2C";
  if (const auto* c2s = std::get_if<C2sMessage>(&message)) {
    if (c2s->type == C2sType::kHeartbeat) return "C2S HEARTBEAT";
    return c2s->type == C2sType::kConfig ? "C2S CONFIG" : "C2S STOP";
  }
  return std::get<S2sMessage>(message).type == S2sType::kDone ? "S2S DONE" : "S2S STOP";
}

TEST(Messages, DecodeAsRecorded) {
  ASSERT_EQ(capture().decoded.size(), 21u);
  for (const auto& row : capture().decoded) {
    SCOPED_TRACE(to_hex(row.input));
    const auto message = decode_message(row.input);
    if (!message.has_value()) {
      EXPECT_TRUE(row.result.starts_with("rejected") || row.result.starts_with("exception"));
      continue;
    }
    EXPECT_EQ(name_of(message.value()), row.result);
    if (const auto* c2c = std::get_if<C2cMessage>(&message.value())) {
      EXPECT_EQ(c2c->to, row.recipient);
      EXPECT_EQ(c2c->data, row.payload);
    } else if (const auto* c2s = std::get_if<C2sMessage>(&message.value())) {
      EXPECT_EQ(c2s->time, row.time);
      EXPECT_EQ(c2s->data, row.payload);
    } else {
      const auto& s2s = std::get<S2sMessage>(message.value());
      EXPECT_EQ(s2s.time, row.time);
      EXPECT_EQ(s2s.data, row.payload);
    }
  }
}

TEST(Messages, EveryFirstByteAndShortTimes) {
  for (unsigned first = 0; first < 256; ++first) {
    Bytes plain(40, std::byte{1});
    plain[0] = static_cast<std::byte>(first);
    const bool known = first == 0 || first == 0x10 || first == 0x11 || first == 0x1f ||
                       first == 0x2e || first == 0x2f;
    const auto message = decode_message(plain);
    EXPECT_EQ(message.has_value(), known) << first;
    if (known) {
      EXPECT_EQ(encode(message.value()), plain);
    } else {
      EXPECT_EQ(message.error(),
                first < 0x30 ? MessageError::kUnknownType : MessageError::kUnknownFormat);
    }
  }
  const Bytes heartbeat = *from_hex("1001020304");
  const std::uint32_t times[] = {0, 1, 0x0102, 0x010203, 0x01020304};
  for (std::size_t size = 1; size <= 5; ++size) {
    const ByteSpan cut = ByteSpan(heartbeat).first(size);
    EXPECT_EQ(std::get<C2sMessage>(decode_message(cut).value()).time, times[size - 1]);
    EXPECT_EQ(decode_message(cut, ShortTime::kRefuse).has_value(), size == 5);
  }
  EXPECT_EQ(decode_message({}).error(), MessageError::kEmpty);
}

TEST(Sizes, AreThoseOfTheFormat) {
  // plaintext, payload to a key of 2048 bits
  const std::pair<std::size_t, std::size_t> rows[] = {{0, 0},     {5, 256},    {21, 256},
                                                      {58, 256},  {272, 512},  {190, 256},
                                                      {191, 512}, {950, 1280}, {48450, 65280}};
  for (const auto& [plain, payload] : rows) EXPECT_EQ(encrypted_size(plain, 256), payload);
  EXPECT_EQ(max_plain_size(256), 48450u);
  EXPECT_EQ(max_plain_size(384), 32300u);
  EXPECT_EQ(max_plain_size(512), 24130u);
  EXPECT_EQ(max_plain_size(256) - C2cMessage::kHeaderSize, 48433u);
  EXPECT_EQ(max_plain_size(384) - C2cMessage::kHeaderSize, 32283u);
  EXPECT_EQ(max_plain_size(512) - C2cMessage::kHeaderSize, 24113u);
}

TEST(Jobs, BriefIsToEncryptOneBlock) {
  const auto key = std::make_shared<const crypto::RsaPrivateKey>(
      crypto::RsaPrivateKey::from_pem(as_bytes(capture().private_pems.at("A"))).value());
  const auto shown = std::make_shared<const crypto::RsaPublicKey>(key->public_key());
  const auto encrypt = [&](std::size_t size) {
    return Job{.number = {}, .work = EncryptJob{.key = shown, .plain = Bytes(size)}};
  };
  EXPECT_TRUE(is_brief(encrypt(kPlainBlockSize)));
  EXPECT_FALSE(is_brief(encrypt(kPlainBlockSize + 1)));
  EXPECT_FALSE(is_brief({.number = {}, .work = DecryptJob{.key = key, .cipher = Bytes(256)}}));
  EXPECT_FALSE(is_brief({.number = {}, .work = SignJob{.key = key, .message = Bytes(1)}}));
}

TEST(Jobs, BlocksOfAnySizeOpenAndADamagedOneSpoilsAll) {
  const auto key = std::make_shared<const crypto::RsaPrivateKey>(
      crypto::RsaPrivateKey::from_pem(as_bytes(capture().private_pems.at("A"))).value());
  const auto open = [&](Bytes cipher) {
    return run(Job{.number = {}, .work = DecryptJob{.key = key, .cipher = std::move(cipher)}})
        .outcome;
  };
  for (const auto& [plain, cipher] : capture().encrypted_to_a) {
    EXPECT_EQ(open(cipher).value(), plain);
  }
  // Blocks of 7 bytes, and an empty one.
  Bytes cipher;
  for (const std::string_view part : {"seven b", "", "ytes"}) {
    const Bytes block = key->public_key().encrypt(as_bytes(part));
    cipher.insert(cipher.end(), block.begin(), block.end());
  }
  EXPECT_EQ(as_text(open(cipher).value()), "seven bytes");
  for (const std::size_t at : {10u, 300u, 700u}) {
    Bytes damaged = cipher;
    damaged[at] ^= std::byte{1};
    EXPECT_FALSE(open(damaged).has_value());
  }
  Bytes longer = cipher;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(open(longer).has_value());
}

TEST(ConfigCodec, WritesBothSpellingsAndReadsAllFour) {
  Config config;
  config.heartbeat_interval = 20s;
  config.heartbeat_timeout = 2500ms;
  EXPECT_EQ(encode(config),
            R"({"heartbeat_timeout": 2.5, "heartbeat_timout": 2.5, "heartbeat_interval": 20})");
  EXPECT_EQ(decode_config(encode(config)).value(), config);
  EXPECT_EQ(encode(Config{}), "{}");
  for (const char* json : {R"({"heartbeat_interval": 20, "heartbeat_timeout": 2.5})",
                           R"({"heartbeat_intervall":20,"heartbeat_timout":2.5})",
                           R"({"heartbeat_intervall": 1, "heartbeat_interval": 2e1, )"
                           R"("heartbeat_timeout": 2.5, "heartbeat_timout": 9})"}) {
    EXPECT_EQ(decode_config(json).value(), config) << json;
  }
}

TEST(ConfigCodec, ExtensionKeysAndOthersSurvive) {
  Config config;
  config.heartbeat_interval = 1s;
  config.extension_version = 1;
  config.features = {Feature::kAead, Feature::kPing};
  config.share.emplace();
  config.share->fill(std::byte{5});
  config.proof = Bytes(256, std::byte{6});
  config.others = {{"motd", R"("hi \u00e9")"}, {"nested", R"({"a":[1,2.5,null,true]})"}};
  const std::string text = encode(config);
  EXPECT_NE(text.find(R"("bb_ext": 1, "bb_feat": "aead,ping", "bb_share": "BQUF)"),
            std::string::npos);
  EXPECT_EQ(decode_config(text).value(), config);
  EXPECT_EQ(parse_features("ping,,unknown,aead"), (Features{Feature::kAead, Feature::kPing}));
  EXPECT_EQ(parse_features(to_text(kAllFeatures)), kAllFeatures);
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    EXPECT_FALSE(decode_config(std::string_view(text).substr(0, cut)).has_value()) << cut;
  }
}

TEST(ConfigCodec, RefusesWhatItDoesNotMean) {
  const auto error = [](std::string_view json) { return decode_config(json).error(); };
  EXPECT_EQ(error("null"), ConfigError::kNotAnObject);
  EXPECT_EQ(error("[1]"), ConfigError::kNotAnObject);
  EXPECT_EQ(error(""), ConfigError::kNotJson);
  EXPECT_EQ(error("{\"a\": \"\xff\"}"), ConfigError::kNotJson);
  EXPECT_EQ(error(R"({"x": 1, "x": 1})"), ConfigError::kDuplicate);
  for (const char* json :
       {R"({"heartbeat_interval": "20"})", R"({"heartbeat_interval": -1})",
        R"({"heartbeat_timout": 1e300})", R"({"bb_ext": -1})", R"({"bb_feat": 1})",
        R"({"bb_share": "AAAA"})", R"({"bb_share": "?"})", R"({"bb_proof": null})"}) {
    EXPECT_EQ(error(json), ConfigError::kBadValue) << json;
  }
  EXPECT_EQ(error(std::string(40, '[') + std::string(40, ']')), ConfigError::kTooLarge);
  EXPECT_EQ(error("\"" + std::string(Config::kMaxSize, 'x') + "\""), ConfigError::kTooLarge);
}

std::vector<ExtensionMessage> samples() {
  const ClientId b = capture().ids.at("B");
  const SenderRef ref{0x1122334455667788};
  return {
      SendMessage{.to = kA, .ref = ref, .content = to_bytes("content")},
      SendMessage{.to = kA, .ref = std::nullopt, .content = {}},
      DeliveryMessage{.id = DeliveryId{7},
                      .time_ms = 8,
                      .sender = b,
                      .group = std::nullopt,
                      .content = to_bytes("c")},
      DeliveryMessage{.id = DeliveryId{7}, .time_ms = 8, .sender = b, .group = kA, .content = {}},
      ReceivedMessage{DeliveryId{9}},
      ReceiptMessage{.kind = ReceiptKind::kPassedOn, .ref = ref, .recipient = b},
      RefusalMessage{.reason = RefusalReason::kStaleRef, .ref = ref, .recipient = b},
      RefusalMessage{.reason = RefusalReason::kUnknown, .ref = std::nullopt, .recipient = b},
      PresenceMessage{.action = PresenceAction::kList, .ids = {}},
      PresenceMessage{.action = PresenceAction::kSubscribe, .ids = {kA, b}},
      StatesMessage{{{.client = kA, .online = true, .since_ms = 5},
                     {.client = b, .online = false, .since_ms = 6}}},
      QueryMessage{},
      HubStatusMessage{.started_ms = 1, .known = 2, .online = 3, .queued = 4},
      PingMessage{1},
      PongMessage{2},
      ReadyMessage{.highest_ref = 3, .limit = 4},
  };
}

TEST(Extension, RoundTripAndEveryCut) {
  for (const ExtensionMessage& message : samples()) {
    const Bytes plain = encode(message);
    ASSERT_TRUE(is_extension(plain));
    EXPECT_EQ(decode_extension(plain).value(), message);
    // Legacy readers know none of them.
    EXPECT_EQ(decode_message(plain).error(), MessageError::kUnknownFormat);
    for (std::size_t cut = 1; cut < plain.size(); ++cut) {
      const auto read = decode_extension(ByteSpan(plain).first(cut));
      if (!read.has_value()) continue;
      EXPECT_EQ(to_hex(encode(read.value())), to_hex(plain).substr(0, 2 * cut));
    }
    const bool open_ended = std::holds_alternative<SendMessage>(message) ||
                            std::holds_alternative<DeliveryMessage>(message);
    Bytes longer = plain;
    longer.push_back(std::byte{0});
    EXPECT_EQ(decode_extension(longer).has_value(), open_ended) << to_hex(plain);
  }
  for (unsigned type = 0x3c; type < 0x40; ++type) {
    const Bytes plain(9, static_cast<std::byte>(type));
    EXPECT_EQ(decode_extension(plain).error(), ExtensionError::kUnknownType);
  }
}

TEST(Extension, BytesAreTheDocumentedOnes) {
  const auto hex = [](const ExtensionMessage& message) { return to_hex(encode(message)); };
  const auto all = samples();
  EXPECT_EQ(hex(all[0]), "30" + to_hex(kA.bytes) + "1122334455667788" + "636f6e74656e74");
  EXPECT_EQ(hex(all[3]),
            "31"
            "0000000000000007"
            "0000000000000008"
            "22222222222242228222222222222222"
            "01" +
                to_hex(kA.bytes));
  EXPECT_EQ(hex(all[4]), "320000000000000009");
  EXPECT_EQ(hex(all[5]), "3303112233445566778822222222222242228222222222222222");
  EXPECT_EQ(hex(all[8]), "3501");
  EXPECT_EQ(hex(all[11]), "37");
  EXPECT_EQ(hex(all[15]), "3b000000000000000300000004");
}

TEST(Extension, RefusesUnknownValues) {
  for (const char* hex : {"3300112233445566778822222222222242228222222222222222",  // kind 0
                          "3304112233445566778822222222222242228222222222222222",  // kind 4
                          "3301000000000000000022222222222242228222222222222222",  // no ref
                          "3409112233445566778822222222222242228222222222222222",  // reason 9
                          "3500", "3505", "3502",                                  // action
                          "350111111111111141118111111111111111",                  // ids
                          "361111111111114111811111111111111102"
                          "0000000000000000"}) {
    EXPECT_EQ(decode_extension(*from_hex(hex)).error(), ExtensionError::kMalformed) << hex;
  }
}

TEST(ContentCodec, PartsAndFlags) {
  for (const Content& content : {Content{.part = {}, .sealed = false, .data = to_bytes("x")},
                                 Content{.part = {}, .sealed = true, .data = {}},
                                 Content{.part = Part{.whole = 5, .index = 1, .count = 2},
                                 .sealed = true,
                                 .data = to_bytes("y")}}) {
    EXPECT_EQ(decode_content(encode(content)), content);
  }
  EXPECT_EQ(to_hex(encode(Content{.part = Part{.whole = 5, .index = 1, .count = 2},
                                  .sealed = true,
                                  .data = to_bytes("y")})),
            "03"
            "0000000000000005"
            "00000001"
            "00000002"
            "79");
  for (const char* hex :
       {"", "04", "80", "01", "0100000000000000050000000100000001",
        "0100000000000000050000000000000000", "0100000000000000050000000000001001"}) {
    EXPECT_FALSE(decode_content(*from_hex(hex))) << hex;
  }
}

}  // namespace
}  // namespace sealane::hub
