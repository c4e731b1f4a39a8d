// Chunk stream v1: every cut gives the same verdict; what the strict reader takes is exactly what
// the sealer writes with the same nonces.
#include "../tests/seal/driver.h"
#include "base/check.h"
#include "seal/chunk_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::seal;
  if (size == 0) return 0;
  // The key of the vectors, so that they can be seeds.
  static const Bytes raw =
      *from_hex("cb44a6721cff2e1157614e9cabd54ce47005bc99cded3eab8801409aeb64ee0d");
  const DataKey key(ByteSpan(raw).first<32>());
  const std::size_t step = std::size_t{data[0]} + 1;
  const ByteSpan input = std::as_bytes(std::span(data, size)).subspan(1);
  const auto open = [&](ChunkStreamMode mode, std::size_t read_size) {
    const auto opener = make_chunk_stream_opener(key, mode);
    return testing::open_all(*opener, input, read_size);
  };
  const auto whole = open(ChunkStreamMode::kCompatible, size);
  const auto cut = open(ChunkStreamMode::kCompatible, step);
  SEALANE_CHECK(whole.error == cut.error && whole.plaintext == cut.plaintext);
  SEALANE_CHECK(whole.consumed == cut.consumed);
  const auto strict = open(ChunkStreamMode::kStrict, size);
  SEALANE_CHECK(strict.error.has_value() || !whole.error.has_value());
  if (strict.error) return 0;
  Bytes nonces;
  for (std::size_t at = 0; at + 4 < strict.consumed; at += 32 + kChunkStreamFrameSize) {
    const ByteSpan nonce = input.subspan(at + 4, 12);
    nonces.insert(nonces.end(), nonce.begin(), nonce.end());
  }
  testing::ScriptedRandom random(nonces);
  const auto sealer = make_chunk_stream_sealer(key, random);
  SEALANE_CHECK(std::ranges::equal(testing::seal_all(*sealer, strict.plaintext),
                                   input.first(strict.consumed)));
  return 0;
}
