#include "warm/peer_link.h"

#include <utility>

namespace sealane::warm {

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

Result<PartOutcome, Error> PeerLink::send(const Part& part) {
  const auto report = pusher_->push(part, series_, cancel_);
  PartOutcome outcome;
  if (!report.has_value()) {
    const Error& error = report.error();
    // Of other kinds another try cannot help, but who answered before may only have ended.
    const bool ended = error.kind == ErrorKind::kRefused && answers_;
    if (error.kind != ErrorKind::kFailed && !ended) return error;
    outcome.fate = PartFate::kLater;
    outcome.why = error.message;
    return outcome;
  }
  const PushReport& told = report.value();
  if (told.verdict != PushVerdict::kUnknown) answers_ = true;
  outcome.counts.applied = told.applied;
  outcome.counts.skipped = told.skipped;
  outcome.counts.failed = told.failed;
  outcome.counts.commands = std::uint64_t{told.applied} + told.skipped + told.failed;
  switch (told.verdict) {
    case PushVerdict::kApplied:
      outcome.fate = PartFate::kApplied;
      break;
    case PushVerdict::kPartly:
      outcome.fate = PartFate::kPartly;
      outcome.why = "the log of " + peer_ + " names the causes";
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
      outcome.fate = PartFate::kLater;
      outcome.why = peer_ + " could not apply a part; its log says why";
      break;
    case PushVerdict::kRefused:
      outcome.fate = PartFate::kRefused;
      outcome.why = peer_ + " refuses the part; its log says why";
      break;
  }
  return outcome;
}

}  // namespace sealane::warm
