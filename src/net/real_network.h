#pragma once
// The network of this machine behind the seam of sealane/base/network.h.
#include <memory>
#include <optional>

#include "net/io_loop.h"
#include "sealane/base/network.h"

namespace sealane::net {

struct NetworkOptions {
  std::optional<Address> dial_from;  // tcp:HOST:PORT (0: any port) that connections leave from
};

// Addresses as in sockets.h: tcp, unix and seqpacket for connections, udp for datagrams. A read of
// a seqpacket connection gives one packet, a write is one. All calls, those of what it makes and
// their destruction too, belong to the loop's thread, where the callbacks run. `loop` must outlive
// it and everything made by it.
std::unique_ptr<Network> make_network(IoLoop& loop, NetworkOptions options = {});

}  // namespace sealane::net
