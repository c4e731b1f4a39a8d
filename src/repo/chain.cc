#include "repo/chain.h"

#include <algorithm>

namespace sealane::repo {

std::vector<ChainProblem> check_chain(std::span<const ChainLink> links,
                                      const std::optional<ChainHead>& remembered) {
  std::vector<const ChainLink*> sorted;
  for (const ChainLink& link : links) sorted.push_back(&link);
  std::ranges::stable_sort(sorted, {}, &ChainLink::seq);

  std::vector<ChainProblem> problems;
  const ChainLink* before = nullptr;
  bool seen = !remembered.has_value();
  for (const ChainLink* link : sorted) {
    const std::uint64_t expected = before == nullptr ? 1 : before->seq + 1;
    if (before != nullptr && link->seq == before->seq) {
      // The same commit from two places is no fork.
      if (link->id != before->id) problems.push_back({ChainFault::kFork, link->seq});
      continue;
    }
    if (link->seq != expected) {
      problems.push_back({ChainFault::kMissing, expected});
    } else if (link->previous != (before == nullptr ? std::string() : before->id)) {
      problems.push_back({ChainFault::kBrokenLink, link->seq});
    }
    if (remembered && link->seq == remembered->seq) {
      seen = true;
      if (link->id != remembered->id) problems.push_back({ChainFault::kRewritten, link->seq});
    }
    before = link;
  }
  // A gap at the remembered seq is reported as kMissing already.
  const std::uint64_t last = before == nullptr ? 0 : before->seq;
  if (!seen && last < remembered->seq)
    problems.push_back({ChainFault::kRolledBack, remembered->seq});
  return problems;
}

}  // namespace sealane::repo
