#include "repo/proof.h"

#include "base/check.h"
#include "base/limits.h"
#include "repo/json.h"
#include "repo/names.h"

namespace sealane::repo {
namespace {

constexpr JsonLimits kLimits{.size = limits::kProofSize, .values = 64};

Result<ProofDocument, DocumentError> read_proof(FieldReader& reader) {
  ProofDocument document;
  Proof& proof = document.proof;
  SEALANE_TRY(document.repository, reader.matching(is_repository_id));
  SEALANE_TRY(proof.snapshot, reader.matching(is_hex_digest));
  SEALANE_TRY(proof.prover, reader.matching(is_fingerprint));
  SEALANE_TRY(proof.prover_name, reader.text(ProofDocument::kMaxText));
  SEALANE_TRY(proof.time, reader.time());
  SEALANE_TRY(const std::string level, reader.text(16));
  if (level == name_of(FingerprintLevel::kStructure)) {
    proof.level = FingerprintLevel::kStructure;
  } else if (level == name_of(FingerprintLevel::kContent)) {
    proof.level = FingerprintLevel::kContent;
  } else {
    return reader.bad_value();
  }
  SEALANE_TRY(const std::string outcome, reader.text(16));
  if (outcome == name_of(ProofOutcome::kEqual)) {
    proof.outcome = ProofOutcome::kEqual;
  } else if (outcome == name_of(ProofOutcome::kDifferent)) {
    proof.outcome = ProofOutcome::kDifferent;
  } else if (outcome == name_of(ProofOutcome::kNotRestorable)) {
    proof.outcome = ProofOutcome::kNotRestorable;
  } else {
    return reader.bad_value();
  }
  SEALANE_TRY(proof.target, reader.text(ProofDocument::kMaxText));
  SEALANE_TRY(proof.fingerprint, reader.matching([](std::string_view text) {
    return text.empty() || is_hex_digest(text);
  }));
  return document;
}

Result<ForgottenRecord, DocumentError> read_forgotten(FieldReader& reader) {
  ForgottenRecord record;
  SEALANE_TRY(record.repository, reader.matching(is_repository_id));
  SEALANE_TRY(record.host, reader.matching(is_fingerprint));
  SEALANE_TRY(record.plan, reader.matching(valid_name));
  SEALANE_TRY(record.seq, reader.number(1, kMaxSeq));
  SEALANE_TRY(record.snapshot, reader.matching(is_hex_digest));
  SEALANE_TRY(record.by, reader.matching(is_fingerprint));
  SEALANE_TRY(record.time, reader.time());
  return record;
}

}  // namespace

std::string encode(const ProofDocument& document) {
  const Proof& proof = document.proof;
  JsonWriter writer;
  writer.key("format").number(kFormat);
  writer.key("repository").plain(document.repository);
  writer.key("snapshot").plain(proof.snapshot);
  writer.key("prover").plain(proof.prover);
  writer.key("prover_name").text(proof.prover_name);
  writer.key("time").time(proof.time);
  writer.key("level").plain(name_of(proof.level));
  writer.key("outcome").plain(name_of(proof.outcome));
  writer.key("target").text(proof.target);
  writer.key("fingerprint").plain(proof.fingerprint);
  return writer.finish();
}

Result<ProofDocument, DocumentError> decode_proof(std::string_view text) {
  return decode_document<ProofDocument>(
      text, kLimits,
      {"format", "repository", "snapshot", "prover", "prover_name", "time", "level", "outcome",
       "target", "fingerprint"},
      read_proof, encode);
}

Result<void, DocumentError> check(const ProofDocument& document) {
  SEALANE_TRY(decode_proof(encode(document)));
  return success();
}

std::string sign_proof(const ProofDocument& document, const identity::SigningKey& key) {
  SEALANE_CHECK(check(document).has_value());
  SEALANE_CHECK(document.proof.prover == identity::fingerprint(key.public_key()));
  return append_signature(encode(document), key, kProofNamespace);
}

Result<SignedProof, DocumentError> open_proof(std::string_view document) {
  if (document.size() > limits::kProofSize) return DocumentError{DocumentFault::kTooLarge, {}};
  SEALANE_TRY(const SignedText parts, split_signed(document));
  SEALANE_TRY(auto decoded, decode_proof(parts.text));
  SEALANE_TRY(const auto signer, check_signature(parts, kProofNamespace));
  if (identity::fingerprint(signer) != decoded.proof.prover) {
    return DocumentError{DocumentFault::kWrongSigner, {}};
  }
  return SignedProof{.document = std::move(decoded), .id = text_id(parts.text), .signer = signer};
}

std::string encode(const ForgottenRecord& record) {
  JsonWriter writer;
  writer.key("format").number(kFormat);
  writer.key("repository").plain(record.repository);
  writer.key("host").plain(record.host);
  writer.key("plan").plain(record.plan);
  writer.key("seq").number(record.seq);
  writer.key("snapshot").plain(record.snapshot);
  writer.key("by").plain(record.by);
  writer.key("time").time(record.time);
  return writer.finish();
}

Result<ForgottenRecord, DocumentError> decode_forgotten(std::string_view text) {
  return decode_document<ForgottenRecord>(
      text, kLimits, {"format", "repository", "host", "plan", "seq", "snapshot", "by", "time"},
      read_forgotten, encode);
}

Result<void, DocumentError> check(const ForgottenRecord& record) {
  SEALANE_TRY(decode_forgotten(encode(record)));
  return success();
}

std::string sign_forgotten(const ForgottenRecord& record, const identity::SigningKey& key) {
  SEALANE_CHECK(check(record).has_value());
  SEALANE_CHECK(record.by == identity::fingerprint(key.public_key()));
  return append_signature(encode(record), key, kForgetNamespace);
}

Result<SignedForgotten, DocumentError> open_forgotten(std::string_view document) {
  if (document.size() > limits::kProofSize) return DocumentError{DocumentFault::kTooLarge, {}};
  SEALANE_TRY(const SignedText parts, split_signed(document));
  SEALANE_TRY(auto record, decode_forgotten(parts.text));
  SEALANE_TRY(const auto signer, check_signature(parts, kForgetNamespace));
  if (identity::fingerprint(signer) != record.by) {
    return DocumentError{DocumentFault::kWrongSigner, {}};
  }
  return SignedForgotten{.record = std::move(record), .signer = signer};
}

}  // namespace sealane::repo
