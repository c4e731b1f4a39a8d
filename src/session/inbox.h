#pragma once
// Inbox: opened packets whose messages wait to be taken. They are parsed when they are taken.
#include <optional>
#include <vector>

#include "base/byte_reader.h"
#include "session/messages.h"
#include "session/packet.h"
#include "session/ring_queue.h"

namespace sealane::session {

// Holds at most one packet in the caller's buffer (the newest) and any number in its own.
class Inbox {
 public:
  struct Next {
    Message message;
    SessionId from;
    bool truncated = false;  // no message: the rest of the packet makes no sense
  };

  // The rest of an opened packet. REQUIRES: nothing is lent now.
  void lend(const SessionId& from, ByteSpan messages);
  bool lent() const { return !lent_.empty(); }
  // Copies what is lent into a buffer of its own.
  void keep_lent();
  void drop_lent() { lent_ = {}; }
  void drop_from(const SessionId& from);
  void drop_all();

  bool empty() const { return queue_.empty() && lent_.empty(); }
  // What kept packets take, their book-keeping included: many small ones are large too.
  std::size_t kept_bytes() const { return kept_bytes_; }
  // Whose packet is next. REQUIRES: !empty().
  const SessionId& next_from() const { return queue_.empty() ? lent_from_ : queue_.front().from; }
  // The next message, oldest packet first; its payload is valid until the next call.
  std::optional<Next> take();

  void release_idle();
  bool holds_idle() const { return !free_.empty(); }

 private:
  static constexpr std::size_t kIdleBuffers = 4;
  static constexpr std::size_t kKeptOverhead = 128;  // of one kept packet: its place and its block
  struct Kept {
    Bytes storage;
    std::size_t at = 0;
    std::size_t end = 0;
    SessionId from;
  };
  SessionId lent_from_;
  ByteSpan lent_;
  RingQueue<Kept> queue_;
  std::vector<Bytes> free_;
  Bytes finished_;  // of the packet whose last message was taken last
  std::size_t kept_bytes_ = 0;
};

// The message at the front of `rest`, which then begins behind it. Nothing: `rest` is empty or cut.
inline std::optional<Message> take_message(ByteSpan& rest) {
  if (rest.size() < kMessageHeaderSize) return std::nullopt;
  const std::uint32_t size = load<std::uint32_t>(rest.subspan(4, 4), Endian::kLittle);
  if (rest.size() - kMessageHeaderSize < size) return std::nullopt;
  Message message{MessageType{load<std::uint32_t>(rest.first(4), Endian::kLittle)},
                  std::to_integer<std::uint8_t>(rest[8]), rest.subspan(kMessageHeaderSize, size)};
  rest = rest.subspan(kMessageHeaderSize + size);
  return message;
}

}  // namespace sealane::session
