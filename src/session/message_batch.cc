#include "session/message_batch.h"

#include <utility>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::session {

MessageBatch::MessageBatch(std::size_t packet_size)
    : storage_(std::make_unique_for_overwrite<std::byte[]>(packet_size)), capacity_(packet_size) {
  SEALANE_CHECK(packet_size >= kPacketHeaderSize && packet_size <= kMaxPacketSize);
  reset(packet_size);
}

MessageBatch::MessageBatch(MessageBatch&& other) noexcept { *this = std::move(other); }

MessageBatch& MessageBatch::operator=(MessageBatch&& other) noexcept {
  storage_ = std::move(other.storage_);
  capacity_ = std::exchange(other.capacity_, 0);
  limit_ = std::exchange(other.limit_, 0);
  size_ = std::exchange(other.size_, 0);
  message_count_ = std::exchange(other.message_count_, 0);
  payload_bytes_ = std::exchange(other.payload_bytes_, 0);
  return *this;
}

void MessageBatch::append_fragment(MessageType type, const FragmentHeader& header, ByteSpan piece) {
  const std::size_t size = FragmentHeader::kEncodedSize + piece.size();
  SEALANE_CHECK(empty() && size_ + kMessageHeaderSize + size <= limit_);
  const MutableByteSpan room(storage_.get() + size_, limit_ - size_);
  const MutableByteSpan payload = room.subspan(kMessageHeaderSize, size);
  encode(header, payload.first<FragmentHeader::kEncodedSize>());
  copy_bytes(piece, payload.subspan(FragmentHeader::kEncodedSize).begin());
  size_ += write_message(room, type, kConfidential | kFragmented, payload);
  message_count_ = 1;
  payload_bytes_ = piece.size();
}

void MessageBatch::reset(std::size_t limit) {
  SEALANE_CHECK(limit >= kPacketHeaderSize && limit <= capacity_);
  limit_ = limit;
  size_ = kPacketHeaderSize;
  message_count_ = 0;
  payload_bytes_ = 0;
}

}  // namespace sealane::session
