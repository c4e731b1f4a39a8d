#pragma once
// Reframer: cuts a byte stream into packets by their headers, since a stream keeps no boundaries.
// Format: docs/protocol/session.md, "Streams".
#include <cstdint>
#include <functional>
#include <optional>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "session/packet.h"

namespace sealane::session {

enum class ReframeError : std::uint8_t {
  kTooLarge = 1,  // a genuine header announces a packet above the limit
  kOutOfStep,     // no header opens in so many bytes: there is no way back into step
};

// A header tells a packet's size only to somebody with the key. A peer may begin to use a new key
// before the message that carries it: then the bytes that do not open yet are kept, the next header
// that opens is looked for behind them, and they are tried again after each packet that is found
// so. Not thread-safe: one per connection. Errors are final.
class Reframer {
 public:
  // What is kept and searched while nothing opens; each of these bytes costs a try of all keys.
  static constexpr std::size_t kMaxUnopened = 256 * 1024;
  // The same before the peer has signed anything: then nothing can be ahead of its key, and a
  // stranger must not keep us busy. Some twenty requests under another pre-shared key.
  static constexpr std::size_t kMaxUnopenedByStranger = 4 * 1024;
  // The same while it has signed, which may be a recording, and not proven itself.
  static constexpr std::size_t kMaxUnopenedUnproven = 64 * 1024;
  // The size of the messages behind a header, if any key opens it.
  using PeekLength =
      std::function<std::optional<std::uint32_t>(std::span<const std::byte, kPacketHeaderSize>)>;

  // REQUIRES: kPacketHeaderSize <= max_packet_size <= kMaxPacketSize. `max_unopened`: one of the
  // three above, as things are; empty: kMaxUnopened.
  Reframer(std::size_t max_packet_size, PeekLength peek,
           std::function<std::size_t()> max_unopened = {});

  // Space for the next bytes of the stream, at least 1; then say how many came. Both end the life
  // of the packet that next() gave.
  MutableByteSpan room();
  void received(std::size_t count);
  void feed(ByteSpan bytes);  // both, with a copy

  // The next whole packet, in place, writable, valid until the next call of any method; or nothing:
  // more bytes are needed. Any cut of a stream gives the same packets.
  Result<std::optional<MutableByteSpan>, ReframeError> next();

  std::size_t buffered() const { return end_ - begin_; }

 private:
  void drop_given();

  std::size_t max_packet_size_;
  PeekLength peek_;
  std::function<std::size_t()> max_unopened_;
  Bytes buffer_;  // [begin_, end_) is in use
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t at_ = 0;               // from begin_: no header opens before it
  std::optional<std::size_t> size_;  // of the packet at at_, once its header is open
  bool given_ = false;               // next() has given that packet
  std::optional<ReframeError> failed_;
};

}  // namespace sealane::session
