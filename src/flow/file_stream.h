#pragma once
// Regular files of the file system seam as sources and sinks, positional.
#include "flow/stream.h"
#include "sealane/base/seams.h"

namespace sealane::flow {

// From the file's start to its end. `file` must be as new: nothing read or written by its read() or
// write() but here. It stays the caller's.
class FileSource final : public ByteSource, public PositionalSource {
 public:
  explicit FileSource(File& file) : file_(file) {}
  Result<std::size_t, Error> read(MutableByteSpan out) override;
  Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan out) override;
  PositionalSource* positional() override { return this; }

 private:
  File& file_;
  std::uint64_t start_ = 0;  // behind what read() gave
};

class FileSink final : public ByteSink, public PositionalSink {
 public:
  explicit FileSink(File& file) : file_(file) {}
  Result<void, Error> write(ByteSpan data) override;
  Result<void, Error> write_at(std::uint64_t offset, ByteSpan data) override;
  PositionalSink* positional() override { return this; }

 private:
  File& file_;
  std::uint64_t start_ = 0;  // behind what write() took
};

}  // namespace sealane::flow
