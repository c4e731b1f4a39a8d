#pragma once
// Repository, format 1, in a directory: docs/protocol/repository.md.
//
//   repo.json                                   format, id, creation time
//   hosts/<key id>/<plan>/<seq, 10 digits>/     one snapshot: <n>-<name>.zst.age, details.age,
//                                               received (when it came, by the repository's clock),
//                                               commit
//   hosts/<key id>/<plan>/forgotten/<seq>       signed: its objects were deleted, its commit kept
//   proofs/<snapshot id>/<time>-<id>            signed result of a drill
//   locks/<key id>.<plan>                       advisory lock of the one writer of a chain
//
// A snapshot appears by rename after everything in it was synced; only then it is acknowledged.
// A directory is trusted storage: who can write to it can delete from it. What he cannot do is
// change or replace anything unnoticed.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"
#include "sealane/identity/trust.h"
#include "sealane/repo/records.h"

namespace sealane::store {

using repo::ObjectRecord;

// What a commit says, and what was added to it since.
struct SnapshotInfo {
  std::string id;  // lower-case hex SHA-256 of the commit's signed text; prefixes name it too
  std::string directory;  // relative to the repository: "hosts/…/shop/0000000007"
  std::string host;       // fingerprint "SHA256:…" of the signing key
  std::string key_id;     // the same in hex, as the folder is called
  std::string host_name;  // as the host calls itself
  std::string plan;
  std::uint64_t seq = 0;
  std::string previous;  // id of the snapshot before; empty for the first
  WallTime host_time{};  // by the host's clock
  WallTime received{};   // by the clock of the repository's side; retention counts by it
  std::vector<ObjectRecord> objects;  // streams in order, then details.age
  bool forgotten = false;
  std::optional<WallTime> forgotten_at;
  bool proven = false;                // at least one valid proof of a trusted prover
  std::optional<WallTime> proven_at;  // the newest of those
  std::optional<repo::FingerprintLevel> proven_level;
  // Fingerprints of those whose proofs count for nothing, because no pin lets them sign proofs;
  // sorted, each once.
  std::vector<std::string> unpinned_provers;
};

// Something that is wrong with a repository.
struct Problem {
  Error error;
  std::string where;  // folder or file, relative to the repository
  friend bool operator==(const Problem&, const Problem&) = default;
};

// The newest snapshot that was seen of a chain (HeadMemory, src/store/heads.h).
struct SeenHead {
  std::string repository;  // id
  std::string key_id;
  std::string plan;
  std::uint64_t seq = 0;
  std::string id;
  friend bool operator==(const SeenHead&, const SeenHead&) = default;
};

// Writes one snapshot. Nothing is visible before commit(); the destructor removes what was not
// committed. Holds the chain's lock. Not thread-safe.
class SnapshotWriter {
 public:
  virtual ~SnapshotWriter() = default;
  virtual std::uint64_t seq() const = 0;
  virtual std::string previous() const = 0;
  // One object at a time: begin, append …, finish. Streams first, as repo::stream_file() names them
  // (index from 0, ".zst.age"), then "details.age"; another order is kUsage.
  virtual Result<void, Error> begin_object(const std::string& file) = 0;
  virtual Result<void, Error> append(ByteSpan data) = 0;
  // Syncs it. `sha256` of all that was appended comes from the caller's own pass over the bytes.
  virtual Result<void, Error> finish_object(const ByteArray<32>& sha256) = 0;
  // Signs, syncs, renames, syncs. When it returns success, the snapshot survives a power loss.
  // After a failure it may have appeared or not, and the writer is of no more use. REQUIRES:
  // details.age is finished; `host` is the key that begin() was called for.
  virtual Result<SnapshotInfo, Error> commit(const identity::SigningKey& host,
                                             const std::string& host_name, WallTime host_time) = 0;
};

struct Seams {
  FileSystem& files;
  Clock& clock;
  RandomSource& random;
};

// Told about bytes that were read, checked or copied since the last call; false asks to stop
// (kInterrupted).
using Progress = std::function<bool(std::uint64_t bytes)>;

struct RepositoryPlace;  // src/store/place.h

struct ForgetOptions {
  repo::RetentionRules rules;
  std::string plan;  // only chains of this plan; empty: all
  std::string host;  // only of this host (fingerprint or name); empty: all
  bool dry_run = false;
};
struct ForgetReport {
  struct Decision {
    SnapshotInfo snapshot;
    std::vector<repo::KeepReason> keep;  // empty: forgotten now, or would be
  };
  std::vector<Decision> decisions;  // by host, plan, seq; snapshots forgotten before are not in it
  std::uint64_t freed_bytes = 0;    // sizes of the objects deleted (with dry_run: that would be)
  std::vector<Problem> problems;    // chains left alone: something is wrong with them, or kLocked
};

struct CopyReport {
  std::uint64_t copied = 0;       // snapshots
  std::uint64_t skipped = 0;      // there already
  std::uint64_t proofs = 0;       // newly copied
  std::uint64_t bytes = 0;        // of objects, written
  std::vector<Problem> problems;  // of the source: not copied
};

struct VerifyOptions {
  const identity::TrustStore* trust = nullptr;  // without: any key that signed its own chain
  std::vector<SeenHead> seen;  // what an earlier look has shown; others' repositories are ignored
  std::string plan;            // only this plan; empty: all
  std::string host;            // only of this host (fingerprint or name); empty: all
  Progress progress;
  // Reads a snapshot whole, hashes included, by other means (with an opening key); may be empty.
  // Where it fails, its error is a problem and the objects are hashed all the same.
  std::function<Result<void, Error>(const SnapshotInfo&)> open;
};
struct VerifyReport {
  std::uint64_t snapshots = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
  std::vector<Problem> problems;  // empty: all is well
};

struct ProofInfo {
  repo::Proof proof;
  std::string file;      // relative to the repository
  bool trusted = false;  // signed by a pinned key (without a trust store: by any)
};

// Not thread-safe; several may be open at the same repository, in this process and others.
class DirectoryRepository {
 public:
  // Creates `path` if it is missing. kUsage if it is there and not empty; the left-overs of an init
  // that was cut short do not count.
  static Result<DirectoryRepository, Error> init(Seams seams, const std::string& path);
  // kRepositoryMissing; kFailed for a newer format ("was made by a newer Sealane").
  static Result<DirectoryRepository, Error> open(Seams seams, const std::string& path);

  const std::string& id() const { return id_; }
  const std::string& path() const { return path_; }

  // The next snapshot of a chain. Removes the left-overs of a crashed writer. kLocked if another
  // one is at this chain; kVerificationFailed if the chain's newest commit is damaged, or older
  // than what was `seen`: a rolled-back repository must not be written on.
  Result<std::unique_ptr<SnapshotWriter>, Error> begin(const crypto::Ed25519Public& host,
                                                       const std::string& plan,
                                                       const std::vector<SeenHead>& seen = {});

  // All snapshots, by host, plan, seq. Signatures are checked against the key that the folder names
  // and, with `trust`, against the pins; a commit that fails is in `problems`, not in the list. A
  // problem of a chain (gap, broken link) does not take its snapshots out of the list.
  struct Listing {
    std::vector<SnapshotInfo> snapshots;
    std::vector<Problem> problems;
  };
  Result<Listing, Error> list(const identity::TrustStore* trust);

  // A unique prefix of an id (at least 4 digits); or the snapshot received last that is not
  // forgotten: "latest", "latest:PLAN", "latest:HOST/PLAN" (HOST: name or fingerprint). Of several
  // plans that were received in one second none is "latest": kUsage. "latest…"
  // fails when something is wrong with the chain it lands in, because a newer one may have been
  // taken away. kUsage: no such snapshot, or several.
  Result<SnapshotInfo, Error> find(const std::string& name, const identity::TrustStore* trust);

  // kVerificationFailed if it is missing or has another size than the commit says. The content is
  // not checked: verify_object().
  Result<std::unique_ptr<File>, Error> open_object(const SnapshotInfo& snapshot,
                                                   const std::string& file);
  // Reads all of it and compares its SHA-256.
  Result<void, Error> verify_object(const SnapshotInfo& snapshot, const std::string& file,
                                    const Progress& progress = {});

  // Signs and keeps the result of a drill; sets proof.prover. Survives a power loss when it
  // returns. The file, relative to the repository.
  Result<std::string, Error> write_proof(const identity::SigningKey& prover, repo::Proof proof);
  // Of one snapshot, by time. Those with a bad signature are `problems`.
  struct ProofListing {
    std::vector<ProofInfo> proofs;
    std::vector<Problem> problems;
  };
  Result<ProofListing, Error> proofs(const std::string& snapshot_id,
                                     const identity::TrustStore* trust);

  // Deletes the objects of what the rules do not keep, after a signed record of it. Finishes what
  // an earlier run left half-done. Never the newest of a chain, never the last proven; a chain with
  // a problem is left alone. kUsage without a rule. Proofs count if `trust` says so. With `trust`,
  // kRefused unless it gives `by` the right repo:forget for each plan concerned.
  Result<ForgetReport, Error> forget(const identity::SigningKey& by,
                                     const identity::TrustStore* trust,
                                     const ForgetOptions& options);

  // Copies all that is not there yet, as it is, checking every signature and hash on the way.
  // `path` becomes a repository with the same id, or is one already (kUsage if it has another id).
  // A copy that was cut short goes on where it stopped. kVerificationFailed if the two have
  // different snapshots with one seq (a fork).
  Result<CopyReport, Error> copy_to(const std::string& path, const identity::TrustStore* trust,
                                    const Progress& progress = {});

  // Without any opening key: signatures, chains, and every object's size and SHA-256.
  Result<VerifyReport, Error> verify(const VerifyOptions& options);

 private:
  DirectoryRepository(Seams seams, std::string path, std::string id)
      : seams_(seams), path_(std::move(path)), id_(std::move(id)) {}
  static Result<DirectoryRepository, Error> init_with_id(Seams seams, const std::string& path,
                                                         const std::string& id);
  RepositoryPlace place() const;
  Seams seams_;
  std::string path_;
  std::string id_;
};

}  // namespace sealane::store
