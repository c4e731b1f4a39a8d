// Goal: messages byte by byte, and each length at 0, 1, its maximum and beyond. Method: the vectors
// in both directions; packets cut at each byte.
#include "session/messages.h"

#include <gtest/gtest.h>

#include "session/key_schedule.h"
#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

crypto::Ed25519Seed seed_of(const std::string& side) {
  return crypto::Ed25519Seed(
      hex_array<32>(vectors()["sides"][side == "A" ? 0 : 1]["ed25519_seed"]));
}

MessageType type_of(const nlohmann::json& text) {
  return MessageType{static_cast<std::uint32_t>(std::stoul(text.get<std::string>(), nullptr, 16))};
}

TEST(MessageTypes, Constants) {
  const auto& constants = vectors()["constants"];
  const auto& types = constants["types"];
  EXPECT_EQ(type_of(types["key_exchange"]), MessageType::kKeyExchange);
  EXPECT_EQ(type_of(types["negotiation"]), MessageType::kNegotiation);
  EXPECT_EQ(type_of(types["read_write"]), MessageType::kReadWrite);
  EXPECT_EQ(type_of(types["channel_0"]), channel_type(ChannelId{0}));
  EXPECT_EQ(type_of(types["channel_1"]), channel_type(ChannelId{1}));
  EXPECT_EQ(type_of(types["highest_channel"]["type"]), channel_type(kMaxChannelId));
  const auto& sizes = constants["sizes"];
  EXPECT_EQ(sizes["container_header"], kPacketHeaderSize);
  EXPECT_EQ(sizes["message_header"], kMessageHeaderSize);
  EXPECT_EQ(sizes["fragment_header"], FragmentHeader::kEncodedSize);
  EXPECT_EQ(sizes["key_exchange_body"], KeyExchangeMessage::kSignedSize);
  EXPECT_EQ(sizes["key_exchange_message"], KeyExchangeMessage::kEncodedSize);
}

TEST(MessageTypes, ChannelsAndTheRest) {
  EXPECT_EQ(channel_of(channel_type(ChannelId{0x80000000})), ChannelId{0x80000000});
  EXPECT_EQ(channel_of(channel_type(kMaxChannelId)), kMaxChannelId);
  for (const auto type :
       {MessageType::kUndefined, MessageType::kFirstReserved, MessageType::kLastReserved,
        MessageType::kReadWrite, MessageType::kNegotiation, MessageType::kKeyExchange,
        MessageType{0xffffffed}, MessageType{0xffffffff}}) {
    EXPECT_EQ(channel_of(type), std::nullopt);
    EXPECT_EQ(is_internal(type),
              type == MessageType::kNegotiation || type == MessageType::kKeyExchange);
  }
}

// The messages of each small packet of the vectors, written and read.
void check_messages(const nlohmann::json& packet) {
  SCOPED_TRACE(packet["name"].get<std::string>());
  const Bytes expected = hex(packet["plain"].get<std::string>().substr(2 * kPacketHeaderSize));
  Bytes written(expected.size());
  std::size_t at = 0;
  MessageReader reader(expected);
  for (const auto& entry : packet["messages"]) {
    const auto message = reader.next();
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->type, type_of(entry["type"]));
    EXPECT_EQ(message->flags, entry["flags"]);
    EXPECT_EQ(message->payload.size(), entry["length"]);
    if (!entry["payload"].is_null()) {
      EXPECT_EQ(to_hex(message->payload), entry["payload"]);
    }
    at += write_message(MutableByteSpan(written).subspan(at), message->type, message->flags,
                        message->payload);
  }
  EXPECT_FALSE(reader.next().has_value());
  EXPECT_FALSE(reader.truncated());
  EXPECT_EQ(to_hex(written), to_hex(expected));
}

TEST(Messages, Vectors) {
  for (const auto& packet : vectors()["packets"]) {
    if (packet.contains("plain")) check_messages(packet);
  }
  for (const auto& step : vectors()["handshake"]["steps"]) check_messages(step);
}

TEST(Messages, CutAtEachByte) {
  Bytes packet(3 * kMessageHeaderSize + 5 + 0 + 300);
  std::vector<std::size_t> ends;
  std::size_t at = 0;
  for (const std::size_t size : {std::size_t{5}, std::size_t{0}, std::size_t{300}}) {
    at += write_message(MutableByteSpan(packet).subspan(at), MessageType::kReadWrite, kConfidential,
                        Bytes(size, std::byte{7}));
    ends.push_back(at);
  }
  ASSERT_EQ(at, packet.size());
  for (std::size_t size = 0; size <= packet.size(); ++size) {
    MessageReader reader(ByteSpan(packet).first(size));
    std::size_t count = 0;
    while (reader.next()) ++count;
    const auto whole = std::ranges::count_if(ends, [&](std::size_t end) { return end <= size; });
    EXPECT_EQ(count, static_cast<std::size_t>(whole)) << size;
    EXPECT_EQ(reader.truncated(), size != 0 && std::ranges::find(ends, size) == ends.end()) << size;
    EXPECT_FALSE(reader.next().has_value());
  }
}

TEST(Messages, LengthFieldAtItsEdges) {
  Bytes packet(kMessageHeaderSize + 3);
  for (const std::uint32_t length :
       {0u, 1u, 2u, 3u, 4u, 0x7fffffffu, 0xfffffff6u, 0xfffffff7u, 0xffffffffu}) {
    write_message(packet, MessageType::kReadWrite, 0, Bytes(3));
    for (std::size_t i = 0; i < 4; ++i) packet[4 + i] = static_cast<std::byte>(length >> (8 * i));
    MessageReader reader(packet);
    const auto message = reader.next();
    EXPECT_EQ(message.has_value(), length <= 3) << length;
    if (message) {
      EXPECT_EQ(message->payload.size(), length);
    }
    EXPECT_FALSE(reader.next().has_value());
    EXPECT_EQ(reader.truncated(), length != 3) << length;
  }
}

TEST(Messages, PayloadMayLieInPlace) {
  Bytes room(kMessageHeaderSize + 4);
  const Bytes text = to_bytes("data");
  std::ranges::copy(text, room.begin() + kMessageHeaderSize);
  EXPECT_EQ(write_message(room, channel_type(ChannelId{3}), 0,
                          ByteSpan(room).subspan(kMessageHeaderSize)),
            room.size());
  EXPECT_EQ(to_hex(room),
            "0400000004000000"
            "00"
            "64617461");
}

TEST(KeyExchange, Vectors) {
  for (const auto& entry : vectors()["key_exchange_messages"]) {
    const std::string side = entry["sender"];
    const Bytes bytes = hex(entry["message"]);
    const auto parsed = parse_key_exchange(bytes);
    ASSERT_TRUE(parsed.has_value());
    const KeyExchangeMessage& message = parsed.value().claimed;
    EXPECT_EQ(message.session, session_id_of(side));
    EXPECT_EQ(message.identity, crypto::ed25519_public(seed_of(side)));
    EXPECT_EQ(static_cast<int>(message.answers_mode), entry["answers_mode"]);
    EXPECT_EQ(message.flags, entry["flags"]);
    EXPECT_EQ(message.is_answer(), entry["flags"] == 1);
    EXPECT_EQ(to_hex(parsed.value().signed_part), entry["signed_body"]);
    EXPECT_EQ(to_hex(parsed.value().signature), entry["signature"]);
    EXPECT_TRUE(parsed.value().tail.empty());
    EXPECT_TRUE(verify(parsed.value(), message.identity).has_value());
    EXPECT_EQ(to_hex(encode(message, seed_of(side))), entry["message"]);
    EXPECT_EQ(to_hex(encode_signed_part(message)), entry["signed_body"]);
  }
}

TEST(KeyExchange, EachByteIsSigned) {
  const Bytes good = hex(vectors()["key_exchange_messages"][0]["message"]);
  const auto key = crypto::ed25519_public(seed_of("A"));
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= std::byte{0x40};
    const auto parsed = parse_key_exchange(bad);
    if (!parsed.has_value()) {
      EXPECT_EQ(parsed.error(), KeyExchangeError::kUnknownMode);
      EXPECT_EQ(i, 144u);
      continue;
    }
    EXPECT_EQ(verify(parsed.value(), key).error(), KeyExchangeError::kBadSignature) << i;
    EXPECT_FALSE(verify(parsed.value(), parsed.value().claimed.identity).has_value()) << i;
  }
}

TEST(KeyExchange, ItsTailIsKeptApart) {
  Bytes bytes = hex(vectors()["key_exchange_messages"][0]["message"]);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(parse_key_exchange(ByteSpan(bytes).first(size)).error(), KeyExchangeError::kTooShort);
  }
  bytes.push_back(std::byte{9});
  const auto parsed = parse_key_exchange(bytes);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(to_hex(parsed.value().tail), "09");
  EXPECT_TRUE(verify(parsed.value(), crypto::ed25519_public(seed_of("A"))).has_value());
}

TEST(KeyExchange, AnotherSignerIsRefused) {
  const Bytes bytes = hex(vectors()["key_exchange_messages"][0]["message"]);
  const auto parsed = parse_key_exchange(bytes);
  EXPECT_FALSE(verify(parsed.value(), crypto::ed25519_public(seed_of("B"))).has_value());
  // Signed by A, but in B's name.
  KeyExchangeMessage lie = parsed.value().claimed;
  lie.identity = crypto::ed25519_public(seed_of("B"));
  const auto encoded = encode(lie, seed_of("A"));
  const auto parsed_lie = parse_key_exchange(encoded);
  EXPECT_FALSE(verify(parsed_lie.value(), crypto::ed25519_public(seed_of("A"))).has_value());
  EXPECT_FALSE(verify(parsed_lie.value(), crypto::ed25519_public(seed_of("B"))).has_value());
}

TEST(KeyExchange, UnknownModes) {
  KeyExchangeMessage message;
  message.identity = crypto::ed25519_public(seed_of("A"));
  for (int mode = 0; mode < 256; ++mode) {
    message.answers_mode = AnswersMode{static_cast<std::uint8_t>(mode)};
    EXPECT_EQ(parse_key_exchange(encode(message, seed_of("A"))).has_value(),
              mode >= 1 && mode <= 3);
  }
}

TEST(FragmentHeader, Vectors) {
  const Bytes whole = hex(vectors()["fragments"]["message"]);
  for (const auto& cut : vectors()["fragments"]["cuts"]) {
    Bytes rebuilt(whole.size());
    for (const auto& entry : cut["fragments"]) {
      for (const char* sender : {"go_sender", "go_sender_psk", "safe_sender"}) {
        if (!entry.contains(sender)) continue;
        const Bytes messages =
            hex(entry[sender]["plain"].get<std::string>().substr(2 * kPacketHeaderSize));
        MessageReader reader(messages);
        const auto message = reader.next();
        ASSERT_TRUE(message && !reader.next() && !reader.truncated());
        EXPECT_EQ(message->flags, std::string_view(sender) == "safe_sender"
                                      ? kFragmented | kConfidential
                                      : int{kFragmented});
        const auto fragment = parse_fragment(message->payload);
        ASSERT_TRUE(fragment.has_value());
        const FragmentHeader& header = fragment.value().header;
        EXPECT_EQ(header.chain, cut["chain_id"]);
        EXPECT_EQ(header.start, entry["start"]);
        EXPECT_EQ(header.total, cut["total_length"]);
        EXPECT_EQ(fragment.value().piece.size(), entry["length"]);
        ByteArray<FragmentHeader::kEncodedSize> encoded{};
        encode(header, encoded);
        EXPECT_EQ(to_hex(encoded), entry["fragment_header"]);
        std::ranges::copy(fragment.value().piece,
                          rebuilt.begin() + static_cast<std::ptrdiff_t>(header.start));
      }
    }
    EXPECT_EQ(rebuilt, whole);
  }
}

Bytes fragment_payload(const FragmentHeader& header, std::size_t piece) {
  Bytes out(FragmentHeader::kEncodedSize + piece);
  encode(header, std::span(out).first<FragmentHeader::kEncodedSize>());
  return out;
}

TEST(FragmentHeader, EdgesAndWhatCrashesOthers) {
  const Bytes good = fragment_payload({1, 0, 10}, 10);
  for (std::size_t size = 0; size < FragmentHeader::kEncodedSize; ++size) {
    EXPECT_EQ(parse_fragment(ByteSpan(good).first(size)).error(), FragmentError::kTooShort);
  }
  EXPECT_EQ(parse_fragment(fragment_payload({1, 0, 10}, 0)).error(), FragmentError::kEmpty);
  EXPECT_EQ(parse_fragment(fragment_payload({1, 0, 0}, 1)).error(), FragmentError::kEmpty);
  EXPECT_EQ(parse_fragment(fragment_payload({1, 0, 9}, 10)).error(), FragmentError::kOutOfRange);
  EXPECT_EQ(parse_fragment(fragment_payload({1, 1, 10}, 10)).error(), FragmentError::kOutOfRange);
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  EXPECT_EQ(parse_fragment(fragment_payload({1, kMax, 10}, 2)).error(), FragmentError::kOutOfRange);
  EXPECT_EQ(parse_fragment(fragment_payload({1, kMax, kMax}, 1)).error(),
            FragmentError::kOutOfRange);
  EXPECT_TRUE(parse_fragment(fragment_payload({1, kMax - 1, kMax}, 1)).has_value());
  PacketKey key = PacketKey::plain();
  for (const char* name : {"total_length_zero", "start_overflow"}) {
    Bytes wire = hex(vectors()["must_reject"]["crash_a_go_peer"][name]);
    const auto header = key.open_header({}, wire);
    ASSERT_TRUE(header.has_value()) << name;
    MessageReader reader(key.open_messages(header.value(), wire).value());
    EXPECT_FALSE(parse_fragment(reader.next()->payload).has_value()) << name;
  }
}

TEST(Negotiation, Vectors) {
  for (const auto& entry : vectors()["negotiation"]) {
    const std::string what = entry["what"];
    const Bytes messages =
        hex(entry["packet"]["plain"].get<std::string>().substr(2 * kPacketHeaderSize));
    MessageReader reader(messages);
    const Bytes payload = to_bytes(reader.next()->payload);
    const auto parsed = parse_negotiation(payload);
    ASSERT_TRUE(parsed.has_value()) << what;
    Bytes written(payload.size());
    if (what == "control") {
      const auto control = std::get<SizeControl>(parsed.value());
      EXPECT_EQ(control.largest, entry["largest"]);
      EXPECT_EQ(control.end, entry["end"].get<bool>());
      encode(control, std::span(written).first<SizeControl::kEncodedSize>());
    } else {
      const std::uint32_t iteration = entry["iteration"];
      const std::size_t size = entry["size"];
      encode_ping(iteration, written);
      if (what == "ping") {
        EXPECT_EQ(std::get<SizePing>(parsed.value()), (SizePing{iteration, size}));
      } else {
        EXPECT_EQ(std::get<SizePong>(parsed.value()), (SizePong{iteration, size}));
        make_pong(written);
      }
    }
    EXPECT_EQ(to_hex(written), to_hex(payload));
  }
}

TEST(Negotiation, EdgesOfLengthAndKind) {
  EXPECT_EQ(parse_negotiation({}).error(), NegotiationError::kTooShort);
  for (int kind = 3; kind < 256; ++kind) {
    Bytes payload(100);
    payload[0] = static_cast<std::byte>(kind);
    EXPECT_EQ(parse_negotiation(payload).error(), NegotiationError::kUnknownKind);
  }
  for (std::size_t size = 1; size < 90; ++size) {
    Bytes payload(size);
    EXPECT_EQ(parse_negotiation(payload).has_value(), size >= SizeControl::kEncodedSize);
    payload[0] = std::byte{1};
    EXPECT_EQ(parse_negotiation(payload).has_value(), size >= kMinProbeSize);
    payload[0] = std::byte{2};
    EXPECT_FALSE(parse_negotiation(payload).has_value());
    if (size < kMinProbeSize) continue;
    encode_ping(0xffffffff, payload);
    make_pong(payload);
    EXPECT_TRUE(parse_negotiation(payload).has_value());
    payload.back() ^= std::byte{1};
    EXPECT_EQ(parse_negotiation(payload).error(), NegotiationError::kBadChecksum);
  }
}

TEST(Handshake, FromTheFirstRequestToData) {
  // Both sides by their key exchange messages alone: the data packets open under the key that
  // follows from them.
  const auto& handshake = vectors()["handshake"];
  std::array<std::optional<KeyExchangeMessage>, 2> seen;
  int data_packets = 0;
  for (const auto& step : handshake["steps"]) {
    SCOPED_TRACE(step["name"].get<std::string>());
    const std::size_t sender = step["sender"] == "A" ? 0 : 1;
    Bytes wire = hex(step["wire"]);
    if (step["mode"] == "plain") {
      PacketKey plain = PacketKey::plain();
      const auto header = plain.open_header({}, wire);
      ASSERT_TRUE(header.has_value());
      MessageReader reader(plain.open_messages(header.value(), wire).value());
      const auto message = reader.next();
      ASSERT_EQ(message->type, MessageType::kKeyExchange);
      const auto parsed = parse_key_exchange(message->payload);
      const crypto::Ed25519Public key = crypto::ed25519_public(seed_of(step["sender"]));
      ASSERT_TRUE(verify(parsed.value(), key).has_value());
      seen[sender] = parsed.value().claimed;
      continue;
    }
    ++data_packets;
    const crypto::X25519Private secret(
        hex_array<32>(vectors()["sides"][0]["x25519"][0]["private_clamped"]));
    const auto key = derive_cipher_key(secret, seen[1]->exchange_key, nullptr);
    ASSERT_EQ(to_hex(key.value().expose()), handshake["cipher_key"]);
    PacketKey packets = PacketKey::session(key.value(), seen[sender]->session);
    const auto header = packets.open_header({}, wire);
    ASSERT_TRUE(header.has_value());
    MessageReader reader(packets.open_messages(header.value(), wire).value());
    EXPECT_EQ(to_hex(reader.next()->payload), step["messages"][0]["payload"]);
  }
  EXPECT_EQ(data_packets, 2);
}

TEST(MustReject, PlainDataIsTellable) {
  Bytes wire = hex(vectors()["must_reject"]["plain_data_injection"]["wire"]);
  PacketKey plain = PacketKey::plain();
  const auto header = plain.open_header({}, wire);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(plain.packet_class(), PacketClass::kPlain);
  MessageReader reader(plain.open_messages(header.value(), wire).value());
  EXPECT_NE(reader.next()->type, MessageType::kKeyExchange);
}

}  // namespace
}  // namespace sealane::session
