#include "net/resolve.h"

#include <netdb.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sealane::net {
namespace {

constexpr std::size_t kMaxHost = 253;      // of a name in the DNS
constexpr std::size_t kMaxAddresses = 16;  // of one name that are tried

struct HostAndPort {
  SocketKind kind = SocketKind::kTcp;
  std::string host;
  std::string port;
};

bool is_host_byte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_';
}

std::optional<HostAndPort> split(std::string_view text) {
  HostAndPort out;
  if (text.starts_with("udp:")) {
    out.kind = SocketKind::kUdp;
  } else if (!text.starts_with("tcp:")) {
    return std::nullopt;
  }
  text.remove_prefix(4);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  out.host = text.substr(0, colon);
  out.port = text.substr(colon + 1);
  std::uint16_t port = 0;
  const char* const end = out.port.data() + out.port.size();
  const auto [parsed, error] = std::from_chars(out.port.data(), end, port);
  if (error != std::errc() || parsed != end) return std::nullopt;
  if (out.host.starts_with('[') && out.host.ends_with(']')) {
    out.host = out.host.substr(1, out.host.size() - 2);
    // Without a scope parse_endpoint() would have taken it.
    if (out.host.find('%') == std::string::npos) return std::nullopt;
    return out;
  }
  // What has no letter was meant as a number, and is a wrong one.
  const bool a_name = std::ranges::any_of(
      out.host, [](char byte) { return is_host_byte(byte | 0x20) && (byte | 0x20) >= 'a'; });
  if (!a_name || out.host.size() > kMaxHost || out.host.front() == '-' ||
      !std::ranges::all_of(out.host, is_host_byte)) {
    return std::nullopt;
  }
  return out;
}

}  // namespace

Error no_address(const Address& address) {
  return {ErrorKind::kUsage, printable(address.text) +
                                 " is no address; write tcp:HOST:PORT, udp:HOST:PORT, unix:PATH or "
                                 "seqpacket:PATH, HOST as a name or a number, of IPv6 in brackets"};
}

bool is_address(const Address& address) {
  return parse_endpoint(address).has_value() || split(address.text).has_value();
}

Result<std::vector<Endpoint>, Error> resolve(const Address& address) {
  if (const auto endpoint = parse_endpoint(address)) return std::vector<Endpoint>{*endpoint};
  const auto wanted = split(address.text);
  if (!wanted) return no_address(address);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = wanted->kind == SocketKind::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(wanted->host.c_str(), wanted->port.c_str(), &hints, &found);
  if (code != 0) {
    const bool later = code == EAI_AGAIN;
    return Error{ErrorKind::kFailed,
                 later ? "the name " + printable(wanted->host) +
                             " cannot be looked up now; check the network, or give the address as "
                             "a number"
                       : "no machine is known by the name " + printable(wanted->host) +
                             "; check its spelling, or give the address as a number"};
  }
  std::vector<Endpoint> out;
  for (const addrinfo* one = found; one != nullptr && out.size() < kMaxAddresses;
       one = one->ai_next) {
    if (one->ai_addrlen > sizeof(sockaddr_storage)) continue;
    Endpoint endpoint{wanted->kind, {}};
    std::memcpy(&endpoint.address.storage, one->ai_addr, one->ai_addrlen);
    endpoint.address.size = one->ai_addrlen;
    out.push_back(endpoint);
  }
  ::freeaddrinfo(found);
  if (out.empty()) return no_address(address);
  return out;
}

}  // namespace sealane::net
