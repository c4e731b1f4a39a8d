#include "flow/block_pool.h"

#include <sys/mman.h>

#include <new>

#include "base/check.h"

namespace sealane::flow {
namespace {
constexpr std::size_t kPageSize = 4096;
}  // namespace

void BlockPool::Block::release() {
  if (pool_ != nullptr) std::exchange(pool_, nullptr)->give_back(bytes_.data());
  bytes_ = {};
}

BlockPool::BlockPool(std::size_t block_size, std::size_t count)
    : block_size_(block_size),
      stride_((block_size + kPageSize - 1) / kPageSize * kPageSize),
      mapping_size_(stride_ * count) {
  SEALANE_CHECK(block_size > 0 && count > 0);
  free_.reserve(count);
  void* mapping = ::mmap(nullptr, mapping_size_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  for (std::size_t i = count; i-- > 0;) free_.push_back(mapping_ + i * stride_);
}

BlockPool::~BlockPool() {
  SEALANE_CHECK(free_count() * stride_ == mapping_size_);
  ::munmap(mapping_, mapping_size_);
}

BlockPool::Block BlockPool::take(const Halt& halt) {
  std::unique_lock lock(mutex_);
  while (free_.empty()) {
    if (halt.stopped()) return {};
    freed_.wait_for(lock, kHaltPoll);
  }
  if (halt.stopped()) return {};
  std::byte* start = free_.back();
  free_.pop_back();
  return Block(this, MutableByteSpan(start, block_size_));
}

std::size_t BlockPool::free_count() const {
  const std::lock_guard lock(mutex_);
  return free_.size();
}

void BlockPool::give_back(std::byte* start) {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(start);  // never allocates: reserved for all
  }
  freed_.notify_one();
}

}  // namespace sealane::flow
