#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/limits.h"
#include "repo/names.h"
#include "repo/proof.h"
#include "store/view.h"

namespace sealane::store {
namespace {

// 2026-11-20T13:54:00Z → 20261120T135400Z: sorts by time, and needs no quoting in a shell.
std::string compact(WallTime time) {
  std::string text = to_rfc3339(time);
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

}  // namespace

std::string proof_file(const repo::Proof& proof, const std::string& text_id) {
  return "proofs/" + proof.snapshot + "/" + compact(proof.time) + "-" + text_id.substr(0, 16);
}

Result<void, Error> keep_proof(const RepositoryPlace& place, const std::string& relative,
                               std::string_view document) {
  FileSystem& files = place.seams.files;
  SEALANE_TRY(const auto lock, lock_shortly(files, place.absolute("locks/proofs")));
  const std::string path = place.absolute(relative);
  const auto keep = [&]() -> FileResult<void> {
    SEALANE_TRY(ensure_directory(files, parent_path(path)));
    SEALANE_TRY(remove_left_overs(files, parent_path(path)));
    auto published = publish_file(place.seams, path, as_bytes(document));
    if (published.has_value() || published.error().code != EEXIST) return published;
    // The same proof again is no failure: its name holds its hash.
    SEALANE_TRY(const Bytes there,
                read_file(files, path, limits::kProofSize, OpenMode::kReadRegular));
    if (as_text(there) != document) return published;
    return files.sync_directory(parent_path(path));
  };
  const auto kept = keep();
  if (!kept.has_value()) return to_error(kept.error());
  return success();
}

Result<std::string, Error> DirectoryRepository::write_proof(const identity::SigningKey& prover,
                                                            repo::Proof proof) {
  proof.prover = identity::fingerprint(prover.public_key());
  proof.time = std::chrono::floor<std::chrono::seconds>(proof.time);
  const repo::ProofDocument document{.repository = id_, .proof = std::move(proof)};
  if (const auto fits = repo::check(document); !fits.has_value()) {
    return Error{ErrorKind::kUsage, "this proof cannot be kept: " + describe(fits.error())};
  }
  const std::string relative = proof_file(document.proof, repo::text_id(repo::encode(document)));
  SEALANE_TRY(keep_proof(place(), relative, repo::sign_proof(document, prover)));
  return relative;
}

Result<DirectoryRepository::ProofListing, Error> DirectoryRepository::proofs(
    const std::string& snapshot_id, const identity::TrustStore* trust) {
  if (!repo::is_hex_digest(snapshot_id)) {
    return Error{ErrorKind::kUsage, printable(snapshot_id) + " is not a whole snapshot id"};
  }
  return read_proofs(place(), snapshot_id, trust);
}

}  // namespace sealane::store
