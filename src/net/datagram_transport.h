#pragma once
// Packets over sockets that keep boundaries: UNIX SEQPACKET and UDP. Bursts go out in one system
// call, with segmentation by the kernel where it has that.
#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <span>

#include "flow/descriptor.h"
#include "net/packet_transport.h"
#include "net/sockets.h"

namespace sealane::net {

// The kernel's calls for datagrams, none of which waits; tests answer in its place. Results and
// errno are those of sendmsg, sendmmsg and recvmmsg. Thread-safe.
class DatagramCalls {
 public:
  virtual ~DatagramCalls() = default;
  virtual ssize_t send(int descriptor, const msghdr& message) = 0;
  virtual int send_many(int descriptor, std::span<mmsghdr> messages) = 0;
  virtual int receive_many(int descriptor, std::span<mmsghdr> messages) = 0;

  // Whether it has refused to cut bursts into datagrams for us; then each is sent as one.
  bool segmentation_refused() const {
    return segmentation_refused_.load(std::memory_order_relaxed);
  }
  void refuse_segmentation() { segmentation_refused_.store(true, std::memory_order_relaxed); }

 private:
  std::atomic<bool> segmentation_refused_{false};
};
DatagramCalls& kernel_datagram_calls();

// Buffers for receiving in bursts; one for all sockets of a loop, since each burst is handed over
// before the next begins. Pages that no packet touched take no memory.
class ReceiveArena {
 public:
  static constexpr std::size_t kSlots = 8;
  static constexpr std::size_t kSlotSize = 64 * 1024;
  ReceiveArena();
  // Room for one packet of any size that is allowed; grows when asked for more than a slot.
  MutableByteSpan slot(std::size_t index) {
    return MutableByteSpan(memory_.get() + index * kSlotSize, kSlotSize);
  }
  MutableByteSpan whole(
      std::size_t size);  // one buffer of that size; slots are gone while it lives

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::size_t size_;
};

// A burst of UDP datagrams of equal size to one place, sent with one call.
class UdpBurst {
 public:
  // `calls` must outlive it.
  explicit UdpBurst(DatagramCalls& calls = kernel_datagram_calls()) : calls_(calls) {}
  // Copies; false: it does not belong to this burst, send that first.
  bool add(ByteSpan packet);
  bool empty() const { return count_ == 0; }
  std::size_t packet_size() const { return segment_; }
  // kTaken: it is empty again. `to` may be null on a connected socket. On kTooBig, kLost and
  // kClosed it is empty too; on kBusy it holds what is still to be sent.
  SendOutcome send(int descriptor, const SocketAddress* to);
  // The last send() met an error that an earlier packet had caused: the path carries less than
  // that.
  bool take_path_error() { return std::exchange(path_error_, false); }

 private:
  // Below the largest UDP payload, and the kernel's limit of segments for one call.
  static constexpr std::size_t kMaxBytes = 60 * 1024;
  static constexpr std::size_t kMaxPackets = 64;
  SendOutcome send_alone(int descriptor, const SocketAddress* to);
  SendOutcome send_segmented(int descriptor, const SocketAddress* to);
  SendOutcome send_apart(int descriptor, const SocketAddress* to);
  DatagramCalls& calls_;
  Bytes bytes_;
  std::size_t segment_ = 0;  // size of all but the last, which may be shorter
  std::size_t count_ = 0;
  bool closed_ = false;  // the last one was shorter
  bool path_error_ = false;
};

// kPathChanged: nothing read; what was sent before is larger than the path carries.
enum class DatagramRead : std::uint8_t { kDrained = 1, kMore, kPathChanged };
// What recvmsg gave, cut where the kernel had put datagrams together; `sink` gets the source too.
using DatagramSink = std::function<void(MutableByteSpan, const SocketAddress&)>;
// An error is one of the socket itself. What the network says of earlier datagrams is none: anybody
// may forge it.
NetworkResult<DatagramRead> receive_udp(int descriptor, ReceiveArena& arena,
                                        const DatagramSink& sink,
                                        DatagramCalls& calls = kernel_datagram_calls());

// One connected socket, which it owns.
class DatagramTransport final : public PacketTransport {
 public:
  // `max_packet`: larger ones are cut by the kernel and then refused by the session. `arena` must
  // outlive it.
  DatagramTransport(flow::OwnedDescriptor descriptor, const Endpoint& peer, std::size_t max_packet,
                    ReceiveArena& arena);
  NetworkResult<bool> receive(const Sink& sink) override;
  SendOutcome send(ByteSpan packet) override;
  SendOutcome flush() override;
  int read_descriptor() const override { return descriptor_.get(); }
  int write_descriptor() const override { return descriptor_.get(); }
  bool lossy() const override { return kind_ == SocketKind::kUdp; }
  Address peer() const override { return peer_; }

 private:
  NetworkResult<bool> receive_packets(const Sink& sink);
  void note_path_size();

  flow::OwnedDescriptor descriptor_;
  SocketKind kind_;
  SocketAddress address_;
  Address peer_;
  std::size_t max_packet_;
  bool reset_ = false;  // seen, of packets
  ReceiveArena& arena_;
  UdpBurst burst_;
};

}  // namespace sealane::net
