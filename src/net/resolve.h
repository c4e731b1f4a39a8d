#pragma once
// Addresses as people write them, names of machines included, as the sockets' addresses.
#include <vector>

#include "net/sockets.h"

namespace sealane::net {

// As parse_endpoint(); and HOST may be a name, or a link-local IPv6 address with its scope
// ("[fe80::1%eth0]"): then this machine's resolver is asked, which takes its own time. At least
// one; in the resolver's order. kUsage: no such address; kFailed: the name is not known.
Result<std::vector<Endpoint>, Error> resolve(const Address& address);
// Could be resolved: an address, or a name that is spelled like one.
bool is_address(const Address& address);
Error no_address(const Address& address);

}  // namespace sealane::net
