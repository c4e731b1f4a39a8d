#pragma once
// Descriptors as sources and sinks: pipes, standard streams, sockets, files. Waiting ends when the
// cancellation fires, so a silent peer cannot hold a stage.
#include <string>

#include "flow/stream.h"

namespace sealane::flow {

// Closes on destruction what it owns.
class OwnedDescriptor {
 public:
  OwnedDescriptor() = default;
  explicit OwnedDescriptor(int fd) : fd_(fd) {}
  OwnedDescriptor(OwnedDescriptor&& other) noexcept : fd_(other.release()) {}
  OwnedDescriptor& operator=(OwnedDescriptor&& other) noexcept;
  ~OwnedDescriptor() { reset(); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

// Reads `fd`, which it does not own. `name` is for the error sentence. `cancel` may be null.
class DescriptorSource final : public ByteSource {
 public:
  DescriptorSource(int fd, std::string name, Cancellation* cancel)
      : fd_(fd), name_(std::move(name)), cancel_(cancel) {}
  Result<std::size_t, Error> read(MutableByteSpan out) override;

 private:
  int fd_;
  std::string name_;
  Cancellation* cancel_;
};

// Writes to `fd`, which it does not own. A reader that went away is an error, not a signal.
class DescriptorSink final : public ByteSink {
 public:
  DescriptorSink(int fd, std::string name, Cancellation* cancel)
      : fd_(fd), name_(std::move(name)), cancel_(cancel) {}
  Result<void, Error> write(ByteSpan data) override;

 private:
  int fd_;
  std::string name_;
  Cancellation* cancel_;
};

Error interrupted();  // kInterrupted: "interrupted; nothing half-done was left behind"

}  // namespace sealane::flow
