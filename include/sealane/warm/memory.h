#pragma once
// MemorySource, MemorySink: a warm copy that stays in the process; for embedders and tests.
#include <mutex>
#include <utility>
#include <vector>

#include "sealane/warm/sink.h"
#include "sealane/warm/source.h"

namespace sealane::warm {

// Yields the given parts. Its cursors are the numbers of parts handed out.
class MemorySource final : public Source {
 public:
  explicit MemorySource(std::vector<Part> parts);  // numbers them
  std::string description() const override { return "memory"; }
  Result<bool, Error> resume(const PartCursor& behind) override;
  Result<std::optional<Part>, Error> next() override;
  Progress progress() const override;

 private:
  mutable std::mutex mutex_;
  std::vector<Part> parts_;
  std::size_t at_ = 0;
};

// Keeps what it is given, whole parts only; counts each command as applied. Refuses content that is
// no whole RESP commands, and keeps nothing of it.
class MemorySink final : public Sink {
 public:
  struct Kept {
    PartInfo info;
    Bytes commands;
  };
  // `limit`: of all that is kept, in bytes; a part above it fails with kOutOfMemory.
  explicit MemorySink(std::size_t limit = kMaxPartSize) : limit_(limit) {}
  std::string description() const override { return "memory"; }
  ApplyResult apply(const PartInfo& part, PartContent& content) override;
  std::vector<Kept> take();

 private:
  std::mutex mutex_;
  std::size_t limit_;
  std::size_t size_ = 0;
  std::vector<Kept> kept_;
};

// The bytes of a span as content; they must outlive it.
class MemoryContent final : public PartContent {
 public:
  explicit MemoryContent(ByteSpan bytes) : rest_(bytes) {}
  Result<ByteSpan, Error> next() override { return std::exchange(rest_, {}); }

 private:
  ByteSpan rest_;
};

}  // namespace sealane::warm
