#include "warm/rounds.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"

namespace sealane::warm {

Rounds::Rounds(std::vector<std::string> peers, const RoundsOptions& options, RandomSource& random,
               SteadyTime now)
    : options_(options), random_(random) {
  SEALANE_CHECK(options.interval.count() > 0 && options.first_retry.count() > 0);
  SEALANE_CHECK(options.jitter_percent < 100);
  for (std::string& name : peers) {
    peers_.push_back(
        {.name = std::move(name),
         .due = now,
         .started = {},
         .busy = false,
         .backoff = Backoff(std::min(options.first_retry, options.interval), options.interval),
         .counters = {}});
  }
}

std::optional<std::size_t> Rounds::take_due(SteadyTime now) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].busy || peers_[i].due > now) continue;
    if (!best || peers_[i].due < peers_[*best].due) best = i;
  }
  if (best) {
    peers_[*best].busy = true;
    peers_[*best].started = now;
  }
  return best;
}

void Rounds::finished(std::size_t index, const Outcome& outcome, SteadyTime now) {
  Peer& peer = peers_[index];
  SEALANE_CHECK(peer.busy);
  peer.busy = false;
  peer.counters.rounds += 1;
  peer.counters.keys += outcome.keys;
  peer.counters.bytes += outcome.bytes;
  peer.counters.last_duration = now - peer.started;
  if (!outcome.good) {
    peer.counters.failures += 1;
    peer.counters.failures_in_a_row += 1;
    peer.due = now + peer.backoff.next(random_);
    return;
  }
  peer.counters.failures_in_a_row = 0;
  peer.counters.last_good = now;
  peer.backoff.reset();
  ByteArray<4> bytes{};
  random_.fill(bytes);
  const double share = static_cast<double>(load<std::uint32_t>(bytes)) / 4294967296.0;  // [0, 1)
  const double jitter = (2 * share - 1) * options_.jitter_percent / 100.0;
  const auto wait =
      static_cast<std::int64_t>(static_cast<double>(options_.interval.count()) * (1 + jitter));
  // From its start, so that long rounds do not shift all that follow; a missed one is not made up.
  peer.due = std::max(now, peer.started + std::chrono::nanoseconds(wait));
}

std::optional<SteadyTime> Rounds::next_due() const {
  std::optional<SteadyTime> first;
  for (const Peer& peer : peers_) {
    if (!peer.busy && (!first || peer.due < *first)) first = peer.due;
  }
  return first;
}

}  // namespace sealane::warm
