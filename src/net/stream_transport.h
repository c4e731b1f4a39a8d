#pragma once
// Packets over byte streams: TCP, UNIX stream sockets, pipes, standard input and output. One packet
// is one write; what comes in is cut into packets by their headers.
#include "flow/descriptor.h"
#include "net/packet_transport.h"
#include "session/reframer.h"

namespace sealane::net {

// Two descriptors, or one for both directions; it owns them. Writing to a pipe whose reader went
// away raises SIGPIPE, which the process must ignore; sockets raise none.
class StreamTransport final : public PacketTransport {
 public:
  // `write` may be invalid: then `read` is for both directions.
  StreamTransport(flow::OwnedDescriptor read, flow::OwnedDescriptor write, Address peer,
                  session::Reframer reframer);
  NetworkResult<bool> receive(const Sink& sink) override;
  SendOutcome send(ByteSpan packet) override;
  SendOutcome flush() override;
  int read_descriptor() const override { return read_.get(); }
  int write_descriptor() const override { return write_.valid() ? write_.get() : read_.get(); }
  bool lossy() const override { return false; }
  bool stream() const override { return true; }
  Address peer() const override { return peer_; }
  flow::OwnedDescriptor release() override;

 private:
  // 0: not now.
  NetworkResult<std::size_t> write_some(ByteSpan data);

  flow::OwnedDescriptor read_;
  flow::OwnedDescriptor write_;
  Address peer_;
  session::Reframer reframer_;
  Bytes unsent_;  // the rest of a packet that the kernel took only a part of
  bool is_socket_;
};

}  // namespace sealane::net
