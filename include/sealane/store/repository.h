#pragma once
// Repository, format 1, in a directory: docs/protocol/repository.md.
//
//   repo.json                                   format, id, creation time
//   hosts/<key id>/<plan>/<seq, 10 digits>/     one snapshot: <n>-<name>.zst.age, details.age, commit
//   hosts/<key id>/<plan>/forgotten/<seq>       signed record: its objects were deleted, its commit kept
//   proofs/<snapshot id>/<time>-<prover>        signed result of a drill
//   locks/<key id>.<plan>                       advisory lock of the one writer of a chain
//
// A snapshot appears by rename after everything in it was synced; only then it is acknowledged.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sealane/base/clock.h"
#include "sealane/base/error.h"
#include "sealane/base/file_system.h"
#include "sealane/base/random.h"
#include "sealane/identity/keys.h"
#include "sealane/identity/trust.h"

namespace sealane::store {

struct ObjectRecord {
  std::string file;  // "0-database.zst.age"
  std::uint64_t size = 0;
  ByteArray<32> sha256{};
};

// What a commit says; its meaning is src/repo/commit.h's.
struct SnapshotInfo {
  std::string id;         // lower-case hex SHA-256 of the commit's signed text; prefixes name it too
  std::string directory;  // relative to the repository: "hosts/…/shop/0000000007"
  std::string host;       // fingerprint "SHA256:…" of the signing key
  std::string host_name;  // as the host calls itself
  std::string plan;
  std::uint64_t seq = 0;
  std::string previous;   // id of the snapshot before; empty for the first
  WallTime host_time{};
  std::vector<ObjectRecord> objects;  // streams in order, then details.age
  bool forgotten = false;
  bool proven = false;              // at least one valid proof of a trusted prover
  std::optional<WallTime> proven_at;
};

// Writes one snapshot. Nothing is visible before commit(); the destructor removes what was not
// committed. Holds the chain's lock.
class SnapshotWriter {
 public:
  virtual ~SnapshotWriter() = default;
  virtual std::uint64_t seq() const = 0;
  virtual std::string previous() const = 0;
  // One object at a time: append … finish. `size` and `sha256` of what was written come from the
  // caller's own counting and are compared with the file's size.
  virtual Result<void, Error> begin_object(const std::string& file) = 0;
  virtual Result<void, Error> append(ByteSpan data) = 0;
  virtual Result<void, Error> finish_object(const ByteArray<32>& sha256) = 0;
  // Signs, syncs, renames, syncs. When it returns success, the snapshot survives a power loss.
  virtual Result<SnapshotInfo, Error> commit(const identity::SigningKey& host,
                                             const std::string& host_name, WallTime host_time) = 0;
};

struct Seams {
  FileSystem& files;
  Clock& clock;
  RandomSource& random;
};

class DirectoryRepository {
 public:
  // kUsage if `path` exists and is not empty.
  static Result<DirectoryRepository, Error> init(Seams seams, const std::string& path);
  // kRepositoryMissing; kFailed for a newer format ("made by a newer Sealane: …").
  static Result<DirectoryRepository, Error> open(Seams seams, const std::string& path);

  const std::string& id() const { return id_; }
  const std::string& path() const { return path_; }

  // kLocked if another writer is at this chain. Removes the left-overs of a crashed one.
  Result<std::unique_ptr<SnapshotWriter>, Error> begin(const crypto::Ed25519Public& host,
                                                       const std::string& plan);
  // All snapshots, by host, plan, seq. Signatures are checked against the key that the folder names
  // and, with `trust`, against the pins; a commit that fails is an entry of `problems`, not of the list.
  struct Listing {
    std::vector<SnapshotInfo> snapshots;
    std::vector<Error> problems;
  };
  Result<Listing, Error> list(const identity::TrustStore* trust);
  // "latest", "latest:PLAN", or a unique prefix of an id (at least 4 digits).
  Result<SnapshotInfo, Error> find(const std::string& name, const identity::TrustStore* trust);
  Result<std::unique_ptr<File>, Error> open_object(const SnapshotInfo& snapshot,
                                                   const std::string& file);

 private:
  DirectoryRepository(Seams seams, std::string path, std::string id)
      : seams_(seams), path_(std::move(path)), id_(std::move(id)) {}
  Seams seams_;
  std::string path_;
  std::string id_;
};

}  // namespace sealane::store
