#pragma once
// The main job: back up a source into a repository, restore a snapshot, open every chunk of it,
// drill it. Everything a command prints comes back as a value; nothing here talks.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/source.h"
#include "crypto/locked_memory.h"
#include "flow/stream.h"
#include "repo/details.h"
#include "repo/proof.h"
#include "sealane/identity/keys.h"
#include "sealane/identity/trust.h"
#include "sealane/store/repository.h"

namespace sealane::backup {

// Called as work moves on, from the caller's thread. `counters` may be read from any thread until
// the next call; `total` is an estimate of counters->plain_bytes (sealed_bytes where
// `total_is_sealed`).
struct Stage {
  std::string name;  // "dumping database", "checking hashes", …
  const flow::FlowCounters* counters = nullptr;
  std::optional<std::uint64_t> total;
  bool total_is_sealed = false;
};
struct Observer {
  std::function<void(const Stage&)> stage = [](const Stage&) {};
  std::function<void(const std::string&)> warning = [](const std::string&) {};
};

struct BackupRequest {
  std::string source;  // a URL
  std::string plan;    // [a-z0-9][a-z0-9._-]{0,63}
  std::vector<identity::Recipient> recipients;
  const identity::SigningKey* host = nullptr;
  std::string host_name;
  bool self_readable = false;         // allow the host's own key among the recipients
  bool keep_keys = false;             // for a drill by the same run
  std::vector<store::SeenHead> seen;  // remembered heads: a rolled-back chain is not written on
  int compression_level = 3;
  FingerprintLevel fingerprint_level = FingerprintLevel::kContent;  // what a drill can compare
  unsigned threads = 0;
};

// The file keys of one snapshot, by object file name. In locked memory, gone after `expires`.
struct KeptKeys {
  std::map<std::string, crypto::LockedSecret> file_keys;
  SteadyTime expires{};
};

struct BackupResult {
  store::SnapshotInfo snapshot;
  repo::Details details;
  std::uint64_t stored_size = 0;
  double seconds = 0;
  std::optional<KeptKeys> keys;
};

// Reads the source once, seals, commits. On any failure nothing is visible in the repository. A
// source with unreadable parts commits and names them in details.unreadable.
Result<BackupResult, Error> run_backup(store::DirectoryRepository& repository,
                                       const BackupRequest& request, DriverContext& context,
                                       const Observer& observer);

// "postgresql", "sqlite", "redis", "file", "stdin": which driver a URL means; its scheme if
// unknown.
std::string source_kind(std::string_view url);
// "postgresql-shop", "sqlite-articles", …: to tell sources of one kind apart under one plan.
std::string short_plan(std::string_view url);
// "postgresql-shop-1f0c9a37": the plan of a source that was given none. The digits come from the
// source's whole place (absolute path; host, port and database), so that two sources never share a
// chain, whose old snapshots go when newer ones of the other come.
std::string default_plan(std::string_view url);

// How a snapshot is opened: keys of a person, or those a backup kept.
struct OpeningKeys {
  std::span<const identity::OpeningKey> identities;
  const KeptKeys* kept = nullptr;
};

// Opens and checks the private description of a snapshot.
Result<repo::Details, Error> read_details(store::DirectoryRepository& repository,
                                          const store::SnapshotInfo& snapshot,
                                          const OpeningKeys& keys, DriverContext& context);

// Size and SHA-256 of every object against the commit. Needs no key.
Result<void, Error> check_objects(store::DirectoryRepository& repository,
                                  const store::SnapshotInfo& snapshot, DriverContext& context,
                                  const Observer& observer);

// Opens every chunk of every object, decompresses, compares sizes and hashes with the details.
Result<repo::Details, Error> check_contents(store::DirectoryRepository& repository,
                                            const store::SnapshotInfo& snapshot,
                                            const OpeningKeys& keys, unsigned threads,
                                            DriverContext& context, const Observer& observer);

struct RestoreRequest {
  bool overwrite = false;  // a target that is not empty
  // Hash every object before the first byte reaches the target. What is written is hashed in any
  // case, and compared at the end; for a target that appears at once (see Target) that is enough.
  bool check_first = true;
  bool compare = true;  // fingerprint of the target against the snapshot's
  // As a drill does: hash the objects, too, where what is in them is hashed; and check the target's
  // soundness where the host says that its source was sound (kSoundness).
  bool recheck = false;
  unsigned threads = 0;
};
struct RestoreResult {
  repo::Details details;
  std::uint64_t plain_size = 0;
  double seconds = 0;
  // Nothing: no fingerprint to compare with. Else whether it is equal, and the difference.
  std::optional<repo::Fingerprint> found;
  std::optional<bool> equal;
  std::string difference;
};
Result<RestoreResult, Error> run_restore(store::DirectoryRepository& repository,
                                         const store::SnapshotInfo& snapshot,
                                         const OpeningKeys& keys, Target& target,
                                         const RestoreRequest& request, DriverContext& context,
                                         const Observer& observer);
// One stream of a snapshot, as it was dumped, to a sink: "restore --stream NAME -o FILE".
Result<repo::Details, Error> restore_stream(store::DirectoryRepository& repository,
                                            const store::SnapshotInfo& snapshot,
                                            const OpeningKeys& keys, const std::string& stream,
                                            flow::ByteSink& out, bool check_first, unsigned threads,
                                            DriverContext& context, const Observer& observer);

struct DrillResult {
  repo::Proof proof;
  std::string target;      // "PostgreSQL 15.18 started for this drill"
  std::string difference;  // empty when equal
  double seconds = 0;
};
// Restores into a throw-away target below `work_directory`, compares, writes a signed proof (also
// of a failure). A failed comparison is a result, not an Error; an Error means that nothing was
// proven.
Result<DrillResult, Error> run_drill(store::DirectoryRepository& repository,
                                     const store::SnapshotInfo& snapshot, const OpeningKeys& keys,
                                     const identity::SigningKey& prover,
                                     const std::string& work_directory, unsigned threads,
                                     DriverContext& context, const Observer& observer);

}  // namespace sealane::backup
