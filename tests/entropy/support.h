#pragma once
// What the tests of the entropy channel share: keys, plaintexts, and a way to run a receiver.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "entropy/receiver.h"
#include "entropy/sender.h"

namespace sealane::entropy::testing {

inline ChunkKeys keys_of(std::string_view key, std::string_view iv) {
  return make_chunk_keys(KeyBytes(as_bytes(key).first<16>()), KeyBytes(as_bytes(iv).first<16>()));
}
inline ChunkKeys test_keys() { return keys_of("entropy-test-key", "entropy-test-iv0"); }
inline ClusterSecret test_secret(char which = 's') {
  const Bytes bytes(32, static_cast<std::byte>(which));
  return ClusterSecret(ByteSpan(bytes).first<32>());
}

// The vectors' plaintext: byte i is (31 i + 7) mod 251.
inline Bytes rule_plaintext(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>((i * 31 + 7) % 251);
  return out;
}
inline Bytes random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  Bytes out(size);
  for (std::byte& b : out) b = static_cast<std::byte>(engine());
  return out;
}

// A whole stream, as the sender core makes it.
inline Bytes encode_stream(SenderSetup setup, ByteSpan plaintext, const ChunkKeys& keys) {
  setup.total = plaintext.size();
  Bytes out = encode_head(setup);
  ChunkEncoder encoder(setup.buffer_size, setup.encrypted ? &keys : nullptr);
  Bytes chunks(encoder.encoded_size(plaintext.size()));
  encoder.encode(plaintext, chunks);
  out.insert(out.end(), chunks.begin(), chunks.end());
  return out;
}
inline Extension test_extension(ByteSpan plaintext, std::uint64_t created_ms = 1'000'000) {
  Extension out;
  out.snapshot[0] = std::byte{42};
  out.created_ms = created_ms;
  out.digest = crypto::sha256(plaintext);
  out.sender = "shop";
  return out;
}
inline constexpr WallTime kTestWall{std::chrono::milliseconds(1'000'000)};

// How a stream arrives: the sizes of its pieces.
using Cutter = std::function<std::size_t(std::size_t left)>;
inline Cutter in_pieces(std::size_t size) {
  return [size](std::size_t left) { return std::min(size, left); };
}
inline Cutter at_random(std::uint64_t seed) {
  return [engine = std::mt19937_64(seed)](std::size_t left) mutable {
    return std::min<std::size_t>(left, 1 + engine() % (engine() % 4 == 0 ? 5000 : 40));
  };
}

enum class End : std::uint8_t { kFin, kReset, kNone };

// What came out of a receiver.
struct Received {
  std::optional<Receiver::Header> header;
  Bytes plaintext;  // whether it counts or not
  bool complete = false;
  std::optional<Reason> refused;
  std::string why;
  Bytes output;
  std::size_t events = 0;
};

inline void collect(Receiver& receiver, Received& out) {
  while (auto event = receiver.next_event()) {
    ++out.events;
    if (const auto* header = std::get_if<Receiver::Header>(&*event)) {
      out.header = *header;
    } else if (const auto* plaintext = std::get_if<Receiver::Plaintext>(&*event)) {
      out.plaintext.insert(out.plaintext.end(), plaintext->bytes.begin(), plaintext->bytes.end());
    } else if (std::holds_alternative<Receiver::Complete>(*event)) {
      out.complete = true;
    } else {
      out.refused = std::get<Receiver::Refused>(*event).reason;
      out.why = receiver.why(*out.refused);
    }
  }
  const ByteSpan output = receiver.next_output();
  out.output.insert(out.output.end(), output.begin(), output.end());
  receiver.output_sent(output.size());
}

// Every piece lies in a buffer of its own, of its exact size, so that reading beyond it is seen.
inline void feed(Receiver& receiver, ByteSpan stream, const Cutter& cut, Received& out,
                 SteadyTime now = {}) {
  while (!stream.empty() && receiver.wants_input()) {
    const Bytes piece = to_bytes(stream.first(cut(stream.size())));
    stream = stream.subspan(piece.size());
    ByteSpan rest = piece;
    while (!rest.empty() && receiver.wants_input()) {
      rest = rest.subspan(receiver.receive(rest, now));
      collect(receiver, out);
    }
  }
}

inline Received run(Receiver& receiver, ByteSpan stream, const Cutter& cut, End end = End::kFin) {
  Received out;
  feed(receiver, stream, cut, out);
  if (end == End::kFin) receiver.on_end({});
  if (end == End::kReset) receiver.on_reset({});
  collect(receiver, out);
  return out;
}

}  // namespace sealane::entropy::testing
