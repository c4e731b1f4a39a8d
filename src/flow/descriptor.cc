#include "flow/descriptor.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace sealane::flow {
namespace {

Error failed(std::string_view what, const std::string& name) {
  const int code = errno;
  std::string message =
      "cannot " + std::string(what) + " " + printable(name) + ": " + std::strerror(code);
  if (code == ENOSPC || code == EDQUOT) message += "; free some space and run it again";
  if (code == EPIPE) message += " (the reader ended)";
  return {.kind = ErrorKind::kFailed, .message = std::move(message)};
}

// Waits until `fd` is ready for `events`, or the cancellation fires. Regular files are always
// ready.
Result<void, Error> wait(int fd, short events, Cancellation* cancel) {
  if (cancel == nullptr) return success();
  for (;;) {
    if (cancel->cancelled()) return interrupted();
    pollfd set[2] = {{.fd = fd, .events = events, .revents = 0},
                     {.fd = cancel->descriptor(), .events = POLLIN, .revents = 0}};
    if (::poll(set, 2, -1) < 0 && errno != EINTR) return failed("wait for", "a descriptor");
    if (set[1].revents != 0) return interrupted();
    if (set[0].revents != 0) return success();
  }
}

}  // namespace

Error interrupted() {
  return {.kind = ErrorKind::kInterrupted,
          .message = "interrupted; nothing half-done was left behind"};
}

OwnedDescriptor& OwnedDescriptor::operator=(OwnedDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int OwnedDescriptor::release() { return std::exchange(fd_, -1); }

void OwnedDescriptor::reset() {
  if (fd_ >= 0) ::close(release());
}

Result<std::size_t, Error> DescriptorSource::read(MutableByteSpan out) {
  for (;;) {
    SEALANE_TRY(wait(fd_, POLLIN, cancel_));
    const ssize_t got = ::read(fd_, out.data(), out.size());
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR && errno != EAGAIN) return failed("read", name_);
  }
}

Result<void, Error> DescriptorSink::write(ByteSpan data) {
  while (!data.empty()) {
    SEALANE_TRY(wait(fd_, POLLOUT, cancel_));
    const ssize_t put = ::write(fd_, data.data(), data.size());
    if (put < 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      return failed("write to", name_);
    }
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return success();
}

}  // namespace sealane::flow
