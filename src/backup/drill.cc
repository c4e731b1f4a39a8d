#include "backup/operations.h"
#include "repo/names.h"

namespace sealane::backup {
namespace {

using store::DirectoryRepository;
using store::SnapshotInfo;

// Whether an error speaks of the snapshot (a failed proof worth keeping) or of the drill's own
// surroundings (a missing tool, no space): only the first says anything about the backup.
bool blames_snapshot(const Error& error) { return error.kind == ErrorKind::kVerificationFailed; }

struct Outcome {
  repo::ProofOutcome outcome = repo::ProofOutcome::kNotRestorable;
  std::string difference;
  std::string found;  // digest
};

Result<Outcome, Error> restore_and_compare(DirectoryRepository& repository,
                                           const SnapshotInfo& snapshot, const OpeningKeys& keys,
                                           Target& target, unsigned threads, DriverContext& context,
                                           const Observer& observer) {
  const auto restored =
      run_restore(repository, snapshot, keys, target,
                  {.overwrite = false, .compare = true, .recheck = true, .threads = threads},
                  context, observer);
  if (!restored.has_value()) {
    if (!blames_snapshot(restored.error())) return restored.error();
    return Outcome{repo::ProofOutcome::kNotRestorable, restored.error().message, ""};
  }
  const RestoreResult& result = restored.value();
  if (!result.found)
    return Outcome{repo::ProofOutcome::kDifferent, "the restored target has no fingerprint", ""};
  return Outcome{
      result.equal.value_or(false) ? repo::ProofOutcome::kEqual : repo::ProofOutcome::kDifferent,
      result.difference, result.found->digest};
}

}  // namespace

Result<DrillResult, Error> run_drill(DirectoryRepository& repository, const SnapshotInfo& snapshot,
                                     const OpeningKeys& keys, const identity::SigningKey& prover,
                                     const std::string& work_directory, unsigned threads,
                                     DriverContext& context, const Observer& observer) {
  const SteadyTime start = context.clock.steady_now();
  SEALANE_TRY(const auto details, read_details(repository, snapshot, keys, context));
  if (!details.fingerprint) {
    return Error{
        .kind = ErrorKind::kUsage,
        .message = "snapshot " + snapshot.id.substr(0, 12) + " of " + details.source +
                   " has no fingerprint to compare with; 'sealane verify --open' reads every "
                   "chunk of it"};
  }
  DrillResult result;
  SEALANE_TRY(const auto throw_away,
              make_throw_away(details.kind, details.properties, work_directory, context));
  result.target = throw_away->description();
  SEALANE_TRY(const auto outcome,
              restore_and_compare(repository, snapshot, keys, throw_away->target(), threads,
                                  context, observer));
  result.difference = outcome.difference;
  result.proof = {.snapshot = snapshot.id,
                  .prover = identity::fingerprint(prover.public_key()),
                  .prover_name = prover.comment(),
                  .time = std::chrono::floor<std::chrono::seconds>(context.clock.wall_now()),
                  .level = details.fingerprint->level,
                  .outcome = outcome.outcome,
                  .target = result.target,
                  .fingerprint = outcome.found};
  SEALANE_TRY(repository.write_proof(prover, result.proof));
  result.seconds = std::chrono::duration<double>(context.clock.steady_now() - start).count();
  return result;
}

}  // namespace sealane::backup
