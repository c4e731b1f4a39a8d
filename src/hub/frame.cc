#include "hub/frame.h"

#include <utility>

#include "base/byte_reader.h"
#include "base/copy_bytes.h"

namespace sealane::hub {

Bytes encode_frame(ByteSpan payload) {
  SEALANE_CHECK(payload.size() <= kMaxPayloadSize);
  Bytes frame(kFrameHeaderSize + payload.size());
  store_integer(frame, static_cast<std::uint16_t>(payload.size()));
  copy_bytes(payload, frame.begin() + kFrameHeaderSize);
  return frame;
}

std::size_t FrameSplitter::feed(ByteSpan received) {
  std::size_t taken = 0;
  while (header_count_ < kFrameHeaderSize && taken < received.size()) {
    header_[header_count_++] = received[taken++];
    if (header_count_ == kFrameHeaderSize) payload_.reserve(*payload_size());
  }
  if (header_count_ < kFrameHeaderSize) return taken;
  const std::size_t size = std::min(*payload_size() - payload_.size(), received.size() - taken);
  const ByteSpan piece = received.subspan(taken, size);
  payload_.insert(payload_.end(), piece.begin(), piece.end());
  return taken + size;
}

std::optional<Bytes> FrameSplitter::next() {
  const auto size = payload_size();
  if (!size || payload_.size() < *size) return std::nullopt;
  header_count_ = 0;
  return std::exchange(payload_, {});
}

std::optional<std::size_t> FrameSplitter::payload_size() const {
  if (header_count_ < kFrameHeaderSize) return std::nullopt;
  return load<std::uint16_t>(header_);
}

}  // namespace sealane::hub
