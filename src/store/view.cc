#include "store/view.h"

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/limits.h"
#include "repo/names.h"
#include "repo/proof.h"

namespace sealane::store {
namespace {

constexpr std::size_t kMaxReceived = 64;

std::string snapshot_directory(const std::string& key_id, const std::string& plan,
                               std::uint64_t seq) {
  return chain_directory(key_id, plan) + "/" + repo::seq_directory(seq);
}

// An empty list if the folder is missing.
Result<std::vector<DirectoryEntry>, Error> list_if_there(const RepositoryPlace& place,
                                                         const std::string& relative) {
  auto entries = place.seams.files.list(place.absolute(relative));
  if (entries.has_value()) return std::move(entries.value());
  if (entries.error().code == ENOENT) return std::vector<DirectoryEntry>{};
  return to_error(entries.error());
}

Error damaged(const RepositoryPlace& place, const std::string& relative,
              const repo::DocumentError& why) {
  // A newer format is no damage; the message says what to do.
  const bool newer = why.fault == repo::DocumentFault::kNewerFormat;
  return {newer ? ErrorKind::kFailed : ErrorKind::kVerificationFailed,
          printable(place.absolute(relative)) + " cannot be trusted: " + describe(why)};
}

Result<std::string, Error> read_document(const RepositoryPlace& place, const std::string& relative,
                                         std::size_t limit) {
  const std::string path = place.absolute(relative);
  const auto content = read_file(place.seams.files, path, limit, OpenMode::kReadRegular);
  if (content.has_value()) return to_text(content.value());
  if (content.error().code == ENOENT) {
    return verification_failed(printable(path) + " is missing");
  }
  if (content.error().code == EMEDIUMTYPE) {
    return verification_failed(printable(path) + " is not a regular file");
  }
  if (content.error().code == EFBIG) {
    return verification_failed(printable(path) + " is larger than such a file can be");
  }
  return to_error(content.error());
}

// The forgotten record of `snapshot`, checked; its time.
Result<WallTime, Error> read_forgotten(const RepositoryPlace& place, const SnapshotInfo& snapshot,
                                       const std::string& relative,
                                       const identity::TrustStore* trust) {
  SEALANE_TRY(const std::string text, read_document(place, relative, limits::kProofSize));
  const auto opened = repo::open_forgotten(text);
  if (!opened.has_value()) return damaged(place, relative, opened.error());
  const repo::ForgottenRecord& record = opened.value().record;
  if (record.repository != place.id || record.host != snapshot.host ||
      record.plan != snapshot.plan || record.seq != snapshot.seq ||
      record.snapshot != snapshot.id) {
    return verification_failed(printable(place.absolute(relative)) +
                               " speaks of another snapshot than the one it lies beside");
  }
  const crypto::Ed25519Public& by = opened.value().signer;
  if (trust != nullptr &&
      (!trust->may_sign(by, repo::kForgetNamespace, record.time) ||
       !trust->allows(by, "repo:forget", "plan:" + snapshot.plan, record.time))) {
    return Error{ErrorKind::kPinMismatch,
                 title(snapshot) + " was forgotten by " + record.by +
                     ", a key without the right repo:forget for it in the trust file"};
  }
  return record.time;
}

std::string sentence(const std::string& key_id, const std::string& plan,
                     const repo::ChainProblem& problem) {
  std::string which = "snapshot " + std::to_string(problem.seq) + " of plan " + plan + " of host " +
                      fingerprint_of(key_id);
  switch (problem.fault) {
    case repo::ChainFault::kMissing:
      return which + " is missing, though later ones are there";
    case repo::ChainFault::kFork:
      return which +
             " exists twice with different content: that host's key is in use on two machines";
    case repo::ChainFault::kBrokenLink:
      return which +
             " follows another snapshot than the one that is there: the chain was changed, or "
             "that host's key is in use on two machines";
    case repo::ChainFault::kRolledBack:
      return which +
             " was seen here before and is gone: the repository was rolled back; bring the newer "
             "state back, or, if there is none, move the file heads of $SEALANE_HOME away to go on "
             "from here";
    case repo::ChainFault::kRewritten:
      return which +
             " is not the one that was seen here before: the chain was rewritten, or that "
             "host's key is in use on two machines";
  }
  return which;
}

void add_proofs(const RepositoryPlace& place, const identity::TrustStore* trust,
                SnapshotInfo& snapshot, std::vector<Problem>& problems) {
  auto listing = read_proofs(place, snapshot.id, trust);
  if (!listing.has_value()) {
    problems.push_back({listing.error(), "proofs/" + snapshot.id});
    return;
  }
  std::ranges::move(listing.value().problems, std::back_inserter(problems));
  std::set<std::string> unpinned;
  for (const ProofInfo& info : listing.value().proofs) {
    if (!info.trusted) unpinned.insert(info.proof.prover);
    if (!info.trusted || info.proof.outcome != repo::ProofOutcome::kEqual) continue;
    snapshot.proven = true;
    snapshot.proven_at = info.proof.time;  // by time: the last one is the newest
    snapshot.proven_level = info.proof.level;
  }
  snapshot.unpinned_provers.assign(unpinned.begin(), unpinned.end());
}

Result<ChainView, Error> read_chain(const RepositoryPlace& place, const std::string& key_id,
                                    const std::string& plan, const identity::TrustStore* trust,
                                    const std::set<std::string>& with_proofs) {
  ChainView chain{.key_id = key_id,
                  .host = fingerprint_of(key_id),
                  .plan = plan,
                  .directory = chain_directory(key_id, plan),
                  .snapshots = {},
                  .problems = {}};
  SEALANE_TRY(const auto entries, list_if_there(place, chain.directory));
  const std::string forgotten_folder = chain.directory + "/" + std::string(kForgottenFolder);
  SEALANE_TRY(const auto forgotten, list_if_there(place, forgotten_folder));

  std::set<std::uint64_t> unreadable;
  std::vector<repo::ChainLink> links;
  for (const DirectoryEntry& entry : entries) {
    const auto seq = repo::parse_seq_directory(entry.name);
    if (!seq) continue;
    const std::string directory = chain.directory + "/" + entry.name;
    const auto commit = read_commit(place, key_id, plan, *seq);
    if (!commit.has_value()) {
      chain.problems.push_back({commit.error(), directory + "/" + std::string(kCommitFile)});
      unreadable.insert(*seq);
      continue;
    }
    SnapshotInfo snapshot = to_snapshot(commit.value(), key_id);
    links.push_back({snapshot.seq, snapshot.id, snapshot.previous});
    const auto received = read_received(place, directory);
    if (received.has_value()) {
      snapshot.received = received.value();
    } else {
      snapshot.received = snapshot.host_time;
      chain.problems.push_back({received.error(), directory + "/" + std::string(kReceivedFile)});
    }
    if (trust != nullptr &&
        !trust->may_sign(commit.value().signer, repo::kCommitNamespace, snapshot.received)) {
      chain.problems.push_back(
          {{ErrorKind::kPinMismatch, title(snapshot) +
                                         " is signed by a key that was not allowed to when it "
                                         "came; see the trust file"},
           directory});
      continue;
    }
    if (std::ranges::find(forgotten, entry.name, &DirectoryEntry::name) != forgotten.end()) {
      const std::string record = forgotten_folder + "/" + entry.name;
      const auto when = read_forgotten(place, snapshot, record, trust);
      if (when.has_value()) {
        snapshot.forgotten = true;
        snapshot.forgotten_at = when.value();
      } else {
        chain.problems.push_back({when.error(), record});
      }
    }
    if (with_proofs.contains(snapshot.id)) add_proofs(place, trust, snapshot, chain.problems);
    chain.snapshots.push_back(std::move(snapshot));
  }

  for (repo::ChainProblem problem : repo::check_chain(links, std::nullopt)) {
    if (problem.fault == repo::ChainFault::kMissing) {
      // A commit that is there and damaged was reported above.
      while (unreadable.contains(problem.seq)) ++problem.seq;
      const auto same = [&](const repo::ChainLink& link) { return link.seq == problem.seq; };
      if (std::ranges::any_of(links, same)) continue;
    }
    chain.problems.push_back(chain_problem(key_id, plan, problem));
  }
  return chain;
}

}  // namespace

bool ChainView::matches(const std::string& wanted_plan, const std::string& wanted_host) const {
  if (!wanted_plan.empty() && wanted_plan != plan) return false;
  return wanted_host.empty() || wanted_host == host || wanted_host == host_name();
}

std::string title(const SnapshotInfo& snapshot) {
  return "snapshot " + std::to_string(snapshot.seq) + " of plan " + snapshot.plan + " of host " +
         snapshot.host;
}

Problem chain_problem(const std::string& key_id, const std::string& plan,
                      const repo::ChainProblem& problem) {
  return {verification_failed(sentence(key_id, plan, problem)),
          snapshot_directory(key_id, plan, problem.seq)};
}

Result<repo::SignedCommit, Error> read_commit(const RepositoryPlace& place,
                                              const std::string& key_id, const std::string& plan,
                                              std::uint64_t seq) {
  const std::string relative =
      snapshot_directory(key_id, plan, seq) + "/" + std::string(kCommitFile);
  SEALANE_TRY(const std::string text, read_document(place, relative, limits::kCommitSize));
  auto opened = repo::open_commit(text);
  if (!opened.has_value()) return damaged(place, relative, opened.error());
  const repo::Commit& commit = opened.value().commit;
  const auto foreign = [&](std::string_view what) {
    return verification_failed(printable(place.absolute(relative)) + " belongs to another " +
                               std::string(what) + ": somebody has moved it");
  };
  if (commit.repository != place.id) return foreign("repository");
  if (repo::key_id(opened.value().signer) != key_id) return foreign("host");
  if (commit.plan != plan) return foreign("plan");
  if (commit.seq != seq) return foreign("place in its chain");
  return std::move(opened.value());
}

Result<WallTime, Error> read_received(const RepositoryPlace& place, const std::string& directory) {
  const std::string relative = directory + "/" + std::string(kReceivedFile);
  SEALANE_TRY(const std::string text, read_document(place, relative, kMaxReceived));
  const auto time = text.ends_with('\n')
                        ? from_rfc3339(std::string_view(text).substr(0, text.size() - 1))
                        : std::nullopt;
  if (!time) {
    return verification_failed(printable(place.absolute(relative)) +
                               " does not hold the time at which the snapshot came");
  }
  return *time;
}

SnapshotInfo to_snapshot(const repo::SignedCommit& commit, const std::string& key_id) {
  SnapshotInfo snapshot;
  snapshot.id = commit.id;
  snapshot.directory = snapshot_directory(key_id, commit.commit.plan, commit.commit.seq);
  snapshot.host = commit.commit.host;
  snapshot.key_id = key_id;
  snapshot.host_name = commit.commit.host_name;
  snapshot.plan = commit.commit.plan;
  snapshot.seq = commit.commit.seq;
  snapshot.previous = commit.commit.previous;
  snapshot.host_time = commit.commit.host_time;
  snapshot.objects = commit.commit.objects;
  return snapshot;
}

Result<DirectoryRepository::ProofListing, Error> read_proofs(const RepositoryPlace& place,
                                                             const std::string& snapshot_id,
                                                             const identity::TrustStore* trust) {
  DirectoryRepository::ProofListing listing;
  const std::string folder = "proofs/" + snapshot_id;
  SEALANE_TRY(const auto entries, list_if_there(place, folder));
  for (const DirectoryEntry& entry : entries) {
    if (entry.name.starts_with('.')) continue;
    const std::string relative = folder + "/" + entry.name;
    const auto text = read_document(place, relative, limits::kProofSize);
    if (!text.has_value()) {
      listing.problems.push_back({text.error(), relative});
      continue;
    }
    auto opened = repo::open_proof(text.value());
    if (!opened.has_value()) {
      listing.problems.push_back({damaged(place, relative, opened.error()), relative});
      continue;
    }
    repo::Proof& proof = opened.value().document.proof;
    if (opened.value().document.repository != place.id || proof.snapshot != snapshot_id) {
      listing.problems.push_back(
          {verification_failed(printable(place.absolute(relative)) +
                               " speaks of another snapshot than the one it lies beside"),
           relative});
      continue;
    }
    const bool trusted = trust == nullptr ||
                         trust->may_sign(opened.value().signer, repo::kProofNamespace, proof.time);
    listing.proofs.push_back({.proof = std::move(proof), .file = relative, .trusted = trusted});
  }
  std::ranges::stable_sort(listing.proofs, {},
                           [](const ProofInfo& info) { return info.proof.time; });
  return listing;
}

Result<RepositoryView, Error> read_repository(const RepositoryPlace& place,
                                              const identity::TrustStore* trust) {
  std::set<std::string> pinned;
  if (trust != nullptr) {
    for (const identity::TrustedKey& key : trust->keys()) pinned.insert(repo::key_id(key.key));
  }
  SEALANE_TRY(const auto proof_folders, list_if_there(place, "proofs"));
  std::set<std::string> with_proofs;
  for (const DirectoryEntry& entry : proof_folders) with_proofs.insert(entry.name);

  RepositoryView view;
  SEALANE_TRY(const auto hosts, list_if_there(place, "hosts"));
  for (const DirectoryEntry& host : hosts) {
    if (host.type != FileType::kDirectory || !repo::is_hex_digest(host.name)) continue;
    const std::string folder = "hosts/" + host.name;
    if (trust != nullptr && !pinned.contains(host.name)) {
      view.problems.push_back(
          {{ErrorKind::kPinMismatch, "host " + fingerprint_of(host.name) +
                                         " is not in the trust file, so its snapshots in " +
                                         printable(place.absolute(folder)) +
                                         " count for nothing; if you know it, pin its key with "
                                         "--host-key or in the trust file"},
           folder});
      continue;
    }
    SEALANE_TRY(const auto plans, list_if_there(place, folder));
    for (const DirectoryEntry& plan : plans) {
      if (plan.type != FileType::kDirectory || !repo::valid_name(plan.name)) continue;
      SEALANE_TRY(auto chain, read_chain(place, host.name, plan.name, trust, with_proofs));
      view.chains.push_back(std::move(chain));
    }
  }
  return view;
}

}  // namespace sealane::store
