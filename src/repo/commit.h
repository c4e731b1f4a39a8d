#pragma once
// Commit: what a host signs about one finished snapshot. Format: docs/protocol/repository.md,
// section 3.
#include "repo/document.h"
#include "sealane/repo/records.h"

namespace sealane::repo {

//   field       type     meaning
//   format      1
//   repository  hex      32 digits, of repo.json
//   host        text     fingerprint "SHA256:…" of the signing key
//   host_name   text     as the host calls itself, 1 .. 255 bytes
//   plan        name
//   seq         integer  1 .. kMaxSeq; one more than the commit before
//   previous    hex      id of the commit before, 64 digits; empty when seq is 1
//   host_time   time     RFC 3339, UTC, by the host's clock
//   objects     array    {file, size, sha256}: streams in order, then details.age
struct Commit {
  static constexpr std::size_t kMaxHostName = 255;
  std::string repository;
  std::string host;
  std::string host_name;
  std::string plan;
  std::uint64_t seq = 0;
  std::string previous;
  WallTime host_time{};  // whole seconds
  std::vector<ObjectRecord> objects;
  friend bool operator==(const Commit&, const Commit&) = default;
};

// The fault that keeps `commit` from being written, if any.
Result<void, DocumentError> check(const Commit& commit);
// The text that is signed. REQUIRES: check(commit).
std::string encode(const Commit& commit);
// Accepts exactly what encode() writes: one value, one encoding. Authenticates nothing.
Result<Commit, DocumentError> decode_commit(std::string_view text);

struct SignedCommit {
  Commit commit;
  std::string id;                // text_id of the signed text
  crypto::Ed25519Public signer;  // its fingerprint is commit.host
};
// REQUIRES: check(commit), and commit.host is the fingerprint of `key`.
std::string sign_commit(const Commit& commit, const identity::SigningKey& key);
// Decodes a commit file and checks its signature. Whether to believe the signer is the caller's
// decision.
Result<SignedCommit, DocumentError> open_commit(std::string_view document);

}  // namespace sealane::repo
