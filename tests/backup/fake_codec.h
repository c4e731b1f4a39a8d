#pragma once
// Two toy formats with the shape of the real ones, so that the engine is tested without
// cryptography: XOR and a checksum over index, last flag and content. Never for anything but tests.
//   kStride: all chunks full but the last, nothing between them (as age)
//   kFramed: u32 length before each chunk, an end marker of zeros (as the chunk stream)
#include <cstdint>
#include <cstring>
#include <memory>

#include "seal/stream_codec.h"

namespace sealane::testing {

enum class FakeShape : std::uint8_t { kStride, kFramed };
inline constexpr std::size_t kFakeTagSize = 8;
inline constexpr std::uint8_t kFakeKey = 0x5A;

inline ByteArray<kFakeTagSize> fake_tag(FakeShape shape, std::uint64_t index, bool last,
                                        ByteSpan data) {
  // Frames carry neither place nor end, as in the real chunk stream.
  std::uint64_t sum = shape == FakeShape::kStride ? index * 2 + (last ? 1 : 0) + 99 : 99;
  const std::byte* at = data.data();  // by words: these tests move many megabytes under sanitizers
  std::size_t left = data.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    sum = (sum ^ word) * 0x100000001B3ULL;
  }
  for (; left > 0; ++at, --left)
    sum = (sum ^ std::to_integer<std::uint64_t>(*at)) * 0x100000001B3ULL;
  ByteArray<kFakeTagSize> tag{};
  std::memcpy(tag.data(), &sum, sizeof sum);
  return tag;
}

inline void fake_xor(ByteSpan in, std::byte* out) {
  const std::byte* from = in.data();
  std::size_t left = in.size();
  for (; left >= 8; from += 8, out += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, 8);
    word ^= kFakeKey * 0x0101010101010101ULL;
    std::memcpy(out, &word, 8);
  }
  for (; left > 0; ++from, ++out, --left) *out = *from ^ std::byte{kFakeKey};
}

class FakeSealer final : public seal::StreamSealer {
 public:
  FakeSealer(FakeShape shape, std::size_t chunk_size) : shape_(shape), chunk_size_(chunk_size) {}
  class FakeWorker final : public Worker {
   public:
    explicit FakeWorker(FakeShape shape) : shape_(shape) {}
    void seal(std::uint64_t index, bool last, ByteSpan plaintext, MutableByteSpan out) override {
      std::size_t at = 0;
      if (shape_ == FakeShape::kFramed) {
        const auto size = static_cast<std::uint32_t>(plaintext.size() + kFakeTagSize);
        std::memcpy(out.data(), &size, 4);
        at = 4;
      }
      fake_xor(plaintext, out.data() + at);
      at += plaintext.size();
      const auto tag = fake_tag(shape_, index, last, plaintext);
      std::memcpy(&out[at], tag.data(), tag.size());
    }

   private:
    FakeShape shape_;
  };
  std::unique_ptr<Worker> make_worker() const override {
    return std::make_unique<FakeWorker>(shape_);
  }
  ByteSpan header() const override {
    return shape_ == FakeShape::kStride ? as_bytes("HEAD") : ByteSpan();
  }
  ByteSpan trailer() const override {
    static constexpr ByteArray<4> kEnd{};
    return shape_ == FakeShape::kStride ? ByteSpan() : ByteSpan(kEnd);
  }
  std::size_t chunk_size() const override { return chunk_size_; }
  std::size_t chunk_overhead() const override {
    return kFakeTagSize + (shape_ == FakeShape::kFramed ? 4 : 0);
  }
  bool seals_empty() const override { return shape_ == FakeShape::kStride; }

 private:
  FakeShape shape_;
  std::size_t chunk_size_;
};

class FakeOpener final : public seal::StreamOpener {
 public:
  FakeOpener(FakeShape shape, std::size_t chunk_size) : shape_(shape), chunk_size_(chunk_size) {}
  class FakeWorker final : public Worker {
   public:
    explicit FakeWorker(FakeShape shape) : shape_(shape) {}
    Result<void, seal::SealError> open(std::uint64_t index, const seal::SealedChunk& chunk,
                                       ByteSpan sealed, MutableByteSpan out) override {
      const std::size_t start = shape_ == FakeShape::kFramed ? 4 : 0;
      fake_xor(sealed.subspan(start, out.size()), out.data());
      const auto tag = fake_tag(shape_, index, chunk.last, out);
      if (std::memcmp(tag.data(), &sealed[start + out.size()], tag.size()) == 0) return success();
      std::ranges::fill(out, std::byte{0});
      return seal::SealError::kNotAuthentic;
    }

   private:
    FakeShape shape_;
  };
  std::unique_ptr<Worker> make_worker() const override {
    return std::make_unique<FakeWorker>(shape_);
  }
  std::size_t max_sealed_size() const override {
    return chunk_size_ + kFakeTagSize + (shape_ == FakeShape::kFramed ? 4 : 0);
  }
  std::size_t max_plaintext_size() const override { return chunk_size_; }

  Result<Step, seal::SealError> next(ByteSpan rest, bool at_end) override {
    return shape_ == FakeShape::kStride ? next_stride(rest, at_end) : next_frame(rest, at_end);
  }

 private:
  Result<Step, seal::SealError> next_stride(ByteSpan rest, bool at_end) {
    if (ended_) return Step(seal::StreamEnd{0});
    const std::size_t full = chunk_size_ + kFakeTagSize;
    if (rest.size() > full) return Step(seal::SealedChunk{full, chunk_size_, false});
    if (!at_end) return Step(seal::BytesNeeded{full + 1});
    if (rest.size() < kFakeTagSize) return seal::SealError::kTruncated;
    ended_ = true;
    return Step(seal::SealedChunk{rest.size(), rest.size() - kFakeTagSize, true});
  }
  Result<Step, seal::SealError> next_frame(ByteSpan rest, bool at_end) const {
    if (rest.size() < 4) {
      if (at_end) return seal::SealError::kTruncated;
      return Step(seal::BytesNeeded{4});
    }
    std::uint32_t size = 0;
    std::memcpy(&size, rest.data(), 4);
    if (size == 0) return Step(seal::StreamEnd{4});
    if (size < kFakeTagSize) return seal::SealError::kFrameTooSmall;
    if (size > chunk_size_ + kFakeTagSize) return seal::SealError::kFrameTooLarge;
    if (rest.size() < 4 + size) {
      if (at_end) return seal::SealError::kTruncated;
      return Step(seal::BytesNeeded{4 + size});
    }
    return Step(seal::SealedChunk{4 + size, size - kFakeTagSize, false});
  }
  FakeShape shape_;
  std::size_t chunk_size_;
  bool ended_ = false;
};

}  // namespace sealane::testing
