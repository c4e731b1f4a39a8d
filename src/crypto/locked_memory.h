#pragma once
// LockedSecret: a secret that must outlive one call and must reach neither swap nor a core dump:
// the file key that waits for its drill.
#include "sealane/base/bytes.h"

namespace sealane::crypto {

// Own pages, read-only, between guard pages: mlock, MADV_DONTDUMP, MADV_WIPEONFORK; wiped on
// destruction. Where mlock is refused (RLIMIT_MEMLOCK) it still works and locked() is false, so
// that the caller can say so.
class LockedSecret {
 public:
  explicit LockedSecret(ByteSpan secret);  // REQUIRES: 1 .. 4096 bytes
  ~LockedSecret();
  LockedSecret(LockedSecret&& other) noexcept;
  LockedSecret& operator=(LockedSecret&&) = delete;
  ByteSpan expose() const;
  bool locked() const { return locked_; }

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapping_size_ = 0;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  bool locked_ = false;
};

}  // namespace sealane::crypto
