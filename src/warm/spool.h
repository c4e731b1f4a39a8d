#pragma once
// Spool: where a snapshot is kept until it is whole and verified: in memory while it is small, then
// in a file without a name, which nobody else opens and no crash leaves behind.
#include <memory>
#include <string>

#include "sealane/base/file_system.h"
#include "sealane/base/random.h"
#include "sealane/warm/sink.h"

namespace sealane::warm {

// Not thread-safe; the content may be read on another thread once nothing is written any more.
class Spool {
 public:
  static constexpr std::size_t kInMemory = 1024 * 1024;  // bounds the memory of one connection

  // `folder` holds the file; it must exist by the time that one is needed.
  Spool(FileSystem& files, RandomSource& random, std::string folder)
      : files_(files), random_(random), folder_(std::move(folder)) {}
  // An error is final: what was written before is of no use any more.
  Result<void, Error> write(ByteSpan data);
  std::uint64_t size() const { return size_; }

  // From its first byte. It must not outlive the spool.
  class Content final : public PartContent {
   public:
    explicit Content(Spool& spool) : spool_(spool) {}
    Result<std::size_t, Error> read(MutableByteSpan out) override;

   private:
    Spool& spool_;
    std::uint64_t at_ = 0;
  };

 private:
  Result<void, Error> open_file();
  FileSystem& files_;
  RandomSource& random_;
  std::string folder_;
  Bytes memory_;
  std::unique_ptr<File> file_;  // behind what is in memory
  std::uint64_t size_ = 0;
};

}  // namespace sealane::warm
