#pragma once
// MessageBatch: messages of one packet, written where they will be sealed.
#include <cstddef>
#include <cstdint>
#include <memory>

#include "sealane/base/bytes.h"
#include "session/messages.h"
#include "session/packet.h"

namespace sealane::session {

// A buffer with room for a packet. Appending is a header and a copy. Not thread-safe: producers
// share one under a lock of their own. Move-only; a moved-from batch has no room.
class MessageBatch {
 public:
  MessageBatch() = default;
  // REQUIRES: kPacketHeaderSize <= packet_size <= kMaxPacketSize.
  explicit MessageBatch(std::size_t packet_size);
  MessageBatch(MessageBatch&& other) noexcept;
  MessageBatch& operator=(MessageBatch&& other) noexcept;
  MessageBatch(const MessageBatch&) = delete;
  MessageBatch& operator=(const MessageBatch&) = delete;
  ~MessageBatch() = default;

  // False, and nothing is changed, where the packet would become larger than its limit.
  bool append(MessageType type, ByteSpan payload, std::uint8_t flags = kConfidential) {
    if (limit_ - size_ < kMessageHeaderSize + payload.size() || limit_ < size_) return false;
    size_ += write_message(MutableByteSpan(storage_.get() + size_, limit_ - size_), type, flags,
                           payload);
    ++message_count_;
    payload_bytes_ += payload.size();
    return true;
  }
  // A piece of a larger message: alone in its packet. REQUIRES: empty(), and it fits.
  void append_fragment(MessageType type, const FragmentHeader& header, ByteSpan piece);
  bool empty() const { return message_count_ == 0; }
  std::uint32_t message_count() const { return message_count_; }
  std::size_t payload_bytes() const { return payload_bytes_; }
  // Header room and messages: what is sealed.
  MutableByteSpan packet() { return {storage_.get(), size_}; }
  ByteSpan messages() const {
    return ByteSpan(storage_.get(), size_)
        .subspan(size_ < kPacketHeaderSize ? size_ : kPacketHeaderSize);
  }
  std::size_t packet_size() const { return size_; }
  std::size_t capacity() const { return capacity_; }
  // Empties it; from now on packets of at most `limit` bytes. REQUIRES: limit <= capacity().
  void reset(std::size_t limit);

 private:
  std::unique_ptr<std::byte[]> storage_;
  std::size_t capacity_ = 0;
  std::size_t limit_ = 0;
  std::size_t size_ = 0;
  std::uint32_t message_count_ = 0;
  std::size_t payload_bytes_ = 0;
};

}  // namespace sealane::session
