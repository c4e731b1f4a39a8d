#include "backup/zstd_frames.h"

#include <algorithm>

#include "base/copy_bytes.h"

namespace sealane::backup {
namespace {

constexpr std::uint32_t kMagic = 0xFD2FB528;
constexpr std::uint32_t kSkippableMagic = 0x184D2A50;  // to …5F

std::uint64_t little_endian(ByteSpan bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

// The frame header descriptor: content size flag (2 bits), single segment, unused, reserved,
// checksum, dictionary id flag (2 bits).
std::size_t content_size_bytes(std::uint8_t descriptor) {
  constexpr std::size_t kSizes[] = {0, 2, 4, 8};
  const bool single_segment = (descriptor & 0x20) != 0;
  const std::size_t size = kSizes[descriptor >> 6];
  return size == 0 && single_segment ? 1 : size;
}
std::size_t window_bytes(std::uint8_t descriptor) { return (descriptor & 0x20) != 0 ? 0 : 1; }
std::size_t dictionary_bytes(std::uint8_t descriptor) {
  constexpr std::size_t kSizes[] = {0, 1, 2, 4};
  return kSizes[descriptor & 3];
}
bool has_checksum(std::uint8_t descriptor) { return (descriptor & 0x04) != 0; }

}  // namespace

std::size_t FrameScanner::field_size(State state, std::uint8_t descriptor) {
  switch (state) {
    case State::kMagic:
    case State::kChecksum:
    case State::kSkippableSize:
      return 4;
    case State::kDescriptor:
      return 1;
    case State::kRestOfHeader:
      return window_bytes(descriptor) + dictionary_bytes(descriptor) +
             content_size_bytes(descriptor);
    case State::kBlockHeader:
      return 3;
    case State::kBody:
    case State::kLastBody:
    case State::kSkippableBody:
      break;
  }
  return 0;
}

void FrameScanner::expect(State state) {
  state_ = state;
  have_ = 0;
  if (state == State::kMagic) ended_ = true;
}

Result<void, FrameError> FrameScanner::field_done() {
  const auto field = ByteSpan(field_).first(field_size(state_, descriptor_));
  switch (state_) {
    case State::kMagic: {
      const auto magic = static_cast<std::uint32_t>(little_endian(field));
      content_size_.reset();
      if (magic == kMagic) {
        kind_ = Kind::kFrame;
        expect(State::kDescriptor);
      } else if ((magic & 0xFFFFFFF0) == kSkippableMagic) {
        kind_ = Kind::kSkippable;
        expect(State::kSkippableSize);
      } else {
        return FrameError::kNotZstd;
      }
      break;
    }
    case State::kDescriptor:
      descriptor_ = std::to_integer<std::uint8_t>(field[0]);
      if ((descriptor_ & 0x08) != 0) return FrameError::kMalformed;
      expect(State::kRestOfHeader);
      break;
    case State::kRestOfHeader: {
      const std::size_t size = content_size_bytes(descriptor_);
      if (size > 0) {
        content_size_ = little_endian(field.last(size));
        if (size == 2) *content_size_ += 256;
      }
      expect(State::kBlockHeader);
      break;
    }
    case State::kBlockHeader: {
      const auto header = static_cast<std::uint32_t>(little_endian(field));
      const bool last = (header & 1) != 0;
      const std::uint32_t type = header >> 1 & 3;
      const std::uint32_t size = header >> 3;
      if (type == 3 || size > kMaxBlockSize) return FrameError::kMalformed;
      body_ = type == 1 ? 1 : size;  // a run-length block stores one byte
      expect(last ? State::kLastBody : State::kBody);
      break;
    }
    case State::kSkippableSize:
      body_ = little_endian(field);
      expect(State::kSkippableBody);
      break;
    case State::kChecksum:
      expect(State::kMagic);
      break;
    case State::kBody:
    case State::kLastBody:
    case State::kSkippableBody:
      break;
  }
  return success();
}

Result<FrameScanner::Piece, FrameError> FrameScanner::next(ByteSpan in) {
  const bool starts = at_boundary();
  std::size_t at = 0;
  ended_ = false;
  // An empty body is passed even when the input has ended: the frame may end with it.
  while (!ended_) {
    if (state_ == State::kBody || state_ == State::kLastBody || state_ == State::kSkippableBody) {
      const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(body_, in.size() - at));
      at += take;
      body_ -= take;
      if (body_ > 0) break;
      if (state_ == State::kBody)
        expect(State::kBlockHeader);
      else if (state_ == State::kLastBody && has_checksum(descriptor_))
        expect(State::kChecksum);
      else
        expect(State::kMagic);
      continue;
    }
    const std::size_t size = field_size(state_, descriptor_);
    const std::size_t take = std::min(size - have_, in.size() - at);
    copy_bytes(in.subspan(at, take), field_.begin() + static_cast<std::ptrdiff_t>(have_));
    at += take;
    have_ += take;
    if (have_ < size) break;
    SEALANE_TRY(field_done());
  }
  return Piece{.size = at, .kind = kind_, .starts = starts, .ends = ended_};
}

}  // namespace sealane::backup
