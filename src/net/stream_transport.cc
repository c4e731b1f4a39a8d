#include "net/stream_transport.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "net/sockets.h"

namespace sealane::net {
namespace {

bool is_socket(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

StreamTransport::StreamTransport(flow::OwnedDescriptor read, flow::OwnedDescriptor write,
                                 Address peer, session::Reframer reframer)
    : read_(std::move(read)),
      write_(std::move(write)),
      peer_(std::move(peer)),
      reframer_(std::move(reframer)),
      is_socket_(is_socket(write_.valid() ? write_.get() : read_.get())) {}

NetworkResult<bool> StreamTransport::receive(const Sink& sink) {
  const MutableByteSpan room = reframer_.room();
  const ssize_t size = ::read(read_.get(), room.data(), room.size());
  if (size < 0) {
    if (errno == EAGAIN) return false;
    if (errno == EINTR) return true;
    return network_error(errno, "read");
  }
  if (size == 0) {
    return NetworkError{
        reframer_.buffered() == 0 ? NetworkErrorCode::kClosed : NetworkErrorCode::kReset,
        "the stream ended"};
  }
  reframer_.received(static_cast<std::size_t>(size));
  for (;;) {
    const auto packet = reframer_.next();
    if (!packet.has_value()) {
      return NetworkError{NetworkErrorCode::kReset,
                          packet.error() == session::ReframeError::kTooLarge
                              ? "the peer announced a packet above our limit"
                              : "no packet of this session is found in the stream"};
    }
    if (!packet.value()) return true;
    sink(*packet.value());
  }
}

NetworkResult<std::size_t> StreamTransport::write_some(ByteSpan data) {
  for (;;) {
    const ssize_t size = is_socket_ ? ::send(write_descriptor(), data.data(), data.size(),
                                             MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : ::write(write_descriptor(), data.data(), data.size());
    if (size >= 0) return static_cast<std::size_t>(size);
    if (errno == EAGAIN) return std::size_t{0};
    if (errno != EINTR) return network_error(errno, "write");
  }
}

SendOutcome StreamTransport::send(ByteSpan packet) {
  if (!unsent_.empty()) {
    const SendOutcome outcome = flush();
    if (outcome != SendOutcome::kTaken) return outcome;
  }
  const auto sent = write_some(packet);
  if (!sent.has_value()) return SendOutcome::kClosed;
  if (sent.value() == 0) return SendOutcome::kBusy;
  const ByteSpan rest = packet.subspan(sent.value());
  unsent_.assign(rest.begin(), rest.end());
  return SendOutcome::kTaken;
}

flow::OwnedDescriptor StreamTransport::release() {
  if (!is_socket_ || write_.valid()) return {};
  static_cast<void>(::shutdown(read_.get(), SHUT_WR));
  return std::move(read_);
}

SendOutcome StreamTransport::flush() {
  while (!unsent_.empty()) {
    const auto sent = write_some(unsent_);
    if (!sent.has_value()) return SendOutcome::kClosed;
    if (sent.value() == 0) return SendOutcome::kBusy;
    unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent.value()));
  }
  return SendOutcome::kTaken;
}

}  // namespace sealane::net
