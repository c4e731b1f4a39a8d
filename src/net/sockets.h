#pragma once
// Sockets of this machine by their addresses: tcp:HOST:PORT, udp:HOST:PORT, unix:PATH,
// seqpacket:PATH. All are close-on-exec and non-blocking.
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

#include "flow/descriptor.h"
#include "sealane/base/network.h"

namespace sealane::net {

enum class SocketKind : std::uint8_t { kTcp = 1, kUdp, kUnixStream, kSeqpacket };

// An address as the kernel takes it; usable as a key.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const;
  sockaddr* get();
  friend bool operator==(const SocketAddress& a, const SocketAddress& b);
};
struct SocketAddressHash {
  std::size_t operator()(const SocketAddress& address) const;
};

struct Endpoint {
  SocketKind kind = SocketKind::kTcp;
  SocketAddress address;
};
// Names are not looked up: HOST is an IPv4 address, or an IPv6 address in brackets, or localhost.
// Nothing: not such an address.
std::optional<Endpoint> parse_endpoint(const Address& address);
Address format_endpoint(SocketKind kind, const SocketAddress& address);

NetworkError network_error(int code, std::string what);
// A failed address of a person, as a sentence.
Error to_error(const NetworkError& error, const Address& address);

// For tcp and unix the connection may still be under way: wait until it is writable, then ask
// connect_outcome(). `from`: the address of this side.
NetworkResult<flow::OwnedDescriptor> start_connect(const Endpoint& to,
                                                   const std::optional<Endpoint>& from = {});
NetworkResult<void> connect_outcome(int descriptor);
// A stale socket file that nobody listens on is replaced.
NetworkResult<flow::OwnedDescriptor> start_listen(const Endpoint& at);
NetworkResult<flow::OwnedDescriptor> accept_one(int listener, std::optional<SocketAddress>& from);
SocketAddress local_address(int descriptor);

// Don't-fragment for both families (probing sizes is allowed), receive coalescing, larger buffers.
void tune_udp(int descriptor);
void set_receive_coalescing(int udp_descriptor, bool on);  // on by tune_udp()
void tune_stream(int descriptor, SocketKind kind);         // TCP_NODELAY

}  // namespace sealane::net
