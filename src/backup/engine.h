#pragma once
// The engine: one ordered parallel road for every sealed stream.
//   seal:  read → [zstd, one frame per 4 MiB block] → chunks → [SHA-256] → write
//   open:  read → [SHA-256] → chunks → [unzstd] → write
// Memory is a fixed pool of blocks, whatever the size. The first error in the order of the stream
// wins and stops all stages; all that comes before it was written. Where both ends are regular
// files (positional()) and nothing must be seen in order, blocks are read and written in parallel
// too.
#include <memory>
#include <string>

#include "flow/ordered_stage.h"
#include "flow/stream.h"
#include "seal/stream_codec.h"
#include "sealane/base/result.h"

namespace sealane::backup {

inline constexpr std::size_t kBlockSize = 4 * 1024 * 1024;

struct EngineOptions {
  unsigned threads = 0;  // CPU stages; 0: one per core
  // Who gets the cores: the lanes as anybody, or the program at the stream's other end first.
  flow::Precedence precedence = flow::Precedence::kEqual;
  flow::Cancellation* cancel = nullptr;
  flow::FlowCounters* counters = nullptr;
};

// Of sealed bytes the hash is SHA-256, as commits and stock tools have it; of plain ones it is
// BLAKE3, which costs a third of it and is compared by nobody but us.
struct StreamDigest {
  std::uint64_t size = 0;
  ByteArray<32> hash{};
};

struct SealJob {
  bool compress = false;  // zstd, independent frames of kBlockSize; empty input: one empty frame
  int compression_level = 3;
  bool hash_plain = false;   // BLAKE3 of the input
  bool hash_sealed = false;  // SHA-256 of the output
};
struct SealReport {
  StreamDigest plain;   // size always, hash if asked
  StreamDigest sealed;  // the same
  std::uint64_t packed_size = 0;
};
// Reads to the end, writes all. On any error the sink has received a prefix that no reader accepts.
Result<SealReport, Error> seal_stream(const seal::StreamSealer& sealer, flow::ByteSource& in,
                                      flow::ByteSink& out, const SealJob& job,
                                      const EngineOptions& options);

struct OpenJob {
  std::string name = "the input";  // for messages
  ByteSpan header = {};  // read already, in front of `first`: part of what is hashed and counted
  bool key_unproven = false;  // no header has shown the key to be right: a first chunk that does
                              // not open is reported as a wrong key
  bool decompress = false;    // zstd; skippable and concatenated frames are fine, window ≤ 2^27;
                              // no bytes at all are an empty stream
  bool hash_sealed = false;   // SHA-256 of the bytes up to and including the end marker
  bool hash_plain = false;
  bool refuse_trailing = true;  // bytes after the end: kTrailingData; else counted and left unread
  std::uint64_t max_plain_size = UINT64_MAX;  // a decompression bomb ends here
};
struct OpenReport {
  StreamDigest plain;
  StreamDigest sealed;
  bool trailing_data = false;
};
// Only verified plaintext reaches `out`, in order. `first`: bytes already read behind the header.
Result<OpenReport, Error> open_stream(seal::StreamOpener& opener, ByteSpan first,
                                      flow::ByteSource& in, flow::ByteSink& out, const OpenJob& job,
                                      const EngineOptions& options);

// "cannot open NAME: …" with the kind that fits (wrong key 12, damage 30, limits 30).
Error seal_failure(seal::SealError error, std::string_view name);

}  // namespace sealane::backup
