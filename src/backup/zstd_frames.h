#pragma once
// FrameScanner: finds where the frames of a zstd stream (RFC 8878) begin and end, without
// decompressing them, so that independent frames can be decompressed in parallel.
#include <cstdint>
#include <optional>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::backup {

enum class FrameError : std::uint8_t {
  kNotZstd = 1,  // the magic number is missing
  kMalformed,    // reserved bits, a reserved block type, a block above 128 KiB
};

// Takes the stream in any cut. Not thread-safe. Errors are final. It checks the framing only: the
// decompressor checks the rest.
class FrameScanner {
 public:
  enum class Kind : std::uint8_t { kFrame, kSkippable };
  struct Piece {
    std::size_t size = 0;  // bytes from the front of the input, all of one frame; > 0
    Kind kind = Kind::kFrame;
    bool starts = false;  // its first byte is the frame's first
    bool ends = false;    // its last byte is the frame's last
  };
  // The piece at the front of `in`: up to the frame's end or all of it. Call again with what
  // follows those bytes. REQUIRES: `in` is not empty.
  Result<Piece, FrameError> next(ByteSpan in);
  // Between two frames, so the stream may end here.
  bool at_boundary() const { return state_ == State::kMagic && have_ == 0; }
  // The decompressed size that the frame at hand declares. Known when its first piece ended it or
  // was at least kMaxHeaderSize bytes.
  std::optional<std::uint64_t> content_size() const { return content_size_; }
  static constexpr std::size_t kMaxHeaderSize = 18;
  static constexpr std::uint32_t kMaxBlockSize = 128 * 1024;

 private:
  enum class State : std::uint8_t {
    kMagic,
    kDescriptor,
    kRestOfHeader,
    kBlockHeader,
    kBody,
    kLastBody,
    kSkippableSize,
    kSkippableBody,
    kChecksum,
  };
  static std::size_t field_size(State state, std::uint8_t descriptor);
  Result<void, FrameError> field_done();  // the field of state_ is whole in field_
  void expect(State state);

  State state_ = State::kMagic;
  Kind kind_ = Kind::kFrame;
  std::uint8_t descriptor_ = 0;
  ByteArray<14> field_{};
  std::size_t have_ = 0;    // bytes of the field at hand
  std::uint64_t body_ = 0;  // bytes left of a body
  bool ended_ = false;
  std::optional<std::uint64_t> content_size_;
};

}  // namespace sealane::backup
