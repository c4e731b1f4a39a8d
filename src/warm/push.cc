#include "warm/push.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>

#include "base/backoff.h"
#include "base/check.h"
#include "crypto/hash.h"
#include "flow/descriptor.h"
#include "flow/thread.h"
#include "sealane/warm/memory.h"

namespace sealane::warm {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kJournalMark = "sealane-warm-journal 1\n";
constexpr std::size_t kMaxJournalSize = kMaxCursorSize + 64;
constexpr milliseconds kFirstPause{200};
constexpr milliseconds kLongestPause{10'000};

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

// How far a push came: the cursor behind the last part of those that were all taken.
class Journal {
 public:
  Journal(FileSystem& files, RandomSource& random, std::string path)
      : files_(files), random_(random), path_(std::move(path)) {}

  Result<std::optional<PartCursor>, Error> open() {
    if (path_.empty()) return std::optional<PartCursor>();
    auto lock = files_.lock(path_ + ".lock");
    if (!lock.has_value()) {
      if (lock.error().code == EWOULDBLOCK) {
        return Error{ErrorKind::kLocked,
                     "another push of the same store to the same place is "
                     "under way; wait for it, or stop it"};
      }
      return to_error(lock.error());
    }
    lock_ = std::move(lock).value();
    const auto content = read_file(files_, path_, kMaxJournalSize);
    if (!content.has_value()) {
      if (content.error().code == ENOENT) return std::optional<PartCursor>();
      return to_error(content.error());
    }
    const std::string_view text = as_text(content.value());
    if (!text.starts_with(kJournalMark) || !text.ends_with('\n')) {
      return failed(path_ + " is no journal of a push; remove it, or push with --start-over");
    }
    return std::optional(
        std::string(text.substr(kJournalMark.size(), text.size() - kJournalMark.size() - 1)));
  }
  Result<void, Error> write(const PartCursor& behind) {
    // A source that cannot go on in its middle has one cursor for all of its parts.
    if (path_.empty() || behind == written_) return success();
    const std::string text = std::string(kJournalMark) + behind + "\n";
    if (auto done = replace_file(files_, random_, path_, as_bytes(text)); !done.has_value()) {
      return to_error(done.error());
    }
    written_ = behind;
    return success();
  }
  // Removes the journal; the lock file stays, as another push may hold it.
  Result<void, Error> remove() {
    if (path_.empty()) return success();
    auto gone = files_.remove(path_);
    if (!gone.has_value() && gone.error().code != ENOENT) return to_error(gone.error());
    return success();
  }

 private:
  FileSystem& files_;
  RandomSource& random_;
  std::string path_;
  std::unique_ptr<FileLock> lock_;
  PartCursor written_;
};

class Push {
 public:
  Push(Source& source, const SendPart& send, const PushPlan& plan, FileSystem& files,
       RandomSource& random, flow::Cancellation& cancel, PushCounters& counters)
      : source_(source),
        send_(send),
        plan_(plan),
        random_(random),
        cancel_(cancel),
        counters_(counters),
        journal_(files, random, plan.journal) {}

  Result<PushSummary, Error> run() {
    SEALANE_TRY(const auto cursor, journal_.open());
    if (cursor && !plan_.start_over) {
      SEALANE_TRY(summary_.resumed, source_.resume(*cursor));
    }
    {
      std::list<flow::Thread> threads;
      const unsigned count = std::clamp(plan_.parallel, 1U, kMaxParallel);
      for (unsigned i = 1; i < count; ++i) threads.emplace_back([this] { work(); });
      work();
    }
    summary_.source = source_.progress();
    summary_.retries = counters_.retries;
    summary_.digest = digest_.finish();
    if (error_ || cancel_.cancelled()) {
      counters_.before_error = summary_;
      return error_ ? *error_ : flow::interrupted();
    }
    if (summary_.counts.failed > 0) {
      summary_.unproven = std::to_string(summary_.counts.failed) +
                          " commands failed at the other side" +
                          (first_failure_.empty() ? std::string() : ": " + first_failure_);
    } else if (summary_.source.left_out > 0) {
      summary_.unproven = std::to_string(summary_.source.left_out) +
                          " keys could not be read whole and were left out";
    } else if (summary_.unknown_parts > 0) {
      summary_.unproven = "the other side never says what became of a part";
    }
    if (summary_.counts.failed == 0) {
      SEALANE_TRY(journal_.remove());
    }
    return std::move(summary_);
  }

 private:
  void work() {
    Bytes memory;
    while (auto part = take(std::move(memory))) {
      auto outcome = deliver(*part);
      const std::lock_guard lock(mutex_);
      --under_way_;
      if (!outcome.has_value()) {
        stop(outcome.error());
      } else {
        settle(*part, outcome.value());
      }
      changed_.notify_all();
      memory = std::move(part->commands);
    }
  }

  // The next part; nothing at the end, or after a failure.
  // `memory`: of the part before.
  std::optional<Part> take(Bytes memory) {
    const std::lock_guard turn(reading_);
    if (stopped()) return std::nullopt;
    source_.reuse(std::move(memory));
    auto next = source_.next();
    std::unique_lock lock(mutex_);
    if (!next.has_value()) {
      stop(next.error());
      return std::nullopt;
    }
    if (!next.value()) return std::nullopt;
    // What continues a key comes after all before it, and only if they arrived.
    if (next.value()->continues) changed_.wait(lock, [this] { return under_way_ == 0; });
    if (error_) return std::nullopt;
    ++under_way_;
    first_open_.emplace(next.value()->index, std::nullopt);
    return std::move(next).value();
  }

  bool stopped() {
    const std::lock_guard lock(mutex_);
    return error_.has_value() || cancel_.cancelled();
  }
  void stop(const Error& error) {
    if (!error_) error_ = error;
  }

  Result<PartOutcome, Error> deliver(const Part& part) {
    Backoff pause(kFirstPause, kLongestPause);
    for (unsigned i = 1;; ++i) {
      SEALANE_TRY(PartOutcome outcome, send_(part));
      if (outcome.fate == PartFate::kRefused) return Error{ErrorKind::kRefused, outcome.why};
      if (outcome.fate != PartFate::kLater) {
        counters_.parts += 1;
        counters_.bytes += part.commands.size();
        return outcome;
      }
      if (i >= plan_.tries) {
        const std::lock_guard lock(mutex_);
        note_cause(outcome);
        return Error{outcome.kind, outcome.why};
      }
      counters_.retries += 1;
      const auto time = std::chrono::ceil<milliseconds>(pause.next(random_));
      pollfd wake{cancel_.descriptor(), POLLIN, 0};
      static_cast<void>(::poll(&wake, 1, static_cast<int>(time.count())));
      if (cancel_.cancelled()) return flow::interrupted();
      if (stopped()) return failed(outcome.why);
    }
  }

  // Under the lock, as what follows.
  void note_cause(const PartOutcome& outcome) {
    if (summary_.cause.empty()) summary_.cause = outcome.cause;
  }

  void settle(const Part& part, const PartOutcome& outcome) {
    summary_.counts.add(outcome.counts);
    summary_.parts += 1;
    summary_.keys += part.keys;
    summary_.bytes += part.commands.size();
    if (outcome.fate == PartFate::kUnknown) summary_.unknown_parts += 1;
    if (outcome.fate == PartFate::kPartly && first_failure_.empty()) first_failure_ = outcome.why;
    if (outcome.fate == PartFate::kPartly) note_cause(outcome);
    first_open_[part.index] = Settled{part.digest, part.behind, outcome.fate != PartFate::kApplied};
    std::optional<PartCursor> behind;
    while (!first_open_.empty() && first_open_.begin()->second) {
      const Settled& settled = *first_open_.begin()->second;
      digest_.update(settled.digest);
      holes_ = holes_ || settled.incomplete;
      if (!holes_) behind = settled.behind;
      first_open_.erase(first_open_.begin());
    }
    if (!behind) return;
    if (auto written = journal_.write(*behind); !written.has_value()) stop(written.error());
  }

  struct Settled {
    ByteArray<32> digest{};
    PartCursor behind;
    bool incomplete = false;
  };

  Source& source_;
  const SendPart& send_;
  const PushPlan& plan_;
  RandomSource& random_;
  flow::Cancellation& cancel_;
  PushCounters& counters_;
  Journal journal_;

  std::mutex reading_;  // whose turn it is to read
  std::mutex mutex_;    // of all below
  std::condition_variable changed_;
  unsigned under_way_ = 0;
  std::map<std::uint32_t, std::optional<Settled>> first_open_;  // from the first not settled on
  // A part failed in part, or nobody said what became of it: a resumed run must come back to it.
  bool holes_ = false;
  std::optional<Error> error_;
  std::string first_failure_;
  crypto::Sha256 digest_;
  PushSummary summary_;
};

}  // namespace

SendPart send_to(Sink& sink) {
  return [&sink](const Part& part) -> Result<PartOutcome, Error> {
    MemoryContent content(part.commands);
    PartInfo info;
    info.size = part.commands.size();
    info.digest = part.digest;
    info.index = part.index;
    info.range = part.range;
    const ApplyResult result = sink.apply(info, content);
    PartOutcome outcome{.fate = PartFate::kApplied, .counts = result.counts, .why = {}};
    if (result.error) {
      if (result.error->kind == ErrorKind::kInterrupted) return *result.error;
      // The sink has waited long enough for all parts that are to come.
      const auto loading = static_cast<std::size_t>(Cause::kLoading);
      if (result.counts.causes[loading] > 0) return *result.error;
      outcome.why = result.error->message;
      if (const auto cause = main_cause(result.counts)) outcome.cause = cause_name(*cause);
      const auto lost = static_cast<std::size_t>(Cause::kConnectionLost);
      outcome.fate = result.counts.causes[lost] > 0 ? PartFate::kLater : PartFate::kPartly;
    }
    return outcome;
  };
}

Result<PushSummary, Error> push_all(Source& source, const SendPart& send, const PushPlan& plan,
                                    FileSystem& files, RandomSource& random,
                                    flow::Cancellation& cancel, PushCounters& counters) {
  return Push(source, send, plan, files, random, cancel, counters).run();
}

}  // namespace sealane::warm
