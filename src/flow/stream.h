#pragma once
// ByteSource, ByteSink, Cancellation: how bytes enter and leave a flow.
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "sealane/base/bytes.h"
#include "sealane/base/error.h"

namespace sealane::flow {

// Where bytes come from. Blocking; one thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // 1 .. out.size() bytes, or 0 at the end. The end is only a good end if the source says success.
  virtual Result<std::size_t, Error> read(MutableByteSpan out) = 0;
};

// Where bytes go. Blocking; one thread at a time.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void, Error> write(ByteSpan data) = 0;
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
