#pragma once
// Blake3Writer: the BLAKE3 hash of what is written, hashed beside the writing once it is much.
#include <cstddef>
#include <memory>

#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "sealane/base/bytes.h"

namespace sealane::backup {

// For many small pieces: they are gathered, and the hash gets whole blocks. What makes the pieces
// is slower than the hash; so from kAloneSize bytes on a second thread hashes while the caller goes
// on. Not thread-safe. Memory: kMemory bytes at most.
class Blake3Writer {
 public:
  // Less than this is hashed before a thread would have started.
  static constexpr std::size_t kAloneSize = 1024 * 1024;
  static constexpr std::size_t kMemory = 1024 * 1024;

  Blake3Writer();
  ~Blake3Writer();
  Blake3Writer(const Blake3Writer&) = delete;
  Blake3Writer& operator=(const Blake3Writer&) = delete;

  void write(ByteSpan data) {
    if (data.size() > block_.size() - used_) return write_across(data);
    append(data);
  }
  crypto::Blake3Digest finish();  // once, and then no more write()

 private:
  class Second;
  void append(ByteSpan data) {
    copy_bytes(data, block_.begin() + static_cast<std::ptrdiff_t>(used_));
    used_ += data.size();
  }
  void write_across(ByteSpan data);
  void hand_over();

  crypto::Blake3 hash_;    // the second thread's while there is one
  Bytes own_block_;        // until there is a second thread
  MutableByteSpan block_;  // that is being filled
  std::size_t used_ = 0;
  std::size_t hashed_alone_ = 0;
  bool alone_ = false;  // whatever comes: asked once
  std::unique_ptr<Second> second_;
};

}  // namespace sealane::backup
