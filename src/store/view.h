#pragma once
// RepositoryView: all that is in a repository, read once and checked: documents, signatures,
// chains; not the objects.
#include "repo/chain.h"
#include "repo/commit.h"
#include "store/place.h"

namespace sealane::store {

struct ChainView {
  std::string key_id;
  std::string host;  // fingerprint
  std::string plan;
  std::string directory;                // relative
  std::vector<SnapshotInfo> snapshots;  // by seq
  std::vector<Problem> problems;

  // Of the newest snapshot; empty without one.
  std::string host_name() const { return snapshots.empty() ? "" : snapshots.back().host_name; }
  // `plan` and `host` (fingerprint or name) as in the options; empty: any.
  bool matches(const std::string& wanted_plan, const std::string& wanted_host) const;
};

struct RepositoryView {
  std::vector<ChainView> chains;  // by key id, plan
  std::vector<Problem> problems;  // that belong to no chain
};

// An error only if the folders cannot be listed; all else is a problem of its place.
Result<RepositoryView, Error> read_repository(const RepositoryPlace& place,
                                              const identity::TrustStore* trust);

// One commit file, checked against the folder it lies in. Not against a trust store.
Result<repo::SignedCommit, Error> read_commit(const RepositoryPlace& place,
                                              const std::string& key_id, const std::string& plan,
                                              std::uint64_t seq);
// What the file beside a commit says. kVerificationFailed if it is missing or damaged.
Result<WallTime, Error> read_received(const RepositoryPlace& place, const std::string& directory);
SnapshotInfo to_snapshot(const repo::SignedCommit& commit, const std::string& key_id);

// "snapshot 7 of plan shop of host SHA256:…"
std::string title(const SnapshotInfo& snapshot);
// What check_chain found, as a sentence.
Problem chain_problem(const std::string& key_id, const std::string& plan,
                      const repo::ChainProblem& problem);

// All proof files of one snapshot.
Result<DirectoryRepository::ProofListing, Error> read_proofs(const RepositoryPlace& place,
                                                             const std::string& snapshot_id,
                                                             const identity::TrustStore* trust);

// Where a proof lies: its name holds its time and its hash.
std::string proof_file(const repo::Proof& proof, const std::string& text_id);
// Durable. The same proof again is a success.
Result<void, Error> keep_proof(const RepositoryPlace& place, const std::string& relative,
                               std::string_view document);

}  // namespace sealane::store
