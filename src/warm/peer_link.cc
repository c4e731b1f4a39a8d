#include "warm/peer_link.h"

#include <utility>

namespace sealane::warm {
namespace {

// What went wrong at the peer and what to do there, as a clause behind "…: "; empty if it did not
// say.
std::string_view what_failed(entropy::FailureCause cause) {
  using entropy::FailureCause;
  switch (cause) {
    case FailureCause::kNotSaid:
      return {};
    case FailureCause::kOther:
      return "for a reason of its own";
    case FailureCause::kConnectionLost:
      return "its Redis is gone; look whether that runs";
    case FailureCause::kOutOfMemory:
      return "its Redis is out of memory; raise maxmemory there";
    case FailureCause::kReadOnly:
      return "its Redis is a replica and takes no writes; let it write to the master";
    case FailureCause::kMoved:
      return "its Redis is a node of a cluster, which takes only the keys of its slots; use one "
             "without cluster-enabled";
    case FailureCause::kLoading:
      return "its Redis is still loading its file; wait until it has";
    case FailureCause::kDiskFull:
      return "its disk is full, or its Redis cannot save; free some space there";
    case FailureCause::kPayloadVersion:
      return "its Redis is older than the source; upgrade it, or push with --portable";
    case FailureCause::kWrongType:
      return "keys of another type are there; start it with --mode overwrite";
    case FailureCause::kNoPermission:
      return "its user of the Redis may not write; see its log for the rights it needs";
    case FailureCause::kRefused:
      return "it refuses commands of the part; see its log";
    case FailureCause::kSpool:
      return "it has no place for a part until it is whole; free some space in its --spool";
    case FailureCause::kSameStore:
      return "it writes to the database that is read here, or to its replica; start it with "
             "another --into";
    case FailureCause::kTimeout:
      return "it was not done in the time that a part has; see its --total-timeout";
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<PeerLink>, Error> PeerLink::open(PushOptions options, ChannelKeys keys,
                                                        Clock& clock, RandomSource& random,
                                                        const flow::Cancellation* cancel) {
  std::string peer = options.to.text;
  SEALANE_TRY(auto pusher, Pusher::create(std::move(options), std::move(keys), clock));
  std::unique_ptr<PeerLink> link(new PeerLink(std::move(pusher), std::move(peer), cancel));
  random.fill(link->series_.snapshot);
  return link;
}

SendPart PeerLink::sender() {
  return [this](const Part& part) { return send(part); };
}

std::string PeerLink::why_refused(entropy::Refusal refusal) const {
  switch (refusal) {
    case entropy::Refusal::kStale:
      return peer_ +
             " refuses the part as too old, or of the future, though it carries the time that it "
             "told; its clock was set back since it started: restart it";
    case entropy::Refusal::kPlaintext:
      return peer_ +
             " takes nothing in clear: push with --key-file and --iv-file, or start it with "
             "--accept-plaintext";
    case entropy::Refusal::kQuota:
      return peer_ +
             " takes no part of this size: push with a smaller --part-size, or start it with a "
             "larger --max-snapshot";
    case entropy::Refusal::kNoKey:
      return peer_ +
             " has nothing to decrypt with: start it with --key-file and --iv-file, or push with "
             "--plain";
    case entropy::Refusal::kNotSaid:
      break;
  }
  return peer_ + " refuses the part; its log says why";
}

Result<PartOutcome, Error> PeerLink::send(const Part& part) {
  const auto report = pusher_->push(part, series_, cancel_);
  PartOutcome outcome;
  if (!report.has_value()) {
    const Error& error = report.error();
    // Who says no without a word may be one who has as many connections as it takes, or who is
    // about to end; of other kinds another try cannot help.
    if (error.kind != ErrorKind::kFailed && error.kind != ErrorKind::kRefused) return error;
    outcome.fate = PartFate::kLater;
    outcome.why = error.message;
    outcome.kind = answers_ ? ErrorKind::kFailed : error.kind;
    return outcome;
  }
  const PushReport& told = report.value();
  if (told.verdict != PushVerdict::kUnknown) answers_ = true;
  outcome.counts.applied = told.applied;
  outcome.counts.skipped = told.skipped;
  outcome.counts.failed = told.failed;
  outcome.counts.commands = std::uint64_t{told.applied} + told.skipped + told.failed;
  outcome.cause = entropy::cause_name(told.cause);
  const std::string_view what = what_failed(told.cause);
  switch (told.verdict) {
    case PushVerdict::kApplied:
      outcome.fate = PartFate::kApplied;
      break;
    case PushVerdict::kPartly:
      outcome.fate = PartFate::kPartly;
      outcome.why = what.empty() ? "the log of " + peer_ + " names the causes"
                                 : "at " + peer_ + ", " + std::string(what);
      break;
    case PushVerdict::kUnknown:
      // A program that is killed closes in order too, whatever it had begun.
      outcome.fate = answers_ ? PartFate::kLater : PartFate::kUnknown;
      outcome.why = peer_ + " ended without an answer; look whether it runs, and push again";
      break;
    case PushVerdict::kBusy:
      outcome.fate = PartFate::kLater;
      outcome.why = peer_ + " is busy with other snapshots; push again later";
      break;
    case PushVerdict::kSinkFailed:
      outcome.fate =
          told.cause == entropy::FailureCause::kSameStore ? PartFate::kRefused : PartFate::kLater;
      outcome.why = peer_ + " could not apply a part" +
                    (what.empty() ? "; its log says why" : ": " + std::string(what));
      break;
    case PushVerdict::kRefused:
      outcome.fate = PartFate::kRefused;
      outcome.why = why_refused(told.refusal);
      if (told.refusal != entropy::Refusal::kStale) break;
      // The next one carries the peer's time.
      outcome.fate = PartFate::kLater;
      outcome.kind = ErrorKind::kRefused;
      break;
  }
  return outcome;
}

}  // namespace sealane::warm
