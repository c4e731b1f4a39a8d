#pragma once
// Sink: where a warm copy goes. It applies parts that were verified before, reads every answer, and
// counts what became of each command.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/warm/source.h"

namespace sealane::warm {

// What became of a command that was not applied. Stable: the names stand in reports.
enum class Cause : std::uint8_t {
  kExists = 0,      // the key is there and stays as it is (fill-missing): skipped, not failed
  kExpired,         // its time was over before it arrived: skipped
  kRefused,         // not on the allow-list; nothing of it was sent
  kOutOfMemory,     // OOM
  kLoading,         // LOADING: the server is starting
  kReadOnly,        // READONLY: it is a replica
  kMoved,           // MOVED, ASK, CROSSSLOT: another node of a cluster has the key
  kPayloadVersion,  // the value was made by a newer server, or is damaged
  kWrongType,       // WRONGTYPE
  kNoPermission,    // NOAUTH, NOPERM
  kDiskFull,        // MISCONF of the server, or no space for a file
  kConnectionLost,  // no answer: it may or may not have been applied; apply the part again
  kOther,
  kSameStore,  // the part was read from where it would go: nothing was done
};
inline constexpr std::size_t kCauseCount = 14;
std::string_view cause_name(Cause cause);  // "exists", "out_of_memory", …
std::string_view advice_for(Cause cause);  // a sentence: what to do; empty for skips
constexpr bool is_skip(Cause cause) { return cause == Cause::kExists || cause == Cause::kExpired; }

struct ApplyCounts {
  std::uint64_t commands = 0;  // = applied + skipped + failed
  std::uint64_t applied = 0;
  std::uint64_t skipped = 0;
  std::uint64_t failed = 0;
  std::array<std::uint64_t, kCauseCount> causes{};  // of what was skipped or failed

  void add(const ApplyCounts& more);
  void count(Cause cause, std::uint64_t commands_of_it = 1);
  friend bool operator==(const ApplyCounts&, const ApplyCounts&) = default;
};
// What most of the failures have in common; nothing if nothing failed.
std::optional<Cause> main_cause(const ApplyCounts& counts);

// `counts` holds in any case. `error`: why the part was not applied to its end, or what its
// failures have in common; nothing if failed == 0.
struct ApplyResult {
  ApplyCounts counts;
  std::optional<Error> error;
};

// The commands of a part as they were received and verified; not all in memory at once.
class PartContent {
 public:
  virtual ~PartContent() = default;
  // The next of them, where they lie: any cut, empty at the end only. Valid until the next call.
  virtual Result<ByteSpan, Error> next() = 0;
};

// What is known about the content. A peer without the extension block gives nothing but the size.
struct PartInfo {
  std::uint64_t size = 0;
  std::optional<ByteArray<32>> digest;
  ByteArray<16> snapshot{};  // zero: unknown
  std::uint32_t index = 0;
  std::uint32_t count = 0;  // 0: unknown
  TokenRange range;
  std::string sender;            // as it calls itself; empty: unknown. Printable
  std::optional<StoreId> store;  // that it was read from
};

// Idempotent: the same part again gives the same state. Thread-safe: parts of several senders may
// come at once.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual std::string description() const = 0;  // without secrets
  // Called once per part, after its digest and origin were checked. An empty part changes nothing.
  virtual ApplyResult apply(const PartInfo& part, PartContent& content) = 0;
  virtual void interrupt() noexcept {}  // any thread: a call that waits fails soon
};

}  // namespace sealane::warm
