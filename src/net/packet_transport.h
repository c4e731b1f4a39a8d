#pragma once
// PacketTransport: what a session's packets travel over, seen from the driver: whole packets in and
// out of one peer, without waiting.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "flow/descriptor.h"
#include "sealane/base/bytes.h"
#include "sealane/base/network.h"

namespace sealane::net {

enum class SendOutcome : std::uint8_t {
  kTaken = 1,  // sent, or copied for the next flush()
  kBusy,       // not taken: wait until it is writable, flush(), then offer it again
  kTooBig,     // larger than the path carries; of send(): this packet
  kLost,       // could not be sent; the transport lives on
  kClosed,     // the transport is gone
};

// Not thread-safe: the driver's lock guards it. receive() is called on the loop's thread only.
class PacketTransport {
 public:
  // The driver's part: gets each packet, writable, valid during the call.
  using Sink = std::function<void(MutableByteSpan)>;

  virtual ~PacketTransport() = default;

  // Hands over what has come, a bounded number of packets, and says whether there may be more. An
  // error is final: kClosed, kReset. `keep_going` is asked before each further read.
  virtual NetworkResult<bool> receive(const Sink& sink) = 0;
  virtual SendOutcome send(ByteSpan packet) = 0;
  // Sends what send() has copied. kTaken: nothing is left. Never kTooBig: see below.
  virtual SendOutcome flush() = 0;
  // The size of a packet that was taken and then found to be larger than the path carries.
  std::optional<std::size_t> take_late_too_big() { return std::exchange(late_too_big_, {}); }

  virtual int read_descriptor() const = 0;  // below 0: somebody else reads and calls the driver
  virtual int write_descriptor() const = 0;
  virtual bool lossy() const = 0;                // datagrams may be lost, doubled or reordered
  virtual bool stream() const { return false; }  // packets are found by their headers
  virtual Address peer() const = 0;
  // At the end, where input that is unread when the connection is closed would make the kernel cut
  // the other side off before it has read ours: the descriptor, for somebody to wait for its end.
  virtual flow::OwnedDescriptor release() { return {}; }

 protected:
  std::optional<std::size_t> late_too_big_;
};

}  // namespace sealane::net
