#pragma once
// Spool: where a snapshot is kept until it is whole and verified: in memory while there is some,
// then in a file without a name, which nobody else opens and no crash leaves behind.
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sealane/base/seams.h"
#include "sealane/warm/sink.h"

namespace sealane::warm {

// The memory of all spools of one server: whoever comes first has it. Thread-safe.
class SpoolMemory {
 public:
  using Block = std::unique_ptr<std::byte[]>;
  static constexpr std::size_t kBlockSize = 1024 * 1024;
  // Of what nobody uses, to be used again: one part, and what is left out of its blocks.
  static constexpr std::size_t kMaxKept = 36;

  explicit SpoolMemory(std::size_t size) : max_blocks_(size / kBlockSize) {}
  Block take();  // null: all is taken
  void give_back(Block block);

 private:
  const std::size_t max_blocks_;
  std::mutex mutex_;
  std::vector<Block> kept_;
  std::size_t taken_ = 0;
};

// Not thread-safe; the content may be read on another thread once nothing is written any more.
// Memory: blocks of SpoolMemory, a span for each kWorthASpan bytes in them, and what is read of a
// file at a time.
class Spool {
 public:
  // `folder` holds the file; it must exist by the time that one is needed. The rest must outlive
  // the spool.
  Spool(FileSystem& files, RandomSource& random, SpoolMemory& memory, std::string folder)
      : files_(files), random_(random), memory_(memory), folder_(std::move(folder)) {}
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  // Whether a file can be made in `folder`. Leaves nothing there.
  static Result<void, Error> check_folder(FileSystem& files, RandomSource& random,
                                          const std::string& folder);
  // A piece of a block is kept in place from this size on. Smaller ones are moved to the one
  // before: else a peer of tiny chunks could make the spans larger than what they stand for.
  static constexpr std::size_t kWorthASpan = 1024;

  // Memory that write() keeps in place, `least` bytes of it or more: so it need not be copied
  // there. Empty: there is no more memory. Valid, and no part of the content, until the next call
  // of either. REQUIRES: least is 1..SpoolMemory::kBlockSize.
  MutableByteSpan room(std::size_t least);
  // What lies in the last room() is kept in place, in the order of the calls and of the room; the
  // room stays valid behind it. Else it is copied. An error is final: what was written before is of
  // no use any more.
  Result<void, Error> write(ByteSpan data);
  std::uint64_t size() const { return size_; }

  // From its first byte. It must not outlive the spool.
  class Content final : public PartContent {
   public:
    explicit Content(Spool& spool) : spool_(spool) {}
    Result<ByteSpan, Error> next() override;

   private:
    static constexpr std::size_t kReadSize = 256 * 1024;
    Spool& spool_;
    std::size_t given_ = 0;  // of the pieces
    std::uint64_t file_at_ = 0;
    Bytes buffer_;  // of the file
  };

 private:
  bool in_room(ByteSpan data) const;
  void keep(ByteSpan data);
  static Result<std::unique_ptr<File>, Error> make_file(FileSystem& files, RandomSource& random,
                                                        const std::string& folder);
  FileSystem& files_;
  RandomSource& random_;
  SpoolMemory& memory_;
  std::string folder_;
  std::vector<SpoolMemory::Block> blocks_;
  std::size_t filled_ = SpoolMemory::kBlockSize;  // of the last block
  std::vector<ByteSpan> pieces_;                  // of the content, in the blocks
  std::unique_ptr<File> file_;                    // behind them
  std::uint64_t size_ = 0;
  std::uint64_t file_size_ = 0;
};

}  // namespace sealane::warm
