#pragma once
// A push: all parts of a source to one place, several at a time, resumed where it was cut. What the
// place is (a peer, a Redis, a file) comes in as a function.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "flow/stream.h"
#include "sealane/base/seams.h"
#include "sealane/warm/sink.h"

namespace sealane::warm {

enum class PartFate : std::uint8_t {
  kApplied = 1,  // all of it was applied, or skipped as the mode wants it
  kPartly,       // some commands failed
  kUnknown,      // delivered to a peer that never says what became of it
  kLater,        // not taken this time: busy, or cut; trying again may help
  kRefused,      // not taken, and will not be
};
struct PartOutcome {
  PartFate fate = PartFate::kUnknown;
  ApplyCounts counts;
  std::string why;                      // of the last two, and of failures: a sentence
  ErrorKind kind = ErrorKind::kFailed;  // of kLater, if it stays so
  std::string_view cause = {};          // of failures, a literal: see cause_name(); empty: unknown
};
// An error ends the push at once. Thread-safe.
using SendPart = std::function<Result<PartOutcome, Error>(const Part& part)>;

// Straight into a sink, without a peer in between. The sink must outlive it.
SendPart send_to(Sink& sink);

struct PushPlan {
  // Parts under way at once: one is read while the other is sent. Each costs its size of memory.
  unsigned parallel = 2;
  unsigned tries = 6;       // of one part that is not taken
  std::string journal;      // a file that says how far it came; empty: none
  bool start_over = false;  // a journal that is there is not used
};
inline constexpr unsigned kMaxParallel = 16;  // bounds memory and connections

struct PushSummary {
  Source::Progress source;
  ApplyCounts counts;  // as the other side counted
  std::uint64_t parts = 0;
  std::uint64_t unknown_parts = 0;
  std::uint64_t keys = 0;  // complete ones in the parts that were sent
  std::uint64_t bytes = 0;
  std::uint64_t retries = 0;
  ByteArray<32> digest{};  // SHA-256 over the digests of the parts sent, in their order
  bool resumed = false;    // behind parts of an earlier run, which are not counted here
  std::string cause;       // of the first part that failed, as of PartOutcome
  // Why it is not certain that the other side has all; empty if it is.
  std::string unproven;
  bool proven() const { return unproven.empty(); }
};

// Readable by any thread while it runs.
struct PushCounters {
  std::atomic<std::uint64_t> parts{0};
  std::atomic<std::uint64_t> bytes{0};  // of commands of parts that were taken
  std::atomic<std::uint64_t> retries{0};
  // After push_all() has returned an error: what had arrived until then.
  PushSummary before_error;
};

// Ends when all parts were taken, or at the first that will not be. A cut leaves the journal; a
// complete run removes it. kLocked: another push of the same journal is under way.
Result<PushSummary, Error> push_all(Source& source, const SendPart& send, const PushPlan& plan,
                                    FileSystem& files, RandomSource& random,
                                    flow::Cancellation& cancel, PushCounters& counters);

}  // namespace sealane::warm
