#pragma once
// StreamSealer, StreamOpener: a sealed format as the engine sees it, one chunk at a time. Chunks
// are independent, so workers on several threads seal and open them; the engine keeps their order.
#include <cstdint>
#include <memory>
#include <string_view>
#include <variant>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::seal {

enum class SealError : std::uint8_t {
  kNotThisFormat = 1,
  kHeaderMalformed,  // an age header that we would not have written
  kHeaderTooLarge,
  kNoMatchingKey,     // well-formed, and none of the keys opens it
  kPassphraseNeeded,  // sealed with a passphrase, and none was given
  kWrongPassphrase,
  kWorkFactorTooHigh,  // also: the memory for it is not there
  kBadRecipient,       // sealing: a recipient's key is no usable curve point
  kHeaderMac,          // the header was changed after it was made
  kArmor,              // malformed armor
  kTruncated,
  kNotAuthentic,   // a chunk was changed, moved or sealed under another key
  kLastChunk,      // age: the same of a last chunk that is no full one: it may also be cut short
  kFrameTooSmall,  // chunk stream v1: length below 28
  kFrameTooLarge,  // chunk stream v1: length above 1048604
  kNoncanonical,   // chunks are authentic, but not cut as a writer must cut them
  kTrailingData,
};
std::string_view describe(SealError error);  // a clause: "the data ends too early (truncated)"

// Immutable; safe to use from several threads.
class StreamSealer {
 public:
  class Worker {  // one per thread
   public:
    virtual ~Worker() = default;
    // Writes plaintext.size() + chunk_overhead() bytes. REQUIRES: plaintext.size() == chunk_size(),
    // or smaller and `last`; not empty, except as the only chunk where seals_empty().
    // Each index is sealed at most once per stream.
    virtual void seal(std::uint64_t index, bool last, ByteSpan plaintext, MutableByteSpan out) = 0;
  };
  virtual ~StreamSealer() = default;
  virtual std::unique_ptr<Worker> make_worker() const = 0;
  virtual ByteSpan header() const = 0;             // before the first chunk
  virtual ByteSpan trailer() const = 0;            // after the last chunk
  virtual std::size_t chunk_size() const = 0;      // plaintext bytes
  virtual std::size_t chunk_overhead() const = 0;  // sealed size - plaintext size, per chunk
  virtual bool seals_empty() const = 0;            // empty input is one empty chunk (age), not none
};

// Where the next chunk lies in the bytes that were offered.
struct SealedChunk {
  std::size_t size = 0;            // sealed bytes taken from the input, framing included
  std::size_t plaintext_size = 0;  // what open() will write
  bool last = false;
  // Not cut as a writer must cut it. open() still authenticates it first, so that damage is
  // reported as damage, and then refuses with kNoncanonical.
  bool noncanonical = false;
};
enum class BytesNeeded : std::size_t {};  // offer at least this many bytes, or say at_end
struct StreamEnd {
  std::size_t size = 0;  // bytes of the end marker; what follows is trailing data
};

// After the header. next() is called in order by one thread, workers run anywhere.
class StreamOpener {
 public:
  class Worker {  // one per thread
   public:
    virtual ~Worker() = default;
    // `chunk` and its bytes as next() cut them. REQUIRES: out.size() == chunk.plaintext_size. On
    // failure `out` is zeroed.
    virtual Result<void, SealError> open(std::uint64_t index, const SealedChunk& chunk,
                                         ByteSpan sealed, MutableByteSpan out) = 0;
  };
  virtual ~StreamOpener() = default;
  virtual std::unique_ptr<Worker> make_worker() const = 0;
  using Step = std::variant<BytesNeeded, SealedChunk, StreamEnd>;
  // `rest`: all unread bytes at hand. `at_end`: nothing follows them. Errors are final.
  virtual Result<Step, SealError> next(ByteSpan rest, bool at_end) = 0;
  virtual std::size_t max_sealed_size() const = 0;     // of one chunk, framing included
  virtual std::size_t max_plaintext_size() const = 0;  // of one chunk
};

}  // namespace sealane::seal
