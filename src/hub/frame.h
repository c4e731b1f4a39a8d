#pragma once
// Frames: the unit of a Backbone connection. Format: docs/protocol/hub.md, "Frame".
//
//   offset  size  field
//        0     2  size     of the payload, 0 .. 65535, big-endian; does not count itself
//        2  size  payload
#include <cstdint>
#include <optional>

#include "sealane/base/bytes.h"

namespace sealane::hub {

inline constexpr std::size_t kFrameHeaderSize = 2;
inline constexpr std::size_t kMaxPayloadSize = 65535;

// REQUIRES: payload.size() <= kMaxPayloadSize.
Bytes encode_frame(ByteSpan payload);

// Cuts a byte stream into frames; any cut of the stream gives the same payloads. Holds at most one
// frame, and nothing between frames, so an idle connection costs nothing. Not thread-safe.
class FrameSplitter {
 public:
  // Takes bytes up to the end of one frame, and says how many. What it did not take belongs to the
  // next one: offer it again after next().
  std::size_t feed(ByteSpan received);
  // The payload of a whole frame (empty for a zero frame), once; then it is ready for the next.
  std::optional<Bytes> next();
  // Of the frame under way, once its first two bytes are in.
  std::optional<std::size_t> payload_size() const;
  // Stands inside a frame: an end of the stream here is truncation.
  bool inside() const { return header_count_ > 0; }

 private:
  ByteArray<kFrameHeaderSize> header_{};
  std::size_t header_count_ = 0;
  Bytes payload_;
};

}  // namespace sealane::hub
