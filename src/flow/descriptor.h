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

// Reads a descriptor that it does not own. read() wakes on `cancel`, which may be null, and on
// interrupt(). `name` is for the error sentence: "standard input", a path.
class DescriptorSource final : public ByteSource, public PositionalSource {
 public:
  DescriptorSource(int descriptor, std::string name, const Cancellation* cancel);
  Result<std::size_t, Error> read(MutableByteSpan out) override;
  // Positional where the descriptor is a regular file; from where its offset stands now.
  PositionalSource* positional() override;
  Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan out) override;
  void interrupt() noexcept override { interrupted_.cancel(); }

 private:
  int descriptor_;
  std::string name_;
  const Cancellation* cancel_;
  Cancellation interrupted_;
  bool may_wait_;
  std::uint64_t start_ = 0;  // of what positional() gives
};

// As above. A reader that went away is an error, not a signal (SIGPIPE must be ignored). Does not
// block in write(2), where it could not be woken: a pipe is opened again with an O_NONBLOCK of its
// own, because that flag of the given descriptor is shared with other processes.
class DescriptorSink final : public ByteSink {
 public:
  DescriptorSink(int descriptor, std::string name, const Cancellation* cancel);
  Result<void, Error> write(ByteSpan data) override;
  void interrupt() noexcept override { interrupted_.cancel(); }

 private:
  int descriptor_;
  std::string name_;
  const Cancellation* cancel_;
  Cancellation interrupted_;
  bool may_wait_;
  OwnedDescriptor own_;  // if valid, descriptor_ is this one, non-blocking
};

Error interrupted();  // kInterrupted: "interrupted; nothing half-done was left behind"

}  // namespace sealane::flow
