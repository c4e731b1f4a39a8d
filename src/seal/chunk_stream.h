#pragma once
// Backupy chunk stream v1: AES-256-GCM frames without order protection. Only for Backupy peers.
// docs/protocol/chunk-stream.md.
//
//   object := frame* eof       frame := u32be n, nonce[12], ciphertext[n-28], tag[16]
//   eof    := u32be 0          28 <= n <= 1048604; n does not count itself
#include <memory>

#include "seal/stream_codec.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"

namespace sealane::seal {

using DataKey = Secret<struct DataKeyTag, 32>;
inline constexpr std::size_t kChunkStreamFrameSize = 1024 * 1024;  // plaintext
inline constexpr std::uint32_t kChunkStreamMinLength = 28;         // of the length field
inline constexpr std::uint32_t kChunkStreamMaxLength = 1024 * 1024 + 28;

// `random` gives 12 bytes per frame from the worker's thread; it must outlive the sealer.
std::unique_ptr<StreamSealer> make_chunk_stream_sealer(const DataKey& key, RandomSource& random);

enum class ChunkStreamMode : std::uint8_t {
  kCompatible,  // as the original reader: short and empty frames pass
  kStrict,      // every frame but the last is full, none is empty: kNoncanonical
};
// What follows the end marker is the caller's to judge (trailing data).
std::unique_ptr<StreamOpener> make_chunk_stream_opener(const DataKey& key, ChunkStreamMode mode);

}  // namespace sealane::seal
