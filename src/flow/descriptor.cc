#include "flow/descriptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "sealane/base/seams.h"

namespace sealane::flow {
namespace {

constexpr int kPipeSize = 1024 * 1024;  // what an unprivileged process may ask for
constexpr std::size_t kLargestTransfer = 1024 * 1024 * 1024;

Error failed(std::string_view operation, const std::string& name) {
  const int code = errno;
  Error error = to_error(FileError{.code = code, .operation = operation, .path = name});
  if (code == EPIPE) error.message += " (the reader ended)";
  return error;
}

// Reads of regular files and most devices never wait for another process.
bool may_wait(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return true;
  if (S_ISFIFO(status.st_mode))
    ::fcntl(descriptor, F_SETPIPE_SZ, kPipeSize);  // best effort: fewer switches
  return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || ::isatty(descriptor) == 1;
}

// Until `descriptor` is ready for `events`. False: cancelled or interrupted.
bool wait_for(int descriptor, short events, const Cancellation* cancel,
              const Cancellation& interrupted) {
  pollfd ready[3] = {{descriptor, events, 0},
                     {interrupted.descriptor(), POLLIN, 0},
                     {cancel != nullptr ? cancel->descriptor() : -1, POLLIN, 0}};
  while (::poll(ready, 3, -1) < 0) {
    if (errno != EINTR) return true;  // the call that follows says what is wrong
    if (cancel != nullptr && cancel->cancelled()) return false;
  }
  return ready[1].revents == 0 && ready[2].revents == 0;
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

DescriptorSource::DescriptorSource(int descriptor, std::string name, const Cancellation* cancel)
    : descriptor_(descriptor),
      name_(std::move(name)),
      cancel_(cancel),
      may_wait_(may_wait(descriptor)) {}

Result<std::size_t, Error> DescriptorSource::read(MutableByteSpan out) {
  for (;;) {
    if (may_wait_ && !wait_for(descriptor_, POLLIN, cancel_, interrupted_)) return interrupted();
    const ssize_t got = ::read(descriptor_, out.data(), std::min(out.size(), kLargestTransfer));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EAGAIN && !may_wait_) may_wait_ = true;
    if (errno != EINTR && errno != EAGAIN) return failed("read", name_);
  }
}

PositionalSource* DescriptorSource::positional() {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
  const off_t at = ::lseek(descriptor_, 0, SEEK_CUR);
  if (at < 0) return nullptr;
  start_ = static_cast<std::uint64_t>(at);
  return this;
}

Result<std::size_t, Error> DescriptorSource::read_at(std::uint64_t offset, MutableByteSpan out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto rest = out.subspan(done);
    const ssize_t got = ::pread(descriptor_, rest.data(), std::min(rest.size(), kLargestTransfer),
                                static_cast<off_t>(start_ + offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", name_);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

DescriptorSink::DescriptorSink(int descriptor, std::string name, const Cancellation* cancel)
    : descriptor_(descriptor),
      name_(std::move(name)),
      cancel_(cancel),
      may_wait_(may_wait(descriptor)) {
  if (!may_wait_) return;
  const std::string again = "/proc/self/fd/" + std::to_string(descriptor);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISFIFO(status.st_mode)) return;
  const int opened = ::open(again.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (opened < 0) return;
  descriptor_ = opened;
  own_ = OwnedDescriptor(opened);
}

Result<void, Error> DescriptorSink::write(ByteSpan data) {
  while (!data.empty()) {
    if (may_wait_ && !wait_for(descriptor_, POLLOUT, cancel_, interrupted_)) return interrupted();
    // A blocking pipe that polls as writable takes PIPE_BUF bytes without waiting.
    const std::size_t most = !may_wait_ || own_.valid() ? kLargestTransfer : std::size_t{PIPE_BUF};
    const ssize_t put = ::write(descriptor_, data.data(), std::min(data.size(), most));
    if (put >= 0) {
      data = data.subspan(static_cast<std::size_t>(put));
      continue;
    }
    if (errno == EAGAIN && !may_wait_) may_wait_ = true;
    if (errno != EINTR && errno != EAGAIN) return failed("write to", name_);
  }
  return success();
}

}  // namespace sealane::flow
