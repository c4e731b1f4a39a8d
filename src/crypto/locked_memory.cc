#include "crypto/locked_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "sealane/base/secret.h"

namespace sealane::crypto {

LockedSecret::LockedSecret(ByteSpan secret) : size_(secret.size()) {
  SEALANE_CHECK(!secret.empty() && secret.size() <= 4096);
  const auto page_size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inner_size = (secret.size() + page_size - 1) / page_size * page_size;
  mapping_size_ = inner_size + 2 * page_size;
  void* mapping = mmap(nullptr, mapping_size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  std::byte* const inner = mapping_ + page_size;
  // The pages between two that stay inaccessible. The secret ends where the second one begins, so
  // that reading past its end faults.
  SEALANE_CHECK(mprotect(inner, inner_size, PROT_READ | PROT_WRITE) == 0);
  SEALANE_CHECK(madvise(inner, inner_size, MADV_DONTDUMP) == 0);
  SEALANE_CHECK(madvise(inner, inner_size, MADV_WIPEONFORK) == 0);
  locked_ = mlock(inner, inner_size) == 0;
  data_ = inner + inner_size - size_;
  copy_bytes(secret, data_);
  SEALANE_CHECK(mprotect(inner, inner_size, PROT_READ) == 0);
}

LockedSecret::LockedSecret(LockedSecret&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_size_(std::exchange(other.mapping_size_, 0)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      locked_(std::exchange(other.locked_, false)) {}

LockedSecret::~LockedSecret() {
  if (mapping_ == nullptr) return;
  const auto page_size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t inner_size = mapping_size_ - 2 * page_size;
  std::byte* const inner = mapping_ + page_size;
  SEALANE_CHECK(mprotect(inner, inner_size, PROT_READ | PROT_WRITE) == 0);
  cleanse({inner, inner_size});
  SEALANE_CHECK(munmap(mapping_, mapping_size_) == 0);  // unlocks too
}

ByteSpan LockedSecret::expose() const { return {data_, size_}; }

}  // namespace sealane::crypto
