#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <set>

#include "base/limits.h"
#include "repo/names.h"
#include "repo/proof.h"
#include "repo/retention.h"
#include "store/view.h"

namespace sealane::store {
namespace {

struct Forgetter {
  const RepositoryPlace& place;
  const identity::SigningKey& by;
  const identity::TrustStore* trust;
  const ForgetOptions& options;
  ForgetReport& report;

  // Decides over one chain that has no problem.
  std::vector<SnapshotInfo> plan(const ChainView& chain) {
    std::vector<const SnapshotInfo*> kept;
    std::vector<repo::RetentionEntry> entries;
    for (const SnapshotInfo& snapshot : chain.snapshots) {
      if (snapshot.forgotten) continue;
      kept.push_back(&snapshot);
      entries.push_back({snapshot.seq, snapshot.received, snapshot.proven});
    }
    const auto reasons = repo::apply_retention(entries, options.rules);
    std::vector<SnapshotInfo> forgotten;
    for (std::size_t i = 0; i < kept.size(); ++i) {
      report.decisions.push_back({.snapshot = *kept[i], .keep = reasons[i]});
      if (reasons[i].empty()) forgotten.push_back(*kept[i]);
    }
    return forgotten;
  }

  // The record comes first and is durable before the first object goes: so whoever finds objects
  // missing also finds who deleted them, and a run that is cut short is finished by the next.
  Result<void, Error> write_record(const SnapshotInfo& snapshot) {
    const repo::ForgottenRecord record{
        .repository = place.id,
        .host = snapshot.host,
        .plan = snapshot.plan,
        .seq = snapshot.seq,
        .snapshot = snapshot.id,
        .by = identity::fingerprint(by.public_key()),
        .time = std::chrono::floor<std::chrono::seconds>(place.seams.clock.wall_now())};
    const std::string folder = join_path(
        place.absolute(chain_directory(snapshot.key_id, snapshot.plan)), kForgottenFolder);
    const auto write = [&]() -> FileResult<void> {
      SEALANE_TRY(ensure_directory(place.seams.files, folder));
      return publish_file(place.seams, join_path(folder, repo::seq_directory(snapshot.seq)),
                          as_bytes(repo::sign_forgotten(record, by)));
    };
    const auto written = write();
    if (!written.has_value()) return to_error(written.error());
    return success();
  }

  // Records that an earlier run has made may not be durable yet: it may have died just then.
  Result<void, Error> settle_records(const ChainView& chain) {
    const auto synced = place.seams.files.sync_directory(
        join_path(place.absolute(chain.directory), kForgottenFolder));
    if (!synced.has_value() && synced.error().code != ENOENT) return to_error(synced.error());
    return success();
  }

  // Objects that are gone already are no failure.
  Result<void, Error> delete_objects(const SnapshotInfo& snapshot) {
    FileSystem& files = place.seams.files;
    const std::string folder = place.absolute(snapshot.directory);
    const auto entries = files.list(folder);
    if (!entries.has_value()) return to_error(entries.error());
    bool deleted = false;
    for (const ObjectRecord& object : snapshot.objects) {
      const auto there = std::ranges::find(entries.value(), object.file, &DirectoryEntry::name);
      if (there == entries.value().end()) continue;
      const auto removed = files.remove(join_path(folder, object.file));
      if (!removed.has_value()) return to_error(removed.error());
      report.freed_bytes += object.size;
      deleted = true;
    }
    if (!deleted) return success();
    const auto synced = files.sync_directory(folder);
    if (!synced.has_value()) return to_error(synced.error());
    return success();
  }

  Result<void, Error> check_right(const std::string& plan) {
    const WallTime now = place.seams.clock.wall_now();
    if (trust == nullptr || (trust->may_sign(by.public_key(), repo::kForgetNamespace, now) &&
                             trust->allows(by.public_key(), "repo:forget", "plan:" + plan, now))) {
      return success();
    }
    return Error{ErrorKind::kRefused, "the key " + identity::fingerprint(by.public_key()) +
                                          " may not forget snapshots of plan " + plan +
                                          "; give it the right repo:forget(plan:" + plan +
                                          ") in the trust file"};
  }
};

std::uint64_t size_of(const SnapshotInfo& snapshot) {
  std::uint64_t size = 0;
  for (const ObjectRecord& object : snapshot.objects) size += object.size;
  return size;
}

}  // namespace

Result<ForgetReport, Error> DirectoryRepository::forget(const identity::SigningKey& by,
                                                        const identity::TrustStore* trust,
                                                        const ForgetOptions& options) {
  if (options.rules.empty()) {
    return Error{ErrorKind::kUsage,
                 "say what to keep, for example --keep-daily 7 --keep-weekly 4: without a rule "
                 "nothing is forgotten"};
  }
  const RepositoryPlace here = place();
  ForgetReport report;
  Forgetter forgetter{here, by, trust, options, report};
  SEALANE_TRY(const auto before, read_repository(here, trust));
  // All rights before the first deletion.
  for (const ChainView& chain : before.chains) {
    if (!chain.matches(options.plan, options.host)) continue;
    SEALANE_TRY(forgetter.check_right(chain.plan));
  }

  std::set<std::string> selected;  // directories of the chains that are ours until we return
  std::vector<std::unique_ptr<FileLock>> locks;
  std::optional<Error> busy;
  for (const ChainView& chain : before.chains) {
    if (!chain.matches(options.plan, options.host)) continue;
    if (!options.dry_run) {
      auto lock = lock_chain(here, chain.key_id, chain.plan);
      if (!lock.has_value()) {
        if (lock.error().kind != ErrorKind::kLocked) return lock.error();
        // One backup under way is no reason to let all other chains grow.
        busy = lock.error();
        report.problems.push_back({lock.error(), chain.directory});
        continue;
      }
      locks.push_back(std::move(lock.value()));
      const auto cleaned = remove_left_overs(
          seams_.files, join_path(join_path(path_, chain.directory), kForgottenFolder));
      if (!cleaned.has_value()) return to_error(cleaned.error());
    }
    selected.insert(chain.directory);
  }
  if (busy && selected.empty()) return *busy;
  // What was seen before the locks may have changed; and a chain that is new by now is not locked.
  SEALANE_TRY(const auto view, read_repository(here, trust));
  for (const ChainView& chain : view.chains) {
    if (!selected.contains(chain.directory)) continue;
    if (!chain.problems.empty()) {
      report.problems.insert(report.problems.end(), chain.problems.begin(), chain.problems.end());
      continue;
    }
    const std::vector<SnapshotInfo> to_forget = forgetter.plan(chain);
    if (options.dry_run) {
      for (const SnapshotInfo& snapshot : to_forget) report.freed_bytes += size_of(snapshot);
      continue;
    }
    SEALANE_TRY(forgetter.settle_records(chain));
    for (const SnapshotInfo& snapshot : chain.snapshots) {
      if (!snapshot.forgotten) continue;
      SEALANE_TRY(forgetter.delete_objects(snapshot));
    }
    for (const SnapshotInfo& snapshot : to_forget) {
      SEALANE_TRY(forgetter.write_record(snapshot));
      SEALANE_TRY(forgetter.delete_objects(snapshot));
    }
  }
  return report;
}

}  // namespace sealane::store
