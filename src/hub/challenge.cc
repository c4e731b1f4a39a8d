#include "hub/challenge.h"

#include "base/byte_reader.h"
#include "hub/frame.h"

namespace sealane::hub {
namespace {

constexpr std::string_view kMagic = "BBCHAL1\n";
constexpr std::uint8_t kVersion = 1;

}  // namespace

Bytes encode(const Challenge& challenge) {
  SEALANE_CHECK(2 + challenge.key.size() + challenge.data.size() <= kMaxPayloadSize);
  ByteWriter out;
  out.u16(static_cast<std::uint16_t>(challenge.key.size()));
  out.bytes(challenge.key).bytes(challenge.data);
  return out.take();
}

std::optional<Challenge> decode_challenge(ByteSpan payload) {
  ByteReader in(payload);
  const auto size = in.u16();
  const auto key = size ? in.bytes(*size) : std::nullopt;
  if (!key) return std::nullopt;
  return Challenge{.key = to_bytes(*key), .data = to_bytes(in.rest())};
}

Bytes encode(const BoundChallenge& bound, std::size_t size, RandomSource& random) {
  SEALANE_CHECK(size >= BoundChallenge::kSize);
  ByteWriter out;
  out.text(kMagic).u8(kVersion).u8(bound.flags).bytes(bound.key_hash);
  out.u64(bound.time_ms).bytes(bound.nonce);
  Bytes data = out.take();
  SEALANE_CHECK(data.size() == BoundChallenge::kSize);
  data.resize(size);
  random.fill(MutableByteSpan(data).subspan(BoundChallenge::kSize));
  return data;
}

bool has_bound_magic(ByteSpan data) { return as_text(data).starts_with(kMagic); }

std::optional<BoundChallenge> decode_bound_challenge(ByteSpan data) {
  if (!has_bound_magic(data) || data.size() < BoundChallenge::kSize) return std::nullopt;
  ByteReader in(data.subspan(kMagic.size()));
  if (in.u8() != kVersion) return std::nullopt;
  BoundChallenge bound;
  bound.flags = *in.u8();
  bound.key_hash = *in.array<32>();
  bound.time_ms = *in.u64();
  bound.nonce = *in.array<32>();
  return bound;
}

Bytes encode(const Response& response) {
  ByteWriter out;
  out.bytes(response.id.bytes).bytes(response.signature);
  return out.take();
}

std::optional<Response> decode_response(ByteSpan plain) {
  ByteReader in(plain);
  const auto id = in.array<ClientId::kSize>();
  if (!id) return std::nullopt;
  return Response{.id = {*id}, .signature = to_bytes(in.rest())};
}

}  // namespace sealane::hub
