#pragma once
// BlockPool: a fixed number of equal blocks. To own a block is the credit to put data in flight, so
// whoever has no block waits, and memory stays flat whatever flows.
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "flow/halt.h"
#include "sealane/base/bytes.h"

namespace sealane::flow {

// Thread-safe. Outlives its blocks.
class BlockPool {
 public:
  // Move-only; goes back to the pool when destroyed. Its content is what the last owner left.
  class Block {
   public:
    Block() = default;
    Block(Block&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), bytes_(std::exchange(other.bytes_, {})) {}
    Block& operator=(Block&& other) noexcept {
      if (this != &other) {
        release();
        pool_ = std::exchange(other.pool_, nullptr);
        bytes_ = std::exchange(other.bytes_, {});
      }
      return *this;
    }
    ~Block() { release(); }
    explicit operator bool() const { return pool_ != nullptr; }
    MutableByteSpan bytes() const { return bytes_; }  // page-aligned
    void release();                                   // early; then it is empty

   private:
    friend class BlockPool;
    Block(BlockPool* pool, MutableByteSpan bytes) : pool_(pool), bytes_(bytes) {}
    BlockPool* pool_ = nullptr;
    MutableByteSpan bytes_;
  };

  // One mapping whose pages come when first touched. Throws std::bad_alloc. REQUIRES: both > 0.
  BlockPool(std::size_t block_size, std::size_t count);
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // Waits for a free block, the one used last first (its cache lines are warm). Empty once `halt`
  // stopped.
  Block take(const Halt& halt);
  std::size_t block_size() const { return block_size_; }
  std::size_t free_count() const;

 private:
  void give_back(std::byte* start);
  std::size_t block_size_;
  std::size_t stride_;
  std::size_t mapping_size_;
  std::byte* mapping_ = nullptr;
  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::byte*> free_;
};

}  // namespace sealane::flow
