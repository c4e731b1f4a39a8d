#include "backup/blake3_writer.h"

#include <exception>
#include <utility>

#include "base/check.h"
#include "flow/block_pool.h"
#include "flow/halt.h"
#include "flow/ring.h"
#include "flow/thread.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kOwnBlock = 32 * 1024;
// Large enough that handing one over costs nothing beside filling it. With one being filled and one
// being hashed, a third lies ready.
constexpr std::size_t kBlock = 256 * 1024;
constexpr std::size_t kBlockCount = 3;
static_assert(kOwnBlock + kBlockCount * kBlock <= Blake3Writer::kMemory);

}  // namespace

// The thread that hashes, and the blocks that go to it and come back.
class Blake3Writer::Second {
 public:
  explicit Second(crypto::Blake3& hash)
      : hash_(hash), block_(pool_.take(halt_)), thread_([this] { work(); }) {}
  ~Second() { filled_.close(); }
  Second(const Second&) = delete;
  Second& operator=(const Second&) = delete;

  MutableByteSpan block() const { return block_.bytes(); }  // to be filled
  // The block's first `size` bytes are to be hashed; there is another block then.
  void hand_over(std::size_t size) {
    SEALANE_CHECK(filled_.push({.block = std::move(block_), .size = size}, halt_));
    block_ = pool_.take(halt_);
  }

 private:
  struct Filled {
    flow::BlockPool::Block block;
    std::size_t size = 0;
  };
  void work() {
    while (const auto filled = filled_.pop(halt_)) {
      hash_.update(filled->block.bytes().first(filled->size));
    }
  }

  crypto::Blake3& hash_;
  const flow::Halt halt_;  // hashing does not fail, and whoever writes looks for cancellation
  flow::BlockPool pool_{kBlock, kBlockCount};
  flow::Ring<Filled> filled_{kBlockCount};
  flow::BlockPool::Block block_;
  flow::Thread thread_;  // last: ends before the others
};

Blake3Writer::Blake3Writer() : own_block_(kOwnBlock), block_(own_block_) {}
Blake3Writer::~Blake3Writer() = default;

crypto::Blake3Digest Blake3Writer::finish() {
  hand_over();
  second_.reset();
  crypto::Blake3Digest digest;
  hash_.finish(digest);
  return digest;
}

void Blake3Writer::write_across(ByteSpan data) {
  // Blocks are filled to the last byte: whole parts of the hash's tree are quickest.
  while (data.size() > block_.size() - used_) {
    const ByteSpan part = data.first(block_.size() - used_);
    append(part);
    data = data.subspan(part.size());
    hand_over();
  }
  append(data);
}

void Blake3Writer::hand_over() {
  const std::size_t size = std::exchange(used_, 0);
  if (second_) {
    second_->hand_over(size);
    block_ = second_->block();
    return;
  }
  hash_.update(block_.first(size));
  hashed_alone_ += size;
  if (alone_ || hashed_alone_ < kAloneSize) return;
  alone_ = true;
  if (flow::core_count() == 1) return;
  try {
    second_ = std::make_unique<Second>(hash_);
    block_ = second_->block();
  } catch (const std::exception&) {
    // The machine has no more threads, or no more memory: this one does it.
  }
}

}  // namespace sealane::backup
