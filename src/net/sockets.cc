#include "net/sockets.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>

namespace sealane::net {
namespace {

constexpr int kBacklog = 128;
// Two full bursts of the largest packets; the kernel caps it at net.core.?mem_max.
constexpr int kSocketBuffer = 1 << 20;

template <class T>
void store(SocketAddress& out, const T& address) {
  std::memcpy(&out.storage, &address, sizeof address);
  out.size = sizeof address;
}

std::optional<SocketAddress> parse_inet(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string host(text.substr(0, colon));
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (host == "localhost") host = "127.0.0.1";
  SocketAddress out;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6.sin6_addr) != 1) {
      return std::nullopt;
    }
    store(out, v6);
    return out;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) return std::nullopt;
  store(out, v4);
  return out;
}

std::optional<SocketAddress> parse_unix(std::string_view path) {
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  if (path.find('\0') != std::string_view::npos) return std::nullopt;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  SocketAddress out;
  store(out, address);
  return out;
}

void set_option(int descriptor, int level, int name, int value) {
  // Each of them makes things better where it is known, and nothing worse where it is not.
  static_cast<void>(::setsockopt(descriptor, level, name, &value, sizeof value));
}

flow::OwnedDescriptor open_socket(const Endpoint& endpoint) {
  int type = SOCK_STREAM;
  if (endpoint.kind == SocketKind::kUdp) type = SOCK_DGRAM;
  if (endpoint.kind == SocketKind::kSeqpacket) type = SOCK_SEQPACKET;
  return flow::OwnedDescriptor(
      ::socket(endpoint.address.storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

void tune(int descriptor, SocketKind kind) {
  if (kind == SocketKind::kUdp) {
    tune_udp(descriptor);
  } else {
    tune_stream(descriptor, kind);
  }
}

bool is_unix(SocketKind kind) {
  return kind == SocketKind::kUnixStream || kind == SocketKind::kSeqpacket;
}

std::string_view path_of(const SocketAddress& address) {
  const auto* local = reinterpret_cast<const sockaddr_un*>(&address.storage);
  if (address.size <= offsetof(sockaddr_un, sun_path)) return {};
  return local->sun_path;
}

// A file that a dead process left, told from a living one by connecting.
bool remove_stale(const Endpoint& at) {
  const flow::OwnedDescriptor probe = open_socket(at);
  if (!probe.valid()) return false;
  if (::connect(probe.get(), at.address.get(), at.address.size) == 0) return false;
  if (errno != ECONNREFUSED) return false;
  return ::unlink(std::string(path_of(at.address)).c_str()) == 0;
}

}  // namespace

const sockaddr* SocketAddress::get() const { return reinterpret_cast<const sockaddr*>(&storage); }
sockaddr* SocketAddress::get() { return reinterpret_cast<sockaddr*>(&storage); }

bool operator==(const SocketAddress& a, const SocketAddress& b) {
  return a.size == b.size && std::memcmp(&a.storage, &b.storage, a.size) == 0;
}

std::size_t SocketAddressHash::operator()(const SocketAddress& address) const {
  return std::hash<std::string_view>()(
      {reinterpret_cast<const char*>(&address.storage), address.size});
}

std::optional<Endpoint> parse_endpoint(const Address& address) {
  const std::string_view text = address.text;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::string_view scheme = text.substr(0, colon);
  const std::string_view rest = text.substr(colon + 1);
  std::optional<SocketAddress> parsed;
  SocketKind kind = SocketKind::kTcp;
  if (scheme == "tcp" || scheme == "udp") {
    kind = scheme == "tcp" ? SocketKind::kTcp : SocketKind::kUdp;
    parsed = parse_inet(rest);
  } else if (scheme == "unix" || scheme == "seqpacket") {
    kind = scheme == "unix" ? SocketKind::kUnixStream : SocketKind::kSeqpacket;
    parsed = parse_unix(rest);
  }
  if (!parsed) return std::nullopt;
  return Endpoint{kind, *parsed};
}

Address format_endpoint(SocketKind kind, const SocketAddress& address) {
  if (is_unix(kind)) {
    return {std::string(kind == SocketKind::kUnixStream ? "unix:" : "seqpacket:")
                .append(path_of(address))};
  }
  std::string text = kind == SocketKind::kTcp ? "tcp:" : "udp:";
  char host[INET6_ADDRSTRLEN] = {};
  std::uint16_t port = 0;
  if (address.storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    port = ntohs(v6->sin6_port);
    text.append("[").append(host).append("]");
  } else {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    ::inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    port = ntohs(v4->sin_port);
    text.append(host);
  }
  return {text.append(":").append(std::to_string(port))};
}

NetworkError network_error(int code, std::string what) {
  NetworkErrorCode kind = NetworkErrorCode::kReset;
  switch (code) {
    case ECONNREFUSED:
    case ENOENT:
      kind = NetworkErrorCode::kRefused;
      break;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
      kind = NetworkErrorCode::kUnreachable;
      break;
    case EADDRINUSE:
      kind = NetworkErrorCode::kAddressInUse;
      break;
    case ETIMEDOUT:
      kind = NetworkErrorCode::kTimedOut;
      break;
    default:
      break;
  }
  return {kind, what.append(": ").append(std::generic_category().message(code))};
}

Error to_error(const NetworkError& error, const Address& address) {
  const std::string name = printable(address.text);
  switch (error.code) {
    case NetworkErrorCode::kRefused:
      return {ErrorKind::kFailed, "nobody listens at " + name + "; start the other side first"};
    case NetworkErrorCode::kUnreachable:
      return {ErrorKind::kFailed, name + " cannot be reached from here; check the address"};
    case NetworkErrorCode::kAddressInUse:
      return {ErrorKind::kFailed, name + " is in use; choose another or stop who listens there"};
    case NetworkErrorCode::kTimedOut:
      return {ErrorKind::kFailed, name + " did not answer in time"};
    case NetworkErrorCode::kCancelled:
      return {ErrorKind::kInterrupted, "the connection to " + name + " was given up"};
    case NetworkErrorCode::kClosed:
      return {ErrorKind::kFailed, name + " closed the connection"};
    case NetworkErrorCode::kReset:
      break;
  }
  return {ErrorKind::kFailed, "the connection to " + name + " broke (" + error.detail + ")"};
}

NetworkResult<flow::OwnedDescriptor> start_connect(const Endpoint& to,
                                                   const std::optional<Endpoint>& from) {
  flow::OwnedDescriptor descriptor = open_socket(to);
  if (!descriptor.valid()) return network_error(errno, "socket");
  tune(descriptor.get(), to.kind);
  if (from && ::bind(descriptor.get(), from->address.get(), from->address.size) != 0) {
    return network_error(errno, "bind");
  }
  if (::connect(descriptor.get(), to.address.get(), to.address.size) != 0 && errno != EINPROGRESS) {
    return network_error(errno == EAGAIN ? ECONNREFUSED : errno, "connect");
  }
  return descriptor;
}

NetworkResult<void> connect_outcome(int descriptor) {
  int code = 0;
  socklen_t size = sizeof code;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
  if (code != 0) return network_error(code, "connect");
  return success();
}

NetworkResult<flow::OwnedDescriptor> start_listen(const Endpoint& at) {
  flow::OwnedDescriptor descriptor = open_socket(at);
  if (!descriptor.valid()) return network_error(errno, "socket");
  if (at.kind == SocketKind::kTcp) set_option(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  tune(descriptor.get(), at.kind);
  if (::bind(descriptor.get(), at.address.get(), at.address.size) != 0) {
    const int code = errno;
    if (code != EADDRINUSE || !is_unix(at.kind) || !remove_stale(at) ||
        ::bind(descriptor.get(), at.address.get(), at.address.size) != 0) {
      return network_error(code, "bind");
    }
  }
  if (at.kind != SocketKind::kUdp && ::listen(descriptor.get(), kBacklog) != 0) {
    return network_error(errno, "listen");
  }
  return descriptor;
}

NetworkResult<flow::OwnedDescriptor> accept_one(int listener, std::optional<SocketAddress>& from) {
  SocketAddress address;
  address.size = sizeof address.storage;
  flow::OwnedDescriptor descriptor(
      ::accept4(listener, address.get(), &address.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!descriptor.valid()) return network_error(errno, "accept");
  from = address;
  return descriptor;
}

SocketAddress local_address(int descriptor) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (::getsockname(descriptor, address.get(), &address.size) != 0) address.size = 0;
  return address;
}

void tune_udp(int descriptor) {
  // PROBE sets don't-fragment and lets probes above the known path MTU out.
  set_option(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  set_option(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  set_option(descriptor, IPPROTO_UDP, UDP_GRO, 1);
  set_option(descriptor, SOL_SOCKET, SO_RCVBUF, kSocketBuffer);
  set_option(descriptor, SOL_SOCKET, SO_SNDBUF, kSocketBuffer);
}

void set_receive_coalescing(int udp_descriptor, bool on) {
  set_option(udp_descriptor, IPPROTO_UDP, UDP_GRO, on ? 1 : 0);
}

void tune_stream(int descriptor, SocketKind kind) {
  if (kind == SocketKind::kTcp) {
    set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    return;
  }
  set_option(descriptor, SOL_SOCKET, SO_SNDBUF, kSocketBuffer);
}

}  // namespace sealane::net
