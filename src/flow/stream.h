#pragma once
// ByteSource, ByteSink, Cancellation: how bytes enter and leave a flow.
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::flow {

// Reading at any place, by several threads at once. Offset 0: see positional().
class PositionalSource {
 public:
  virtual ~PositionalSource() = default;
  // Fewer bytes than asked only where the source ends.
  virtual Result<std::size_t, Error> read_at(std::uint64_t offset, MutableByteSpan out) = 0;
};

// Writing at any place, by several threads at once. Offset 0: see positional().
class PositionalSink {
 public:
  virtual ~PositionalSink() = default;
  virtual Result<void, Error> write_at(std::uint64_t offset, ByteSpan data) = 0;  // all of it
};

// Where bytes come from. Blocking; one thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // 1 .. out.size() bytes, or 0 at the end. The end is only a good end if the source says success.
  virtual Result<std::size_t, Error> read(MutableByteSpan out) = 0;
  // Not null where bytes may be read in any order (a regular file). Owned by the source. Its offset
  // 0 is the byte that read() would give next; from then on a caller uses this alone.
  virtual PositionalSource* positional() { return nullptr; }
  // Called from another thread: the flow has failed elsewhere, so a read() that waits should return
  // any error soon. Sources that never wait long need not care.
  virtual void interrupt() noexcept {}
};

// Where bytes go. Blocking; one thread at a time.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void, Error> write(ByteSpan data) = 0;
  // As of a source. Only for a place where nobody looks before the whole is there and verified.
  virtual PositionalSink* positional() { return nullptr; }
  virtual void interrupt() noexcept {}  // as of a source
};

// A request to stop that every stage sees. Thread-safe; set once. Its descriptor becomes readable,
// so that blocked readers wake (poll it beside the pipe).
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;
  void cancel() noexcept;  // async-signal-safe
  bool cancelled() const noexcept { return cancelled_.load(std::memory_order_relaxed); }
  int descriptor() const noexcept { return event_; }

 private:
  std::atomic<bool> cancelled_{false};
  int event_ = -1;
};

// Counts that a progress bar may read at any time.
struct FlowCounters {
  std::atomic<std::uint64_t> plain_bytes{
      0};  // read from the source, or written to the sink on the way back
  std::atomic<std::uint64_t> packed_bytes{0};  // after compression, before sealing
  std::atomic<std::uint64_t> sealed_bytes{0};
};

}  // namespace sealane::flow
