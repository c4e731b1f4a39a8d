#include "session/reframer.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::session {
namespace {

// A quiet connection costs this much; a busy one as much as its packets need, up to the limit.
constexpr std::size_t kFirstBuffer = 4 * 1024;

}  // namespace

Reframer::Reframer(std::size_t max_packet_size, PeekLength peek,
                   std::function<std::size_t()> max_unopened)
    : max_packet_size_(max_packet_size),
      peek_(std::move(peek)),
      max_unopened_(std::move(max_unopened)) {
  SEALANE_CHECK(max_packet_size >= kPacketHeaderSize && max_packet_size <= kMaxPacketSize);
}

void Reframer::drop_given() {
  if (!given_) return;
  given_ = false;
  const std::size_t size = *size_;
  size_.reset();
  if (at_ == 0) {
    begin_ += size;
    return;
  }
  // It lay behind bytes that did not open; they close up, and may open now.
  std::memmove(buffer_.data() + begin_ + size, buffer_.data() + begin_, at_);
  begin_ += size;
  at_ = 0;
}

MutableByteSpan Reframer::room() {
  drop_given();
  if (begin_ == end_) begin_ = end_ = 0;
  // Room for the rest of the packet under way, or at least for a good read.
  const std::size_t wanted =
      size_ ? std::max(at_ + *size_, buffered() + 1) : buffered() + kFirstBuffer;
  if (buffer_.size() - begin_ < wanted) {
    if (begin_ != 0) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
      end_ -= begin_;
      begin_ = 0;
    }
    if (buffer_.size() < wanted) buffer_.resize(std::max(wanted, 2 * buffer_.size()));
  }
  return MutableByteSpan(buffer_).subspan(end_);
}

void Reframer::received(std::size_t count) {
  SEALANE_CHECK(count <= buffer_.size() - end_);
  end_ += count;
}

void Reframer::feed(ByteSpan bytes) {
  while (!bytes.empty()) {
    const MutableByteSpan space = room();
    const std::size_t count = std::min(space.size(), bytes.size());
    copy_bytes(bytes.first(count), space.begin());
    received(count);
    bytes = bytes.subspan(count);
  }
}

Result<std::optional<MutableByteSpan>, ReframeError> Reframer::next() {
  drop_given();
  if (failed_) return *failed_;
  while (!size_) {
    if (buffered() - at_ < kPacketHeaderSize) return std::nullopt;
    const auto length = peek_(std::span<const std::byte, kPacketHeaderSize>(
        buffer_.data() + begin_ + at_, kPacketHeaderSize));
    if (length) {
      if (*length > max_packet_size_ - kPacketHeaderSize) {
        failed_ = ReframeError::kTooLarge;
        return *failed_;
      }
      size_ = kPacketHeaderSize + *length;
    } else if (++at_ > (max_unopened_ ? max_unopened_() : kMaxUnopened)) {
      failed_ = ReframeError::kOutOfStep;
      return *failed_;
    }
  }
  if (buffered() - at_ < *size_) return std::nullopt;
  given_ = true;
  return std::optional(MutableByteSpan(buffer_).subspan(begin_ + at_, *size_));
}

}  // namespace sealane::session
