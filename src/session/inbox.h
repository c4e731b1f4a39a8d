#pragma once
// Inbox: opened packets whose messages wait to be taken. They are parsed when they are taken.
#include <optional>
#include <vector>

#include "base/byte_reader.h"
#include "session/messages.h"
#include "session/packet.h"
#include "session/ring_queue.h"

namespace sealane::session {

// The message at the front of `rest`, which then begins behind it. False: `rest` is empty or cut,
// and nothing is changed. (Not an optional: g++ 12 would pass each message through memory twice.)
inline bool take_message(ByteSpan& rest, Message& message) {
  if (rest.size() < kMessageHeaderSize) return false;
  const auto header = load<std::uint64_t>(rest, Endian::kLittle);
  const auto size = static_cast<std::size_t>(header >> 32);
  if (rest.size() - kMessageHeaderSize < size) return false;
  message.type = MessageType{static_cast<std::uint32_t>(header)};
  message.flags = std::to_integer<std::uint8_t>(rest[8]);
  message.payload = rest.subspan(kMessageHeaderSize, size);
  rest = rest.subspan(kMessageHeaderSize + size);
  return true;
}
inline std::optional<Message> take_message(ByteSpan& rest) {
  Message message;
  if (!take_message(rest, message)) return std::nullopt;
  return message;
}

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
  // The same, but only a message of a lent packet that nothing waits before, and only where
  // `wanted` says so of it. False: see take().
  template <class Wanted>
  bool take_lent_if(const Wanted& wanted, Message& message) {
    if (!queue_.empty()) return false;
    ByteSpan rest = lent_;
    if (!take_message(rest, message) || !wanted(message)) return false;
    lent_ = rest;
    return true;
  }

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

}  // namespace sealane::session
