#pragma once
// Unpacker: zstd back to plain, whole small frames in parallel, all others as one stream. It takes
// the packed stream on one side and runs its own ordered stage on the other; between them is a
// ring.
#include <zstd.h>

#include <functional>
#include <memory>
#include <string>

#include "backup/zstd_frames.h"
#include "crypto/hash.h"
#include "flow/block_pool.h"
#include "flow/halt.h"
#include "flow/ordered_stage.h"
#include "flow/ring.h"
#include "sealane/base/result.h"

namespace sealane::backup {

Error too_large(const std::string& name, std::uint64_t limit);

class Unpacker {
 public:
  // Plain bytes, and the same as a part of the whole hash, if there is one.
  using Sink = std::function<Result<void, Error>(ByteSpan, const crypto::Blake3Part*)>;
  struct Options {
    std::string name;        // for messages
    std::uint64_t max_size;  // of what comes out: a decompression bomb ends here
    std::size_t lanes = 1;
    bool hash_parts = false;  // frames of kBlockSize, as we write them, are hashed in parallel too
  };
  // `sink` is called in the order of the stream, by one thread at a time.
  Unpacker(Options options, flow::Halt& halt, Sink sink);
  ~Unpacker();

  // The side that feeds; one thread at a time. False: there is no use in going on; a failure, if it
  // is one, comes out of run() behind all that was fed before it.
  bool feed(ByteSpan packed);
  void fail(Error error);  // ends the stream with this failure
  void end();              // after the last byte, or after fail(), or after a failure elsewhere

  // The other side: returns when the stream has ended or the halt stopped.
  void run();

 private:
  class UnpackLane;
  struct Item {
    enum class Kind : std::uint8_t { kPiece, kFrame, kFailure } kind = Kind::kPiece;
    flow::BlockPool::Block block;
    std::size_t size = 0;
    bool ends = false;  // a piece that is the last of its frame
    Error failure;
  };
  bool append(ByteSpan part, bool starts, bool ends);
  bool push_block(Item::Kind kind, bool ends);
  Result<void, Error> emit(ByteSpan data, const crypto::Blake3Part* part = nullptr);
  Result<void, Error> stream_piece(ByteSpan packed, bool ends, MutableByteSpan buffer);
  Error damaged(std::size_t zstd_code) const;

  const Options options_;
  flow::Halt& halt_;
  const Sink sink_;
  flow::BlockPool packed_pool_;
  flow::BlockPool plain_pool_;
  flow::Ring<Item> ring_;
  // Of the side that feeds.
  FrameScanner scanner_;
  flow::BlockPool::Block block_;
  std::size_t filled_ = 0;
  bool block_starts_frame_ = false;
  bool ended_ = false;
  // Of the other side, in its order.
  struct FreeDecompressor {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  using Decompressor = std::unique_ptr<ZSTD_DCtx, FreeDecompressor>;
  static Decompressor make_decompressor();
  Decompressor stream_;
  std::uint64_t emitted_ = 0;
};

}  // namespace sealane::backup
