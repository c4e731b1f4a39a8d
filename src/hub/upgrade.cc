#include "hub/upgrade.h"

#include "base/byte_reader.h"
#include "base/copy_bytes.h"
#include "crypto/kdf.h"

namespace sealane::hub {
namespace {

constexpr std::string_view kKeyContext = "sealane-hub-keys@v1";
constexpr std::size_t kKeySize = crypto::kAeadKeySize;
constexpr std::size_t kMaskSize = SealedFrames::kNonceMaskSize;

}  // namespace

crypto::Sha256Digest hash(const UpgradeTranscript& transcript) {
  crypto::Sha256 hash;
  const auto add = [&](ByteSpan part) {
    ByteArray<4> size;
    store_integer(size, static_cast<std::uint32_t>(part.size()));
    hash.update(size);
    hash.update(part);
  };
  add(transcript.challenge);
  add(transcript.response);
  add(transcript.config);
  add(transcript.client_share);
  add(as_bytes(to_text(transcript.accepted)));
  return hash.finish();
}

Bytes proof_message(const crypto::Sha256Digest& transcript_hash) {
  ByteWriter out;
  out.text(kUpgradeContext).u8(0).bytes(transcript_hash);
  return out.take();
}

SealedFrames::SealedFrames(const crypto::AeadKey& key, const crypto::AeadNonce& mask)
    : aead_(crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305, key)), mask_(mask) {}

crypto::AeadNonce SealedFrames::next_nonce() const {
  crypto::AeadNonce nonce{};
  store_integer(MutableByteSpan(nonce).subspan(4), count_);
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] ^= mask_[i];
  return nonce;
}

void SealedFrames::seal(std::span<const ByteSpan> pieces, Bytes& out) {
  std::size_t plain_size = 0;
  for (const ByteSpan piece : pieces) plain_size += piece.size();
  SEALANE_CHECK(plain_size <= kMaxSealedPlainSize);
  const std::size_t at = out.size();
  const std::size_t payload_size = plain_size + crypto::kAeadTagSize;
  ByteArray<kFrameHeaderSize> header;
  store_integer(header, static_cast<std::uint16_t>(payload_size));
  out.insert(out.end(), header.begin(), header.end());
  for (const ByteSpan piece : pieces) out.insert(out.end(), piece.begin(), piece.end());
  out.resize(at + kFrameHeaderSize + payload_size);
  const MutableByteSpan payload = MutableByteSpan(out).subspan(at + kFrameHeaderSize);
  aead_->seal(next_nonce(), header, payload.first(plain_size), payload);
  ++count_;
}

std::optional<Bytes> SealedFrames::open(Bytes payload) {
  if (payload.size() < crypto::kAeadTagSize) return std::nullopt;
  ByteArray<kFrameHeaderSize> header;
  store_integer(header, static_cast<std::uint16_t>(payload.size()));
  const std::size_t plain_size = payload.size() - crypto::kAeadTagSize;
  const auto plain = MutableByteSpan(payload).first(plain_size);
  if (!aead_->open(next_nonce(), header, payload, plain).has_value()) return std::nullopt;
  ++count_;
  payload.resize(plain_size);
  return payload;
}

UpgradeKeys derive_keys(const crypto::SharedSecret& secret,
                        const crypto::Sha256Digest& transcript_hash) {
  SecretBytes material(2 * (kKeySize + kMaskSize));
  crypto::hkdf_sha256(secret.expose(), transcript_hash, as_bytes(kKeyContext), material.fill());
  const auto direction = [&](std::size_t at) {
    const ByteSpan bytes = material.expose().subspan(at, kKeySize + kMaskSize);
    crypto::AeadNonce mask;
    copy_bytes(bytes.last(kMaskSize), mask.begin());
    return SealedFrames(crypto::AeadKey(bytes.first<kKeySize>()), mask);
  };
  return UpgradeKeys{.client = direction(0), .hub = direction(kKeySize + kMaskSize)};
}

}  // namespace sealane::hub
