// Goal: packets byte by byte as the format says, and every damage refused. Method: the vectors in
// both directions; then each bit and each length of small packets, and sizes around every border
// between the two ways of encrypting.
#include "session/packet.h"

#include <gtest/gtest.h>

#include "crypto/hash.h"
#include "session/key_schedule.h"
#include "session/messages.h"
#include "tests/session/vectors.h"

namespace sealane::session {
namespace {

PacketKey key_of(const nlohmann::json& packet) {
  const std::string mode = packet["mode"];
  if (mode == "session") {
    return PacketKey::session(cipher_key(packet["cipher_key"]), session_id_of(packet["sender"]));
  }
  return mode == "aux" ? PacketKey::aux(aux_key(packet["cipher_key"])) : PacketKey::plain();
}

PacketIdMask mask_of(const nlohmann::json& packet) {
  if (!packet["psk_present"].get<bool>()) return {};
  return PskKeys(from_hex("010203").value()).packet_id_mask();
}

// Every packet of the vectors, wherever it stands; a large one has hashes instead of bytes.
void collect(const nlohmann::json& value, std::vector<nlohmann::json>& out) {
  if (value.is_object() && value.contains("wire_sha256")) out.push_back(value);
  if (value.is_structured()) {
    for (const auto& item : value) collect(item, out);
  }
}

std::string sha256_hex(ByteSpan data) { return to_hex(crypto::sha256(data)); }

// The largest packet is told by the rule of its bytes: byte i of the payload is 31 * i.
Bytes messages_of(const nlohmann::json& packet) {
  if (packet.contains("plain")) {
    return hex(packet["plain"].get<std::string>().substr(2 * kPacketHeaderSize));
  }
  Bytes payload(packet["messages"][0]["length"].get<std::size_t>());
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::byte>(31 * i);
  Bytes out(kMessageHeaderSize + payload.size());
  write_message(out, MessageType::kReadWrite, kConfidential, payload);
  return out;
}

TEST(PacketVectors, SealAndOpen) {
  std::vector<nlohmann::json> packets;
  collect(vectors(), packets);
  int count = 0;
  for (const auto& packet : packets) {
    SCOPED_TRACE(packet["name"].get<std::string>());
    const Bytes messages = messages_of(packet);
    ++count;
    const PacketId id = packet_id(packet["packet_id"]);
    PacketKey key = key_of(packet);
    Bytes wire(kPacketHeaderSize + messages.size());
    std::ranges::copy(messages, wire.begin() + kPacketHeaderSize);
    key.seal(id, mask_of(packet), wire);
    if (packet.contains("wire")) {
      EXPECT_EQ(to_hex(wire), packet["wire"]);
    }
    EXPECT_EQ(wire.size(), packet["wire_size"]);
    EXPECT_EQ(sha256_hex(wire), packet["wire_sha256"]);

    auto header = key.open_header(mask_of(packet), wire);
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header.value().id(), id);
    EXPECT_EQ(header.value().length(), packet["length_field"]);
    auto opened = key.open_messages(header.value(), wire);
    ASSERT_TRUE(opened.has_value());
    EXPECT_EQ(to_hex(opened.value()), to_hex(messages));
  }
  EXPECT_GE(count, 40);
}

TEST(PacketVectors, MacKeys) {
  for (const auto& entry : vectors()["mac_keys"]) {
    const Bytes key = entry["cipher_key"].is_null() ? Bytes{} : hex(entry["cipher_key"]);
    const MacKey derived = derive_mac_key(packet_id(entry["packet_id"]), key);
    EXPECT_EQ(to_hex(derived.expose()), entry["mac_key"]);
  }
}

TEST(PacketVectors, Keystreams) {
  for (const auto& entry : vectors()["stream"]) {
    SCOPED_TRACE(entry["what"].get<std::string>());
    ByteArray<32> key = hex_array<32>(entry["cipher_key"]);
    if (entry.contains("session_id")) {
      ByteArray<32> subkey{};
      crypto::hchacha20(key, hex_array<16>(entry["session_id"]), subkey);
      EXPECT_EQ(to_hex(subkey), entry["hchacha20_subkey"]);
      key = subkey;
    }
    crypto::ChaCha20 cipher(key);
    ByteArray<8> nonce{};
    const auto id = static_cast<std::uint64_t>(packet_id(entry["packet_id"]));
    for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::byte>(id >> (8 * i));
    ByteArray<96> stream{};
    cipher.xor_in_place(nonce, 0, stream);
    EXPECT_EQ(to_hex(stream), entry["keystream_first_96"]);
  }
}

TEST(PacketVectors, MaskedIds) {
  for (const auto& entry : vectors()["packet_id_obfuscation"]) {
    const PskKeys psk(hex(entry["psk"]));
    Bytes packet = hex(entry["wire"]);
    packet.resize(kPacketHeaderSize);
    const auto id = read_packet_id(packet, psk.packet_id_mask());
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(id.value(), packet_id(entry["packet_id"]));
  }
}

TEST(PacketVectors, Undecryptable) {
  const auto& reject = vectors()["must_reject"];
  const SessionId sender = decode_session_id(hex_array<16>(reject["session_id_of_sender"]));
  PacketKey key = PacketKey::session(cipher_key(reject["cipher_key"]), sender);
  Bytes original = hex(reject["accepted_original"]);
  auto header = key.open_header({}, original);
  ASSERT_TRUE(header.has_value());
  EXPECT_TRUE(key.open_messages(header.value(), original).has_value());
  PacketKey plain = PacketKey::plain();
  for (const auto& entry : reject["undecryptable"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    Bytes wire = hex(entry["wire"]);
    EXPECT_FALSE(plain.open_header({}, wire).has_value());
    auto damaged = key.open_header({}, wire);
    if (!damaged.has_value()) continue;
    EXPECT_EQ(key.open_messages(damaged.value(), wire).error(), PacketError::kBadMessages);
  }
}

ByteArray<32> counting_key() {
  ByteArray<32> key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i * 7 + 1);
  return key;
}
Bytes counting(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 13 + i / 251);
  return out;
}
constexpr SessionId kSender{0x1122334455667788, 0x99aabbccddeeff00};
constexpr PacketIdMask kMask{0xcb354b61d6f63b85};

Bytes sealed(PacketKey& key, std::uint64_t id, ByteSpan messages, PacketIdMask mask = {}) {
  Bytes packet(kPacketHeaderSize);
  packet.insert(packet.end(), messages.begin(), messages.end());
  key.seal(PacketId{id}, mask, packet);
  return packet;
}

// The format from the primitives, in the plainest way: one keystream over all, one-shot hashes.
Bytes sealed_plainly(const CipherKey& key, const SessionId& sender, std::uint64_t id,
                     ByteSpan messages) {
  const MacKey mac_key = derive_mac_key(PacketId{id}, key.expose());
  Bytes packet(kPacketHeaderSize);
  for (std::size_t i = 0; i < 8; ++i) packet[i] = static_cast<std::byte>(id >> (8 * i));
  for (std::size_t i = 0; i < 4; ++i) {
    packet[40 + i] = static_cast<std::byte>(messages.size() >> (8 * i));
  }
  std::ranges::copy(crypto::poly1305(mac_key.expose(), ByteSpan(packet).subspan(40, 4)),
                    packet.begin() + 8);
  std::ranges::copy(crypto::poly1305(mac_key.expose(), messages), packet.begin() + 24);
  packet.insert(packet.end(), messages.begin(), messages.end());
  ByteArray<32> subkey{};
  crypto::hchacha20(key.expose(), encode(sender), subkey);
  // RFC 8439's cipher with a zero word in front of the nonce is the same for so few blocks.
  ByteArray<12> nonce{};
  std::copy_n(packet.begin(), 8, nonce.begin() + 4);
  crypto::chacha20_xor(subkey, nonce, 0, ByteSpan(packet).subspan(8),
                       MutableByteSpan(packet).subspan(8));
  return packet;
}

TEST(Packet, EachSizeAgainstThePlainWay) {
  const CipherKey secret(counting_key());
  PacketKey key = PacketKey::session(secret, kSender);
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size <= 400; ++size) sizes.push_back(size);
  for (std::size_t base : {1353u, 8192u, 8220u, 16384u, 65225u}) {
    for (std::size_t size = base - 2; size <= base + 2; ++size) sizes.push_back(size);
  }
  std::uint64_t id = 1;
  for (const std::size_t size : sizes) {
    const Bytes messages = counting(size);
    Bytes packet = sealed(key, ++id, messages);
    ASSERT_EQ(packet, sealed_plainly(secret, kSender, id, messages)) << size;
    auto header = key.open_header({}, packet);
    ASSERT_TRUE(header.has_value()) << size;
    auto opened = key.open_messages(header.value(), packet);
    ASSERT_TRUE(opened.has_value()) << size;
    ASSERT_TRUE(std::ranges::equal(opened.value(), messages)) << size;
  }
}

TEST(Packet, EachFlippedBitIsRefused) {
  const CipherKey secret(counting_key());
  for (const std::size_t size : {std::size_t{0}, std::size_t{20}, std::size_t{300}}) {
    PacketKey key = PacketKey::session(secret, kSender);
    const Bytes good = sealed(key, 7, counting(size), kMask);
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
      Bytes bad = good;
      bad[bit / 8] ^= std::byte{1} << (bit % 8);
      auto header = key.open_header(kMask, bad);
      if (!header.has_value()) {
        EXPECT_EQ(header.error(), PacketError::kWrongKey);
        continue;
      }
      EXPECT_TRUE(bit / 8 >= 24 && (bit / 8 < 40 || bit / 8 >= kPacketHeaderSize)) << bit;
      EXPECT_EQ(key.open_messages(header.value(), bad).error(), PacketError::kBadMessages) << bit;
      EXPECT_TRUE(std::ranges::all_of(bad.begin() + kPacketHeaderSize, bad.end(),
                                      [](std::byte b) { return b == std::byte{0}; }));
    }
  }
}

TEST(Packet, EachWrongLength) {
  PacketKey key = PacketKey::aux(AuxCipherKey(counting_key()));
  const Bytes good = sealed(key, 7, counting(30));
  for (std::size_t size = 0; size < good.size(); ++size) {
    const auto header = key.open_header({}, ByteSpan(good).first(size));
    ASSERT_FALSE(header.has_value()) << size;
    EXPECT_EQ(header.error(),
              size < kPacketHeaderSize ? PacketError::kTooShort : PacketError::kLengthMismatch);
  }
  Bytes longer = good;
  longer.push_back(std::byte{0});
  EXPECT_EQ(key.open_header({}, longer).error(), PacketError::kLengthMismatch);
  longer.resize(kMaxPacketSize + 1);
  EXPECT_EQ(key.open_header({}, longer).error(), PacketError::kTooLong);
}

TEST(Packet, AnyLengthFieldIsPeekedAt) {
  // Lengths that no packet here has: the header alone is judged, nothing is read behind it.
  for (const std::uint32_t length : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    const MacKey mac_key = derive_mac_key(PacketId{3}, {});
    ByteArray<kPacketHeaderSize> header{};
    header[0] = std::byte{3};
    for (std::size_t i = 0; i < 4; ++i) header[40 + i] = static_cast<std::byte>(length >> (8 * i));
    std::ranges::copy(crypto::poly1305(mac_key.expose(), std::span(header).last<4>()),
                      header.begin() + 8);
    PacketKey key = PacketKey::plain();
    auto peeked = key.peek_header({}, header);
    ASSERT_TRUE(peeked.has_value());
    EXPECT_EQ(peeked.value().length(), length);
    EXPECT_EQ(key.open_header({}, header).has_value(), length == 0);
  }
}

TEST(Packet, ClassesAndSendersDoNotOpenEachOther) {
  const ByteArray<32> bytes = counting_key();
  std::vector<PacketKey> keys;
  keys.push_back(PacketKey::session(CipherKey(bytes), kSender));
  keys.push_back(PacketKey::session(CipherKey(bytes), {kSender.created_at, kSender.random + 1}));
  keys.push_back(PacketKey::aux(AuxCipherKey(bytes)));
  keys.push_back(PacketKey::plain());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Bytes packet = sealed(keys[i], 9, counting(50), kMask);
    for (std::size_t j = 0; j < keys.size(); ++j) {
      EXPECT_EQ(keys[j].open_header(kMask, packet).has_value(), i == j);
      EXPECT_FALSE(keys[j].open_header({}, packet).has_value());
    }
  }
}

TEST(Packet, SessionIdRoundTrip) {
  EXPECT_EQ(decode_session_id(encode(kSender)), kSender);
  for (const auto& side : vectors()["sides"]) {
    const SessionId id = decode_session_id(hex_array<16>(side["session_id"]["bytes"]));
    EXPECT_EQ(id.created_at, side["session_id"]["created_at"].get<std::uint64_t>());
    EXPECT_EQ(id.random, std::stoull(side["session_id"]["random"].get<std::string>(), nullptr, 16));
    EXPECT_EQ(to_hex(encode(id)), side["session_id"]["bytes"]);
  }
}

}  // namespace
}  // namespace sealane::session
