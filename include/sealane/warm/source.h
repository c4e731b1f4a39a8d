#pragma once
// Source: what a warm copy reads. It yields parts: bounded, self-contained runs of Redis commands
// that may be applied in any order and again, so that a cut costs one part and never a key.
// Formats: docs/protocol/warm.md.
#include <cstdint>
#include <optional>
#include <string>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::warm {

// Tokens (token_of() of the key) in (start, end] on a ring of 2^32: the start is exclusive, the end
// inclusive, a start that is not below the end goes over the top. Equal ends: the whole ring.
struct TokenRange {
  std::uint32_t start = 0;
  std::uint32_t end = 0;
  bool whole() const { return start == end; }
  bool contains(std::uint32_t token) const {
    if (whole()) return true;
    return start < end ? token > start && token <= end : token > start || token <= end;
  }
  friend bool operator==(const TokenRange&, const TokenRange&) = default;
};

// Where a Dynomite cluster with its default hash ("murmur", no hash tag) keeps the key: MurmurHash2
// of 32 bits of the whole key, seeded with its length times 0xdeadbeef.
std::uint32_t token_of(ByteSpan key);

// Where a source stands behind a part: text that only its source reads; printable ASCII without
// blanks, at most kMaxCursorSize.
using PartCursor = std::string;
inline constexpr std::size_t kMaxCursorSize = 4096;  // bounds a journal's line

// Names the data of a store: in its first half who serves it, whatever address leads there, in its
// second the history that replicas share. Zeros: not known.
using StoreId = ByteArray<16>;
bool is_same_store(const StoreId& a, const StoreId& b);  // in one of the halves

// Bounds what one part may take of memory, whatever was asked for.
inline constexpr std::size_t kMaxPartSize = std::size_t{1} << 30;

// Whole RESP commands (arrays of bulk strings), never cut. Applied twice it changes nothing more.
struct Part {
  Bytes commands;
  ByteArray<32> digest{};              // SHA-256 of `commands`
  std::uint32_t index = 0;             // in its series, from 0
  std::optional<std::uint32_t> count;  // of the series' parts, where the source knows it
  std::uint64_t keys = 0;              // complete keys in it
  std::uint64_t command_count = 0;
  TokenRange range;  // no key of the part lies outside
  // It goes on with a key of the part before it: apply it after that one, and only if that one was
  // applied whole.
  bool continues = false;
  PartCursor behind;  // resume() with this goes on after the part
};

// Blocking; one thread at a time, but interrupt(), progress().
class Source {
 public:
  struct Progress {
    std::uint64_t keys = 0;                   // read so far
    std::optional<std::uint64_t> total_keys;  // of the store; an estimate
    std::uint64_t vanished = 0;               // deleted or expired between listing and reading
    std::uint64_t left_out = 0;  // cannot be read whole: changing all the time, or of no kind that
                                 // can be written as commands. Then the copy is not complete
    std::uint64_t out_of_range = 0;  // left out: token outside the wanted range
    std::uint64_t bytes = 0;         // of commands made
  };
  virtual ~Source() = default;
  virtual std::string description() const = 0;  // without secrets
  // Which data it reads, so that nobody writes to that; nothing if it is not known.
  virtual std::optional<StoreId> store() const { return std::nullopt; }
  // Before the first next(): goes on behind the part that gave `behind`. False: it cannot, because
  // the store is another one since (a restart, another hash seed); then it starts at the beginning,
  // which is harmless. An error if `behind` was not made by such a source.
  virtual Result<bool, Error> resume(const PartCursor& behind) = 0;
  // The next part; nothing at the end of all data. An error is final: what was handed out before
  // stays good, and a new source may resume behind it.
  virtual Result<std::optional<Part>, Error> next() = 0;
  // Memory of a part that was handed out and is done with, for one to come: it saves the system
  // the pages.
  virtual void reuse(Bytes&& memory) { static_cast<void>(memory); }
  virtual Progress progress() const { return {}; }  // any thread
  // Bytes of commands a second from now on; 0: no limit. Any thread, at any time.
  virtual void set_rate(std::uint64_t bytes_per_second) { static_cast<void>(bytes_per_second); }
  virtual void interrupt() noexcept {}  // any thread: a call that waits fails soon
};

// Fills in digest and the counts of `commands`, which must be whole commands.
Part make_part(Bytes commands, std::uint64_t keys, std::uint64_t command_count);

}  // namespace sealane::warm
