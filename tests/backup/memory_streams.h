#pragma once
// Sources and sinks in memory: short reads, faults at a given call, positional or not, and counts.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>

#include "base/copy_bytes.h"
#include "flow/stream.h"

namespace sealane::testing {

class MemorySource final : public flow::ByteSource, public flow::PositionalSource {
 public:
  explicit MemorySource(ByteSpan content) : content_(content) {}
  bool is_positional = false;
  bool short_reads = false;
  std::uint64_t fails_at = UINT64_MAX;  // the call, from 0, that fails
  std::function<void()> before_read = {};
  std::atomic<std::uint64_t> calls{0};

  Result<std::size_t, Error> read(MutableByteSpan out) override {
    SEALANE_TRY(step());
    std::size_t size = std::min(out.size(), content_.size());
    if (short_reads && size > 1) size = 1 + random_() % std::min<std::size_t>(size, 100'000);
    copy_bytes(content_.first(size), out.begin());
    content_ = content_.subspan(size);
    return size;
  }
  Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan out) override {
    SEALANE_TRY(step());
    if (offset >= content_.size()) return std::size_t{0};
    const auto rest = content_.subspan(static_cast<std::size_t>(offset));
    const std::size_t size = std::min(out.size(), rest.size());
    copy_bytes(rest.first(size), out.begin());
    return size;
  }
  flow::PositionalSource* positional() override { return is_positional ? this : nullptr; }

 private:
  Result<void, Error> step() {
    if (before_read) before_read();
    if (calls++ == fails_at) return Error{ErrorKind::kFailed, "the source failed"};
    return success();
  }
  ByteSpan content_;
  std::minstd_rand random_{11};
};

class MemorySink final : public flow::ByteSink, public flow::PositionalSink {
 public:
  bool is_positional = false;
  std::uint64_t fails_at = UINT64_MAX;
  std::function<void()> before_write = {};
  std::atomic<std::uint64_t> calls{0};
  Bytes content = {};

  Result<void, Error> write(ByteSpan data) override {
    SEALANE_TRY(step());
    content.insert(content.end(), data.begin(), data.end());
    return success();
  }
  Result<void, Error> write_at(std::uint64_t offset, ByteSpan data) override {
    SEALANE_TRY(step());
    const std::lock_guard lock(mutex_);
    const auto at = static_cast<std::size_t>(offset);
    if (content.size() < at + data.size()) content.resize(at + data.size());
    copy_bytes(data, content.begin() + static_cast<std::ptrdiff_t>(at));
    return success();
  }
  flow::PositionalSink* positional() override { return is_positional ? this : nullptr; }

 private:
  Result<void, Error> step() {
    if (before_write) before_write();
    if (calls++ == fails_at) return Error{ErrorKind::kFailed, "the sink failed"};
    return success();
  }
  std::mutex mutex_;
};

// In one call: the loop of std::equal() takes most of a test's time under sanitizers.
inline bool same_bytes(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

inline Bytes random_bytes(std::size_t size, unsigned seed) {
  std::mt19937_64 engine(seed);
  std::vector<std::uint64_t> words(size / 8 + 1);
  for (std::uint64_t& word : words) word = engine();
  return to_bytes(std::as_bytes(std::span(words)).first(size));
}
// Text-like: compresses well, and not to nothing.
inline Bytes compressible_bytes(std::size_t size, unsigned seed) {
  std::minstd_rand engine(seed);
  std::vector<std::uint64_t> words(size / 8 + 1);
  for (std::uint64_t& word : words) word = 0x6161616161616161 + (engine() & 0x0F000F0F00000F0F);
  return to_bytes(std::as_bytes(std::span(words)).first(size));
}

}  // namespace sealane::testing
