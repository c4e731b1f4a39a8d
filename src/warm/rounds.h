#pragma once
// Rounds: when which peer gets its next push. Pure: time and randomness come in. Peers are
// independent: one that is down or slow delays nobody.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "sealane/base/seams.h"

namespace sealane::warm {

struct RoundsOptions {
  std::chrono::nanoseconds interval = std::chrono::seconds(300);
  unsigned jitter_percent = 10;  // of the interval, either way: peers do not all come at once
  std::chrono::nanoseconds first_retry = std::chrono::seconds(1);  // doubles up to the interval
};

struct PeerCounters {
  std::uint64_t rounds = 0;    // that were finished, good or not
  std::uint64_t failures = 0;  // of these
  std::uint64_t failures_in_a_row = 0;
  std::uint64_t keys = 0;
  std::uint64_t bytes = 0;
  std::chrono::nanoseconds last_duration{0};
  std::optional<SteadyTime> last_good;  // when that one ended
};

// Not thread-safe. The first round of each peer is due at once.
class Rounds {
 public:
  // `random` must outlive it. REQUIRES: interval and first_retry above 0, jitter below 100 %.
  Rounds(std::vector<std::string> peers, const RoundsOptions& options, RandomSource& random,
         SteadyTime now);

  struct Outcome {
    bool good = false;
    std::uint64_t keys = 0;
    std::uint64_t bytes = 0;
  };
  // A peer whose time has come, the longest waiting one first; it counts as busy until finished().
  std::optional<std::size_t> take_due(SteadyTime now);
  void finished(std::size_t peer, const Outcome& outcome, SteadyTime now);
  // When to ask again; nothing while all are busy.
  std::optional<SteadyTime> next_due() const;

  std::size_t size() const { return peers_.size(); }
  const std::string& name(std::size_t peer) const { return peers_[peer].name; }
  const PeerCounters& counters(std::size_t peer) const { return peers_[peer].counters; }

 private:
  struct Peer {
    std::string name;
    SteadyTime due{};
    SteadyTime started{};
    bool busy = false;
    Backoff backoff;
    PeerCounters counters;
  };
  RoundsOptions options_;
  RandomSource& random_;
  std::vector<Peer> peers_;
};

}  // namespace sealane::warm
