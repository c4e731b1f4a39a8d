#include "net/datagram_transport.h"

#include <netinet/in.h>
#include <netinet/udp.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sealane::net {
namespace {

class KernelCalls final : public DatagramCalls {
 public:
  ssize_t send(int descriptor, const msghdr& message) override {
    return ::sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  int send_many(int descriptor, std::span<mmsghdr> messages) override {
    return ::sendmmsg(descriptor, messages.data(), static_cast<unsigned>(messages.size()),
                      MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  int receive_many(int descriptor, std::span<mmsghdr> messages) override {
    return ::recvmmsg(descriptor, messages.data(), static_cast<unsigned>(messages.size()),
                      MSG_DONTWAIT, nullptr);
  }
};

SendOutcome outcome_of(int code) {
  switch (code) {
    case EAGAIN:
      return SendOutcome::kBusy;
    case EMSGSIZE:
      return SendOutcome::kTooBig;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
    case EBADF:
      return SendOutcome::kClosed;
    default:
      // A peer that is not up yet, no route for a moment, a full device (ENOBUFS, while the socket
      // is writable all the same): as if the network had dropped it.
      return SendOutcome::kLost;
  }
}

// Whether the error is of this socket. Others pass: what an ICMP message said of an earlier
// datagram (nobody listens, no route, a filter, a protocol error), which the kernel reports once to
// whoever comes next, or a lack of memory.
bool is_of_socket(int code) {
  switch (code) {
    case EBADF:
    case ENOTSOCK:
    case ENOTCONN:
    case EFAULT:
    case EINVAL:
      return true;
    default:
      return false;
  }
}

void set_destination(msghdr& header, const SocketAddress* to) {
  if (to == nullptr) return;
  header.msg_name = const_cast<sockaddr*>(to->get());  // the kernel only reads it
  header.msg_namelen = to->size;
}

// Of one call: 0, or errno.
int send_once(DatagramCalls& calls, int descriptor, const msghdr& message) {
  for (;;) {
    if (calls.send(descriptor, message) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

DatagramCalls& kernel_datagram_calls() {
  static KernelCalls calls;
  return calls;
}

ReceiveArena::ReceiveArena()
    : memory_(std::make_unique_for_overwrite<std::byte[]>(kSlots * kSlotSize)),
      size_(kSlots * kSlotSize) {}

MutableByteSpan ReceiveArena::whole(std::size_t size) {
  if (size > size_) {
    memory_ = std::make_unique_for_overwrite<std::byte[]>(size);
    size_ = size;
  }
  return {memory_.get(), size};
}

bool UdpBurst::add(ByteSpan packet) {
  if (count_ != 0 && (closed_ || packet.size() > segment_ || count_ == kMaxPackets ||
                      bytes_.size() + packet.size() > kMaxBytes)) {
    return false;
  }
  if (count_ == 0) segment_ = packet.size();
  closed_ = packet.size() < segment_;
  bytes_.insert(bytes_.end(), packet.begin(), packet.end());
  ++count_;
  return true;
}

SendOutcome UdpBurst::send(int descriptor, const SocketAddress* to) {
  if (empty()) return SendOutcome::kTaken;
  SendOutcome outcome = SendOutcome::kTaken;
  if (count_ == 1) {
    outcome = send_alone(descriptor, to);
  } else if (calls_.segmentation_refused()) {
    outcome = send_apart(descriptor, to);
  } else {
    outcome = send_segmented(descriptor, to);
  }
  if (outcome == SendOutcome::kBusy) return outcome;
  bytes_.clear();
  count_ = 0;
  closed_ = false;
  return outcome;
}

SendOutcome UdpBurst::send_alone(int descriptor, const SocketAddress* to) {
  iovec piece{bytes_.data(), bytes_.size()};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  set_destination(message, to);
  int code = send_once(calls_, descriptor, message);
  if (code != 0 && code != EAGAIN) {
    // Perhaps what was said of an earlier one, which the kernel passes on to whoever sends next.
    const bool too_big = code == EMSGSIZE;
    code = send_once(calls_, descriptor, message);
    if (too_big && code != EMSGSIZE) path_error_ = true;
  }
  return code == 0 ? SendOutcome::kTaken : outcome_of(code);
}

SendOutcome UdpBurst::send_segmented(int descriptor, const SocketAddress* to) {
  iovec piece{bytes_.data(), bytes_.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> control{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  set_destination(message, to);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_UDP;
  header->cmsg_type = UDP_SEGMENT;
  header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
  const auto size = static_cast<std::uint16_t>(segment_);
  std::memcpy(CMSG_DATA(header), &size, sizeof size);
  const int code = send_once(calls_, descriptor, message);
  switch (code) {
    case 0:
      return SendOutcome::kTaken;
    case EAGAIN:
    case ENOBUFS:  // the burst is too much for the device; piece by piece it would be as well
    case ENOMEM:
      return outcome_of(code);
    default:
      break;
  }
  // No segmentation here, or a segment above the MTU, or what was said of an earlier packet: each
  // alone tells which.
  if (code == EIO || code == EOPNOTSUPP) calls_.refuse_segmentation();
  const SendOutcome outcome = send_apart(descriptor, to);
  if (code == EMSGSIZE && outcome != SendOutcome::kTooBig) path_error_ = true;
  return outcome;
}

SendOutcome UdpBurst::send_apart(int descriptor, const SocketAddress* to) {
  SendOutcome worst = SendOutcome::kTaken;
  int first_error = 0;  // of the packet at the front
  while (!bytes_.empty()) {
    std::array<mmsghdr, kMaxPackets> messages{};
    std::array<iovec, kMaxPackets> pieces{};
    unsigned count = 0;
    for (std::size_t at = 0; at < bytes_.size(); at += segment_, ++count) {
      pieces[count] = {bytes_.data() + at, std::min(segment_, bytes_.size() - at)};
      msghdr& header = messages[count].msg_hdr;
      header.msg_iov = &pieces[count];
      header.msg_iovlen = 1;
      set_destination(header, to);
    }
    const int sent = calls_.send_many(descriptor, std::span(messages).first(count));
    std::size_t done = 0;
    if (sent > 0) {
      done = static_cast<std::size_t>(sent);
      if (first_error == EMSGSIZE) path_error_ = true;
    } else if (errno == EINTR) {
      continue;
    } else {
      const int code = errno;
      const SendOutcome outcome = outcome_of(code);
      if (outcome == SendOutcome::kBusy) return outcome;  // the rest stays for the next time
      if (code == ENOBUFS || code == ENOMEM || outcome == SendOutcome::kClosed) {
        // So would the others be. What the path carries is the more useful news.
        return worst == SendOutcome::kTooBig ? worst : outcome;
      }
      if (first_error == 0) {
        // Perhaps what was said of an earlier one, as above.
        first_error = code;
        continue;
      }
      if (worst != SendOutcome::kTooBig) worst = outcome;
      // The first one is lost, and the others are tried; but not those that are as large.
      done = 1;
      if (outcome == SendOutcome::kTooBig) done = std::max(done, bytes_.size() / segment_);
    }
    first_error = 0;
    const std::size_t size = std::min(done * segment_, bytes_.size());
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(size));
    count_ -= done;
  }
  return worst;
}

NetworkResult<DatagramRead> receive_udp(int descriptor, ReceiveArena& arena,
                                        const DatagramSink& sink, DatagramCalls& calls) {
  using Control = std::array<char, CMSG_SPACE(sizeof(int))>;
  std::array<mmsghdr, ReceiveArena::kSlots> messages{};
  std::array<iovec, ReceiveArena::kSlots> pieces{};
  std::array<SocketAddress, ReceiveArena::kSlots> sources;
  alignas(cmsghdr) std::array<Control, ReceiveArena::kSlots> controls{};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const MutableByteSpan slot = arena.slot(i);
    pieces[i] = {slot.data(), slot.size()};
    msghdr& header = messages[i].msg_hdr;
    header.msg_iov = &pieces[i];
    header.msg_iovlen = 1;
    header.msg_name = sources[i].get();
    header.msg_namelen = sizeof sources[i].storage;
    header.msg_control = controls[i].data();
    header.msg_controllen = controls[i].size();
  }
  const int count = calls.receive_many(descriptor, messages);
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return DatagramRead::kDrained;
    if (errno == EMSGSIZE) return DatagramRead::kPathChanged;
    if (!is_of_socket(errno)) return DatagramRead::kMore;
    return network_error(errno, "receive");
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    msghdr& header = messages[i].msg_hdr;
    sources[i].size = header.msg_namelen;
    MutableByteSpan rest = arena.slot(i).first(messages[i].msg_len);
    std::size_t segment = rest.size();
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
      int size = 0;
      std::memcpy(&size, CMSG_DATA(c), sizeof size);
      if (size > 0) segment = static_cast<std::size_t>(size);
    }
    if (rest.empty()) sink(rest, sources[i]);
    while (!rest.empty()) {
      const std::size_t size = std::min(segment, rest.size());
      sink(rest.first(size), sources[i]);
      rest = rest.subspan(size);
    }
  }
  return static_cast<std::size_t>(count) == messages.size() ? DatagramRead::kMore
                                                            : DatagramRead::kDrained;
}

DatagramTransport::DatagramTransport(flow::OwnedDescriptor descriptor, const Endpoint& peer,
                                     std::size_t max_packet, ReceiveArena& arena)
    : descriptor_(std::move(descriptor)),
      kind_(peer.kind),
      address_(peer.address),
      peer_(format_endpoint(peer.kind, peer.address)),
      max_packet_(max_packet),
      arena_(arena) {}

NetworkResult<bool> DatagramTransport::receive(const Sink& sink) {
  if (kind_ != SocketKind::kUdp) return receive_packets(sink);
  const auto read =
      receive_udp(descriptor_.get(), arena_,
                  [&](MutableByteSpan packet, const SocketAddress&) { sink(packet); });
  if (!read.has_value()) return read.error();
  if (read.value() == DatagramRead::kPathChanged) note_path_size();
  return read.value() != DatagramRead::kDrained;
}

// A router has said that packets of some size do not get through; the kernel knows which.
void DatagramTransport::note_path_size() {
  int mtu = 0;
  socklen_t size = sizeof mtu;
  const bool v6 = address_.storage.ss_family == AF_INET6;
  if (::getsockopt(descriptor_.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu,
                   &size) != 0) {
    return;
  }
  const int headers = (v6 ? 40 : 20) + 8;
  if (mtu > headers) late_too_big_ = static_cast<std::size_t>(mtu - headers) + 1;
}

NetworkResult<bool> DatagramTransport::receive_packets(const Sink& sink) {
  // One more than the largest, so that a longer one is seen to be too long.
  const MutableByteSpan buffer = arena_.whole(max_packet_ + 1);
  const ssize_t size = ::recv(descriptor_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (size > 0) {
    sink(buffer.first(static_cast<std::size_t>(size)));
    return true;
  }
  if (size == 0) return NetworkError{NetworkErrorCode::kClosed, "the peer closed the socket"};
  if (errno == EAGAIN && !reset_) return false;
  if (errno == EINTR) return true;
  if (errno == ECONNRESET && !reset_) {
    // The peer closed with unread input. The kernel says so once, in front of what it had sent.
    reset_ = true;
    return true;
  }
  return network_error(errno == EAGAIN ? ECONNRESET : errno, "receive");
}

SendOutcome DatagramTransport::send(ByteSpan packet) {
  if (kind_ != SocketKind::kUdp) {
    iovec piece{const_cast<std::byte*>(packet.data()), packet.size()};  // only read
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    const int code = send_once(kernel_datagram_calls(), descriptor_.get(), message);
    return code == 0 ? SendOutcome::kTaken : outcome_of(code);
  }
  if (burst_.add(packet)) return SendOutcome::kTaken;
  const SendOutcome outcome = flush();
  if (outcome == SendOutcome::kBusy || outcome == SendOutcome::kClosed) return outcome;
  burst_.add(packet);
  return SendOutcome::kTaken;
}

SendOutcome DatagramTransport::flush() {
  const std::size_t size = burst_.packet_size();
  const SendOutcome outcome = burst_.send(descriptor_.get(), nullptr);
  if (burst_.take_path_error()) note_path_size();
  if (outcome != SendOutcome::kTooBig) return outcome;
  late_too_big_ = size;
  return SendOutcome::kTaken;
}

}  // namespace sealane::net
