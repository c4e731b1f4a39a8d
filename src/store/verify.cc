#include <algorithm>

#include "repo/names.h"
#include "store/heads.h"
#include "store/view.h"

namespace sealane::store {
namespace {

// Files that the commit does not name: somebody has put them there.
void check_strangers(const RepositoryPlace& place, const SnapshotInfo& snapshot,
                     std::vector<Problem>& problems) {
  const auto entries = place.seams.files.list(place.absolute(snapshot.directory));
  if (!entries.has_value()) {
    problems.push_back({to_error(entries.error()), snapshot.directory});
    return;
  }
  for (const DirectoryEntry& entry : entries.value()) {
    if (entry.name == kCommitFile || entry.name == kReceivedFile) continue;
    const auto known = std::ranges::find(snapshot.objects, entry.name, &ObjectRecord::file);
    if (known != snapshot.objects.end()) continue;
    const std::string relative = snapshot.directory + "/" + entry.name;
    problems.push_back(
        {verification_failed(printable(place.absolute(relative)) +
                             " does not belong to its snapshot: its host has not signed for it"),
         relative});
  }
}

bool in_folder(const std::string& where, const std::string& folder) {
  return where == folder || where.starts_with(folder + "/");
}

}  // namespace

Result<VerifyReport, Error> DirectoryRepository::verify(const VerifyOptions& options) {
  const RepositoryPlace here = place();
  SEALANE_TRY(const auto view, read_repository(here, options.trust));
  const bool all = options.plan.empty() && options.host.empty();
  VerifyReport report;
  Listing listing;
  if (all) report.problems = view.problems;
  // A rollback may take away a whole chain or host, so what was seen is compared with all there is.
  listing.problems = view.problems;
  for (const ChainView& chain : view.chains) {
    listing.snapshots.insert(listing.snapshots.end(), chain.snapshots.begin(),
                             chain.snapshots.end());
  }
  for (Problem& problem : check_heads(id_, listing, options.seen)) {
    const bool selected = all || std::ranges::any_of(view.chains, [&](const ChainView& chain) {
                            return chain.matches(options.plan, options.host) &&
                                   in_folder(problem.where, chain.directory);
                          });
    if (selected) report.problems.push_back(std::move(problem));
  }

  for (const ChainView& chain : view.chains) {
    if (!chain.matches(options.plan, options.host)) continue;
    report.problems.insert(report.problems.end(), chain.problems.begin(), chain.problems.end());
    for (const SnapshotInfo& snapshot : chain.snapshots) {
      ++report.snapshots;
      check_strangers(here, snapshot, report.problems);
      if (snapshot.forgotten) continue;
      if (options.open) {
        const auto opened = options.open(snapshot);
        if (opened.has_value()) {
          report.objects += snapshot.objects.size();
          for (const ObjectRecord& object : snapshot.objects) report.bytes += object.size;
          continue;
        }
        if (opened.error().kind == ErrorKind::kInterrupted) return opened.error();
        report.problems.push_back({opened.error(), snapshot.directory});
      }
      for (const ObjectRecord& object : snapshot.objects) {
        const auto checked = verify_object(snapshot, object.file, options.progress);
        ++report.objects;
        if (checked.has_value()) {
          report.bytes += object.size;
          continue;
        }
        if (checked.error().kind == ErrorKind::kInterrupted) return checked.error();
        report.problems.push_back({checked.error(), snapshot.directory + "/" + object.file});
      }
    }
  }
  return report;
}

}  // namespace sealane::store
