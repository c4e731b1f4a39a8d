#pragma once
// What the engine does with a codec, in one thread: for tests of the codecs alone.
#include <deque>
#include <memory>

#include "seal/stream_codec.h"
#include "sealane/base/seams.h"

namespace sealane::testing {

// P[i] = (i*31 + 7) mod 251 for i = start, start + 1, …: the plaintext of all vectors.
inline Bytes pattern(std::size_t start, std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) {
    out[i] = static_cast<std::byte>(((start + i) % 251 * 31 + 7) % 251);
  }
  return out;
}

// Gives what it was told, byte by byte, then a fixed noise.
class ScriptedRandom final : public RandomSource {
 public:
  explicit ScriptedRandom(Bytes script = {}) : script_(std::move(script)) {}
  void fill(MutableByteSpan out) override {
    for (std::byte& b : out) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      b = position_ < script_.size() ? script_[position_] : static_cast<std::byte>(state_ >> 56);
      ++position_;
    }
  }

 private:
  Bytes script_;
  std::size_t position_ = 0;
  std::uint64_t state_ = 1;
};

inline Bytes seal_all(const seal::StreamSealer& sealer, ByteSpan plaintext) {
  Bytes out = to_bytes(sealer.header());
  const auto worker = sealer.make_worker();
  std::uint64_t index = 0;
  while (!plaintext.empty() || (index == 0 && sealer.seals_empty())) {
    const ByteSpan chunk = plaintext.first(std::min(plaintext.size(), sealer.chunk_size()));
    plaintext = plaintext.subspan(chunk.size());
    const std::size_t at = out.size();
    out.resize(at + chunk.size() + sealer.chunk_overhead());
    worker->seal(index++, plaintext.empty(), chunk, MutableByteSpan(out).subspan(at));
  }
  out.insert(out.end(), sealer.trailer().begin(), sealer.trailer().end());
  return out;
}

struct Opened {
  Bytes plaintext;           // released before the end or the error
  std::size_t consumed = 0;  // sealed bytes up to the end marker
  std::optional<seal::SealError> error;
};
// Offers `read_size` bytes more whenever the opener asks. Trailing data is left unread.
inline Opened open_all(seal::StreamOpener& opener, ByteSpan sealed, std::size_t read_size) {
  Opened result;
  const auto worker = opener.make_worker();
  std::size_t offered = 0;
  for (std::uint64_t index = 0;;) {
    const auto step = opener.next(sealed.subspan(result.consumed, offered - result.consumed),
                                  offered == sealed.size());
    if (!step.has_value()) {
      result.error = step.error();
      return result;
    }
    if (const auto* needed = std::get_if<seal::BytesNeeded>(&step.value())) {
      // Progress is only owed when the opener asks for more than it has seen.
      if (static_cast<std::size_t>(*needed) <= offered - result.consumed) std::abort();
      offered = std::min(sealed.size(), offered + read_size);
    } else if (const auto* end = std::get_if<seal::StreamEnd>(&step.value())) {
      result.consumed += end->size;
      return result;
    } else {
      const auto& chunk = std::get<seal::SealedChunk>(step.value());
      if (chunk.size > opener.max_sealed_size()) std::abort();
      if (chunk.plaintext_size > opener.max_plaintext_size()) std::abort();
      Bytes out(chunk.plaintext_size);
      const auto opened =
          worker->open(index++, chunk, sealed.subspan(result.consumed, chunk.size), out);
      if (!opened.has_value()) {
        if (std::ranges::any_of(out, [](std::byte b) { return b != std::byte{0}; })) std::abort();
        result.error = opened.error();
        return result;
      }
      result.consumed += chunk.size;
      result.plaintext.insert(result.plaintext.end(), out.begin(), out.end());
    }
  }
}

}  // namespace sealane::testing
