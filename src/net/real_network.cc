#include "net/real_network.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "net/datagram_transport.h"
#include "net/sockets.h"

namespace sealane::net {
namespace {

// Of one call, on its stack; the kernel would take 1024.
constexpr std::size_t kMaxSpans = 256;

NetworkError cancelled() { return {NetworkErrorCode::kCancelled, "given up"}; }
NetworkError bad_address(const Address& address) {
  return {NetworkErrorCode::kUnreachable, "no such kind of address: " + address.text};
}

template <class Done>
void cancel(IoLoop& loop, Done& done) {
  if (done) loop.post([done = std::exchange(done, nullptr)] { done(cancelled()); });
}

class RealConnection final : public Connection {
 public:
  RealConnection(IoLoop& loop, flow::OwnedDescriptor descriptor, Address peer)
      : loop_(loop),
        descriptor_(std::move(descriptor)),
        peer_(std::move(peer)),
        watch_(loop, descriptor_.get()) {}
  ~RealConnection() override {
    cancel(loop_, read_done_);
    cancel(loop_, write_done_);
  }

  void read(MutableByteSpan buffer, std::function<void(NetworkResult<std::size_t>)> done) override {
    SEALANE_CHECK(!read_done_ && !buffer.empty());
    read_buffer_ = buffer;
    read_done_ = std::move(done);
    watch_.when_readable([this] { go_on_reading(); });
  }
  void write(ByteSpan data, std::function<void(NetworkResult<void>)> done) override {
    SEALANE_CHECK(!write_done_);
    write_rest_ = data;
    write_done_ = std::move(done);
    watch_.when_writable([this] { go_on_writing(); });
  }
  NetworkResult<std::size_t> try_write(ByteSpan data) override {
    SEALANE_CHECK(!write_done_);
    const ssize_t size =
        ::send(descriptor_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
    return network_error(errno, "write");
  }
  NetworkResult<std::size_t> try_write_all(std::span<const ByteSpan> data) override {
    SEALANE_CHECK(!write_done_);
    std::array<iovec, kMaxSpans> pieces;
    const std::size_t count = std::min(data.size(), pieces.size());
    for (std::size_t i = 0; i < count; ++i) {
      // The kernel's interface has one type for reading and writing.
      pieces.at(i) = {const_cast<std::byte*>(data[i].data()), data[i].size()};
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t size = ::sendmsg(descriptor_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
    return network_error(errno, "write");
  }
  NetworkResult<std::size_t> try_read(MutableByteSpan buffer) override {
    SEALANE_CHECK(!read_done_ && !buffer.empty());
    const ssize_t size = ::recv(descriptor_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return std::size_t{0};
    return received(size);
  }
  void shutdown_write() override {
    if (resets_) set_linger(false);
    static_cast<void>(::shutdown(descriptor_.get(), SHUT_WR));
  }
  Address peer() const override { return peer_; }
  std::size_t unconfirmed() const override {
    int size = 0;
    if (::ioctl(descriptor_.get(), SIOCOUTQ, &size) != 0 || size < 0) return 0;
    return static_cast<std::size_t>(size);
  }
  void reset_unless_shut_down() override {
    resets_ = true;
    set_linger(true);
  }

 private:
  void set_linger(bool on) {
    const linger value{.l_onoff = on ? 1 : 0, .l_linger = 0};
    static_cast<void>(::setsockopt(descriptor_.get(), SOL_SOCKET, SO_LINGER, &value, sizeof value));
  }
  // The callback may destroy this object, so it is the last thing done.
  void go_on_reading() {
    const ssize_t size =
        ::recv(descriptor_.get(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
      return watch_.when_readable([this] { go_on_reading(); });
    }
    std::exchange(read_done_, nullptr)(received(size));
  }
  static NetworkResult<std::size_t> received(ssize_t size) {
    if (size > 0) return static_cast<std::size_t>(size);
    if (size == 0) return NetworkError{NetworkErrorCode::kClosed, "the peer is done"};
    return network_error(errno, "read");
  }
  void go_on_writing() {
    while (!write_rest_.empty()) {
      const ssize_t size = ::send(descriptor_.get(), write_rest_.data(), write_rest_.size(),
                                  MSG_DONTWAIT | MSG_NOSIGNAL);
      if (size >= 0) {
        write_rest_ = write_rest_.subspan(static_cast<std::size_t>(size));
      } else if (errno == EAGAIN) {
        return watch_.when_writable([this] { go_on_writing(); });
      } else if (errno != EINTR) {
        return std::exchange(write_done_, nullptr)(network_error(errno, "write"));
      }
    }
    std::exchange(write_done_, nullptr)(success());
  }

  IoLoop& loop_;
  flow::OwnedDescriptor descriptor_;
  Address peer_;
  IoLoop::Watch watch_;
  MutableByteSpan read_buffer_;
  std::function<void(NetworkResult<std::size_t>)> read_done_;
  ByteSpan write_rest_;
  std::function<void(NetworkResult<void>)> write_done_;
  bool resets_ = false;
};

class RealListener final : public Listener {
 public:
  using Done = std::function<void(NetworkResult<std::unique_ptr<Connection>>)>;
  RealListener(IoLoop& loop, flow::OwnedDescriptor descriptor, SocketKind kind)
      : loop_(loop),
        descriptor_(std::move(descriptor)),
        kind_(kind),
        local_(format_endpoint(kind, local_address(descriptor_.get()))),
        watch_(loop, descriptor_.get()) {}
  ~RealListener() override {
    cancel(loop_, done_);
    if (kind_ == SocketKind::kTcp) return;
    static_cast<void>(::unlink(local_.text.c_str() + local_.text.find(':') + 1));
  }
  void accept(Done done) override {
    SEALANE_CHECK(!done_);
    done_ = std::move(done);
    watch_.when_readable([this] { go_on(); });
  }
  Address local() const override { return local_; }

 private:
  void go_on() {
    std::optional<SocketAddress> from;
    auto accepted = accept_one(descriptor_.get(), from);
    if (!accepted.has_value() && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) {
      return watch_.when_readable([this] { go_on(); });
    }
    const Done done = std::exchange(done_, nullptr);
    if (!accepted.has_value()) return done(accepted.error());
    tune_stream(accepted.value().get(), kind_);
    done(std::unique_ptr<Connection>(std::make_unique<RealConnection>(
        loop_, std::move(accepted.value()), format_endpoint(kind_, *from))));
  }

  IoLoop& loop_;
  flow::OwnedDescriptor descriptor_;
  SocketKind kind_;
  Address local_;
  IoLoop::Watch watch_;
  Done done_;
};

class RealDatagramSocket final : public DatagramSocket {
 public:
  using Done = std::function<void(NetworkResult<Received>)>;
  RealDatagramSocket(IoLoop& loop, flow::OwnedDescriptor descriptor)
      : loop_(loop),
        descriptor_(std::move(descriptor)),
        local_(format_endpoint(SocketKind::kUdp, local_address(descriptor_.get()))),
        watch_(loop, descriptor_.get()) {}
  ~RealDatagramSocket() override { cancel(loop_, done_); }
  void receive(MutableByteSpan buffer, Done done) override {
    SEALANE_CHECK(!done_);
    buffer_ = buffer;
    done_ = std::move(done);
    watch_.when_readable([this] { go_on(); });
  }
  NetworkResult<void> send(const Address& to, ByteSpan datagram) override {
    const auto endpoint = parse_endpoint(to);
    if (!endpoint || endpoint->kind != SocketKind::kUdp) return bad_address(to);
    const ssize_t size =
        ::sendto(descriptor_.get(), datagram.data(), datagram.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                 endpoint->address.get(), endpoint->address.size);
    // A full buffer loses it, as the network may.
    if (size < 0 && errno != EAGAIN && errno != ENOBUFS) return network_error(errno, "send");
    return success();
  }
  Address local() const override { return local_; }

 private:
  void go_on() {
    SocketAddress from;
    from.size = sizeof from.storage;
    const ssize_t size = ::recvfrom(descriptor_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT,
                                    from.get(), &from.size);
    // An ICMP answer to something that was sent before is no datagram and no end.
    if (size < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED)) {
      return watch_.when_readable([this] { go_on(); });
    }
    const Done done = std::exchange(done_, nullptr);
    if (size < 0) return done(network_error(errno, "receive"));
    done(Received{static_cast<std::size_t>(size), format_endpoint(SocketKind::kUdp, from)});
  }

  IoLoop& loop_;
  flow::OwnedDescriptor descriptor_;
  Address local_;
  IoLoop::Watch watch_;
  MutableByteSpan buffer_;
  Done done_;
};

class RealNetwork final : public Network {
 public:
  using Done = std::function<void(NetworkResult<std::unique_ptr<Connection>>)>;
  RealNetwork(IoLoop& loop, NetworkOptions options) : loop_(loop), options_(std::move(options)) {}

  void connect(const Address& to, SteadyTime deadline, Done done) override {
    const auto endpoint = parse_endpoint(to);
    if (!endpoint || endpoint->kind == SocketKind::kUdp) {
      return loop_.post([done = std::move(done), to] { done(bad_address(to)); });
    }
    std::optional<Endpoint> from;
    if (options_.dial_from && endpoint->kind == SocketKind::kTcp) {
      from = parse_endpoint(*options_.dial_from);
      if (!from || from->kind != SocketKind::kTcp) {
        return loop_.post(
            [done = std::move(done), at = *options_.dial_from] { done(bad_address(at)); });
      }
    }
    auto started = start_connect(*endpoint, from);
    if (!started.has_value()) {
      return loop_.post([done = std::move(done), error = started.error()] { done(error); });
    }
    auto attempt =
        std::make_shared<Attempt>(loop_, std::move(started.value()), to, std::move(done));
    attempt->watch->when_writable([attempt] {
      const auto outcome = connect_outcome(attempt->descriptor.get());
      if (!outcome.has_value()) return attempt->finish(outcome.error());
      attempt->finish(success());
    });
    if (deadline != SteadyTime::max()) {
      attempt->timer.at(deadline, [attempt] {
        attempt->finish(NetworkError{NetworkErrorCode::kTimedOut, "connect"});
      });
    }
  }

  NetworkResult<std::unique_ptr<Listener>> listen(const Address& at) override {
    const auto endpoint = parse_endpoint(at);
    if (!endpoint || endpoint->kind == SocketKind::kUdp) return bad_address(at);
    auto descriptor = start_listen(*endpoint);
    if (!descriptor.has_value()) return descriptor.error();
    return std::unique_ptr<Listener>(
        std::make_unique<RealListener>(loop_, std::move(descriptor.value()), endpoint->kind));
  }

  NetworkResult<std::unique_ptr<DatagramSocket>> bind(const Address& at) override {
    const auto endpoint = parse_endpoint(at);
    if (!endpoint || endpoint->kind != SocketKind::kUdp) return bad_address(at);
    auto descriptor = start_listen(*endpoint);
    if (!descriptor.has_value()) return descriptor.error();
    // One datagram a call is asked for here, so the kernel must not put them together.
    set_receive_coalescing(descriptor.value().get(), false);
    return std::unique_ptr<DatagramSocket>(
        std::make_unique<RealDatagramSocket>(loop_, std::move(descriptor.value())));
  }

 private:
  // A connection under way, held by its wait and its timer.
  struct Attempt {
    Attempt(IoLoop& owner, flow::OwnedDescriptor fd, Address address, Done callback)
        : loop(owner),
          descriptor(std::move(fd)),
          to(std::move(address)),
          done(std::move(callback)),
          watch(std::make_unique<IoLoop::Watch>(owner, descriptor.get())),
          timer(owner) {}
    void finish(const NetworkResult<void>& outcome) {
      const Done call = std::exchange(done, nullptr);
      if (!call) return;
      timer.cancel();
      watch.reset();  // lets go of the descriptor, which gets a new one
      if (!outcome.has_value()) return call(outcome.error());
      call(std::unique_ptr<Connection>(
          std::make_unique<RealConnection>(loop, std::move(descriptor), to)));
    }
    IoLoop& loop;
    flow::OwnedDescriptor descriptor;
    Address to;
    Done done;
    std::unique_ptr<IoLoop::Watch> watch;
    IoLoop::Timer timer;
  };

  IoLoop& loop_;
  const NetworkOptions options_;
};

}  // namespace

std::unique_ptr<Network> make_network(IoLoop& loop, NetworkOptions options) {
  return std::make_unique<RealNetwork>(loop, std::move(options));
}

}  // namespace sealane::net
