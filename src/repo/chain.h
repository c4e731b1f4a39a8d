#pragma once
// Chain rules: the commits of one (host, plan) are a list linked by hashes, from seq 1 without a
// gap.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sealane::repo {

struct ChainLink {
  std::uint64_t seq = 0;
  std::string id;
  std::string previous;
};
// The highest link that somebody has seen of a chain.
struct ChainHead {
  std::uint64_t seq = 0;
  std::string id;
  friend bool operator==(const ChainHead&, const ChainHead&) = default;
};

enum class ChainFault : std::uint8_t {
  kMissing = 1,  // no commit with this seq, though later ones are there
  kFork,         // two commits with this seq: the host's key works in two places
  kBrokenLink,   // it follows another commit than the one that is there
  kRolledBack,   // the chain ends before this seq, which was seen
  kRewritten,    // the commit with this seq is not the one that was seen
};
struct ChainProblem {
  ChainFault fault = ChainFault::kMissing;
  std::uint64_t seq = 0;
  friend bool operator==(const ChainProblem&, const ChainProblem&) = default;
};

// All faults, by seq. A run of missing commits is one problem, at its first seq. `links` in any
// order.
std::vector<ChainProblem> check_chain(std::span<const ChainLink> links,
                                      const std::optional<ChainHead>& remembered);

}  // namespace sealane::repo
