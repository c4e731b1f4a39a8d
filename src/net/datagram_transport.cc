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

// Set once the kernel has refused to segment for us; then each datagram is a call of its own.
std::atomic<bool> segmentation_refused{false};

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

SendOutcome send_one(int descriptor, const SocketAddress* to, ByteSpan packet) {
  for (;;) {
    const ssize_t sent =
        ::sendto(descriptor, packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                 to != nullptr ? to->get() : nullptr, to != nullptr ? to->size : 0);
    if (sent >= 0) return SendOutcome::kTaken;
    if (errno != EINTR) return outcome_of(errno);
  }
}

}  // namespace

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
    outcome = send_one(descriptor, to, bytes_);
    if (outcome == SendOutcome::kTooBig) {
      // Or so a router said of an earlier one, and the kernel passes it on to whoever sends next.
      outcome = send_one(descriptor, to, bytes_);
      path_error_ = outcome != SendOutcome::kTooBig;
    }
  } else if (segmentation_refused.load(std::memory_order_relaxed)) {
    outcome = send_apart(descriptor, to);
  } else {
    iovec piece{bytes_.data(), bytes_.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint16_t))> control{};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (to != nullptr) {
      message.msg_name = const_cast<sockaddr*>(to->get());  // the kernel only reads it
      message.msg_namelen = to->size;
    }
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(std::uint16_t));
    const auto size = static_cast<std::uint16_t>(segment_);
    std::memcpy(CMSG_DATA(header), &size, sizeof size);
    if (::sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
      if (errno == EINVAL || errno == EIO || errno == EOPNOTSUPP || errno == EMSGSIZE) {
        // No segmentation here, or a segment above the MTU: each alone tells which.
        const int code = errno;
        if (code != EMSGSIZE && code != EINVAL) {
          segmentation_refused.store(true, std::memory_order_relaxed);
        }
        outcome = send_apart(descriptor, to);
        if (code == EMSGSIZE) path_error_ = outcome != SendOutcome::kTooBig;
      } else {
        outcome = outcome_of(errno);
      }
    }
  }
  if (outcome == SendOutcome::kBusy) return outcome;
  bytes_.clear();
  count_ = 0;
  closed_ = false;
  return outcome;
}

SendOutcome UdpBurst::send_apart(int descriptor, const SocketAddress* to) {
  SendOutcome worst = SendOutcome::kTaken;
  while (!bytes_.empty()) {
    std::array<mmsghdr, kMaxPackets> messages{};
    std::array<iovec, kMaxPackets> pieces{};
    unsigned count = 0;
    for (std::size_t at = 0; at < bytes_.size(); at += segment_, ++count) {
      pieces[count] = {bytes_.data() + at, std::min(segment_, bytes_.size() - at)};
      msghdr& header = messages[count].msg_hdr;
      header.msg_iov = &pieces[count];
      header.msg_iovlen = 1;
      if (to == nullptr) continue;
      header.msg_name = const_cast<sockaddr*>(to->get());  // the kernel only reads it
      header.msg_namelen = to->size;
    }
    const int sent = ::sendmmsg(descriptor, messages.data(), count, MSG_DONTWAIT | MSG_NOSIGNAL);
    std::size_t done = 0;
    if (sent > 0) {
      done = static_cast<std::size_t>(sent);
    } else if (errno == EINTR) {
      continue;
    } else {
      const SendOutcome outcome = outcome_of(errno);
      if (outcome == SendOutcome::kBusy) return outcome;  // the rest stays for the next time
      worst = outcome;
      done = 1;  // the first one is lost, the others are tried
    }
    const std::size_t size = std::min(done * segment_, bytes_.size());
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(size));
    count_ -= done;
  }
  return worst;
}

NetworkResult<DatagramRead> receive_udp(int descriptor, ReceiveArena& arena,
                                        const DatagramSink& sink) {
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
  const int count = ::recvmmsg(descriptor, messages.data(), messages.size(), MSG_DONTWAIT, nullptr);
  if (count < 0) {
    // An ICMP answer to something that was sent before ("nobody listens") is no end of a session.
    if (errno == EAGAIN || errno == EINTR) return DatagramRead::kDrained;
    if (errno == EMSGSIZE) return DatagramRead::kPathChanged;
    if (errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH || errno == ENOMEM) {
      return DatagramRead::kMore;
    }
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
  if (kind_ != SocketKind::kUdp) return send_one(descriptor_.get(), nullptr, packet);
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
