#pragma once
// Connection, Listener, DatagramSocket, Network: the seam for networks. src/net implements it with
// Asio, tests with a simulated one. Callbacks run on the owner's one thread, never inside the call
// that asked for them.
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane {

enum class NetworkErrorCode : std::uint8_t {
  kClosed = 1,   // by the peer, in order
  kReset,        // cut
  kRefused,      // nobody listens
  kUnreachable,  // no such host, no route
  kAddressInUse,
  kTimedOut,
  kCancelled,
};
struct NetworkError {
  NetworkErrorCode code = NetworkErrorCode::kReset;
  std::string detail;  // for the log
};
template <class T>
using NetworkResult = Result<T, NetworkError>;

// tcp:HOST:PORT, udp:HOST:PORT, unix:PATH, seqpacket:PATH
struct Address {
  std::string text;
  friend bool operator==(const Address&, const Address&) = default;
};

// An ordered byte stream. One read and one write may be under way at a time. `buffer` and `data`
// must stay valid until the callback ran. Destruction cancels both with kCancelled.
class Connection {
 public:
  virtual ~Connection() = default;
  // 1..size bytes, or kClosed at the end.
  virtual void read(MutableByteSpan buffer,
                    std::function<void(NetworkResult<std::size_t>)> done) = 0;
  virtual void write(ByteSpan data, std::function<void(NetworkResult<void>)> done) = 0;  // all
  // What goes out at once, without waiting: 0..size bytes; the rest is the caller's to offer again.
  // Not while a write is under way. A connection may always say 0.
  virtual NetworkResult<std::size_t> try_write(ByteSpan data) {
    static_cast<void>(data);
    return std::size_t{0};
  }
  // The same of several, as if they were one.
  virtual NetworkResult<std::size_t> try_write_all(std::span<const ByteSpan> data) {
    return data.empty() ? std::size_t{0} : try_write(data.front());
  }
  // What is there at once, without waiting: 0..size bytes; otherwise as read(). Not while a read is
  // under way. A connection may always say 0.
  virtual NetworkResult<std::size_t> try_read(MutableByteSpan buffer) {
    static_cast<void>(buffer);
    return std::size_t{0};
  }
  virtual void shutdown_write() = 0;  // the peer reads kClosed
  virtual Address peer() const = 0;
  // Bytes given to the kernel that the peer has not confirmed; 0 where nobody can tell.
  virtual std::size_t unconfirmed() const { return 0; }
  // If this side goes without shutdown_write(), killed for example, the peer sees a reset.
  virtual void reset_unless_shut_down() {}
};

class Listener {
 public:
  virtual ~Listener() = default;
  virtual void accept(std::function<void(NetworkResult<std::unique_ptr<Connection>>)> done) = 0;
  virtual Address local() const = 0;
};

// Datagrams: whole or not at all, in any order, perhaps twice.
class DatagramSocket {
 public:
  struct Received {
    std::size_t size = 0;
    Address from;
  };
  virtual ~DatagramSocket() = default;
  virtual void receive(MutableByteSpan buffer,
                       std::function<void(NetworkResult<Received>)> done) = 0;
  virtual NetworkResult<void> send(const Address& to, ByteSpan datagram) = 0;  // never waits
  virtual Address local() const = 0;
};

class Network {
 public:
  virtual ~Network() = default;
  virtual void connect(const Address& to, SteadyTime deadline,
                       std::function<void(NetworkResult<std::unique_ptr<Connection>>)> done) = 0;
  virtual NetworkResult<std::unique_ptr<Listener>> listen(const Address& at) = 0;
  virtual NetworkResult<std::unique_ptr<DatagramSocket>> bind(const Address& at) = 0;
};

}  // namespace sealane
