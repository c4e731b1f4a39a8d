#include "seal/chunk_stream.h"

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/aead.h"

namespace sealane::seal {
namespace {

using crypto::kAeadNonceSize;
using crypto::kAeadTagSize;

constexpr std::size_t kLengthSize = 4;
constexpr std::size_t kFrameOverhead = kLengthSize + kAeadNonceSize + kAeadTagSize;
constexpr ByteArray<kLengthSize> kEndMarker{};
static_assert(kChunkStreamMinLength == kAeadNonceSize + kAeadTagSize);
static_assert(kChunkStreamMaxLength == kChunkStreamMinLength + kChunkStreamFrameSize);

std::unique_ptr<crypto::Aead> make_frame_aead(const DataKey& key) {
  return crypto::make_aead(crypto::AeadAlgorithm::kAes256Gcm, crypto::AeadKey(key.expose()));
}

class ChunkStreamSealer final : public StreamSealer {
 public:
  ChunkStreamSealer(DataKey key, RandomSource& random) : key_(std::move(key)), random_(random) {}

  std::unique_ptr<StreamSealer::Worker> make_worker() const override {
    return std::make_unique<SealWorker>(key_, random_);
  }
  ByteSpan header() const override { return {}; }
  ByteSpan trailer() const override { return kEndMarker; }
  std::size_t chunk_size() const override { return kChunkStreamFrameSize; }
  std::size_t chunk_overhead() const override { return kFrameOverhead; }
  bool seals_empty() const override { return false; }

 private:
  class SealWorker final : public StreamSealer::Worker {
   public:
    SealWorker(const DataKey& key, RandomSource& random)
        : aead_(make_frame_aead(key)), random_(random) {}
    void seal(std::uint64_t, bool last, ByteSpan plaintext, MutableByteSpan out) override {
      SEALANE_CHECK(plaintext.size() == kChunkStreamFrameSize ||
                    (last && !plaintext.empty() && plaintext.size() < kChunkStreamFrameSize));
      SEALANE_CHECK(out.size() == plaintext.size() + kFrameOverhead);
      store_integer(out, static_cast<std::uint32_t>(out.size() - kLengthSize));
      crypto::AeadNonce nonce;
      random_.fill(nonce);
      copy_bytes(nonce, out.begin() + kLengthSize);
      aead_->seal(nonce, {}, plaintext, out.subspan(kLengthSize + kAeadNonceSize));
    }

   private:
    std::unique_ptr<crypto::Aead> aead_;
    RandomSource& random_;
  };

  DataKey key_;
  RandomSource& random_;
};

class ChunkStreamOpener final : public StreamOpener {
 public:
  ChunkStreamOpener(DataKey key, ChunkStreamMode mode) : key_(std::move(key)), mode_(mode) {}

  std::unique_ptr<StreamOpener::Worker> make_worker() const override {
    return std::make_unique<OpenWorker>(key_);
  }
  Result<Step, SealError> next(ByteSpan rest, bool at_end) override {
    if (rest.size() < kLengthSize) {
      if (at_end) return SealError::kTruncated;
      return Step(BytesNeeded{kLengthSize});
    }
    const auto length = load<std::uint32_t>(rest);
    if (length == 0) return Step(StreamEnd{kLengthSize});
    if (length < kChunkStreamMinLength) return SealError::kFrameTooSmall;
    if (length > kChunkStreamMaxLength) return SealError::kFrameTooLarge;
    const std::size_t size = kLengthSize + length;
    if (rest.size() < size) {
      if (at_end) return SealError::kTruncated;
      return Step(BytesNeeded{size});
    }
    const std::size_t plaintext_size = length - kChunkStreamMinLength;
    // Only the last frame may be short, so a short one shows itself when another follows.
    const bool noncanonical = short_frame_seen_ || plaintext_size == 0;
    short_frame_seen_ = plaintext_size < kChunkStreamFrameSize;
    return Step(SealedChunk{.size = size,
                            .plaintext_size = plaintext_size,
                            .noncanonical = mode_ == ChunkStreamMode::kStrict && noncanonical});
  }
  std::size_t max_sealed_size() const override { return kLengthSize + kChunkStreamMaxLength; }
  std::size_t max_plaintext_size() const override { return kChunkStreamFrameSize; }

 private:
  class OpenWorker final : public StreamOpener::Worker {
   public:
    explicit OpenWorker(const DataKey& key) : aead_(make_frame_aead(key)) {}
    Result<void, SealError> open(std::uint64_t, const SealedChunk& chunk, ByteSpan sealed,
                                 MutableByteSpan out) override {
      SEALANE_CHECK(sealed.size() == chunk.size && out.size() == chunk.plaintext_size);
      crypto::AeadNonce nonce;
      copy_bytes(sealed.subspan(kLengthSize, kAeadNonceSize), nonce.begin());
      const ByteSpan body = sealed.subspan(kLengthSize + kAeadNonceSize);
      if (!aead_->open(nonce, {}, body, out).has_value()) return SealError::kNotAuthentic;
      if (!chunk.noncanonical) return success();
      cleanse(out);
      return SealError::kNoncanonical;
    }

   private:
    std::unique_ptr<crypto::Aead> aead_;
  };

  DataKey key_;
  ChunkStreamMode mode_;
  bool short_frame_seen_ = false;
};

}  // namespace

std::unique_ptr<StreamSealer> make_chunk_stream_sealer(const DataKey& key, RandomSource& random) {
  return std::make_unique<ChunkStreamSealer>(key.duplicate(), random);
}

std::unique_ptr<StreamOpener> make_chunk_stream_opener(const DataKey& key, ChunkStreamMode mode) {
  return std::make_unique<ChunkStreamOpener>(key.duplicate(), mode);
}

}  // namespace sealane::seal
