#pragma once
// Proof document and forgotten record: the two signed texts that are added to a snapshot later.
// Formats: docs/protocol/repository.md, sections 5 and 6.
#include "repo/document.h"
#include "sealane/repo/records.h"

namespace sealane::repo {

//   format 1, repository, snapshot, prover, prover_name, time, level, outcome, target, fingerprint
struct ProofDocument {
  static constexpr std::size_t kMaxText = 1024;  // prover_name, target
  std::string repository;
  Proof proof;
  friend bool operator==(const ProofDocument&, const ProofDocument&) = default;
};
Result<void, DocumentError> check(const ProofDocument& document);
std::string encode(const ProofDocument& document);  // REQUIRES: check(document)
Result<ProofDocument, DocumentError> decode_proof(std::string_view text);

struct SignedProof {
  ProofDocument document;
  std::string id;
  crypto::Ed25519Public signer;
};
std::string sign_proof(const ProofDocument& document, const identity::SigningKey& key);
Result<SignedProof, DocumentError> open_proof(std::string_view document);

//   format 1, repository, host, plan, seq, snapshot, by, time
// Says that the objects of a snapshot were deleted on purpose.
struct ForgottenRecord {
  std::string repository;
  std::string host;  // fingerprint of the chain's key
  std::string plan;
  std::uint64_t seq = 0;
  std::string snapshot;  // id
  std::string by;        // fingerprint of the signing key
  WallTime time{};
  friend bool operator==(const ForgottenRecord&, const ForgottenRecord&) = default;
};
Result<void, DocumentError> check(const ForgottenRecord& record);
std::string encode(const ForgottenRecord& record);  // REQUIRES: check(record)
Result<ForgottenRecord, DocumentError> decode_forgotten(std::string_view text);

struct SignedForgotten {
  ForgottenRecord record;
  crypto::Ed25519Public signer;
};
std::string sign_forgotten(const ForgottenRecord& record, const identity::SigningKey& key);
Result<SignedForgotten, DocumentError> open_forgotten(std::string_view document);

}  // namespace sealane::repo
