#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/check.h"
#include "crypto/hash.h"
#include "repo/names.h"
#include "repo/repo_json.h"
#include "sealane/store/repository.h"
#include "store/snapshot_writer.h"
#include "store/view.h"

namespace sealane::store {
namespace {

constexpr std::string_view kRepositoryFile = "repo.json";
constexpr std::string_view kFolders[] = {"hosts", "locks", "proofs"};

// Nothing, or what an init leaves that was cut short.
Result<bool, FileError> is_free(FileSystem& files, const std::string& path) {
  SEALANE_TRY(const auto entries, files.list(path));
  for (const DirectoryEntry& entry : entries) {
    if (entry.name.starts_with(kTemporaryPrefix) && entry.type == FileType::kRegular) continue;
    if (std::ranges::find(kFolders, entry.name) == std::end(kFolders)) return false;
    SEALANE_TRY(const auto inside, files.list(join_path(path, entry.name)));
    if (!inside.empty()) return false;
  }
  return true;
}

FileResult<void> make_repository(Seams seams, const std::string& path, const std::string& id) {
  SEALANE_TRY(remove_left_overs(seams.files, path));
  for (const std::string_view folder : kFolders) {
    SEALANE_TRY(ensure_directory(seams.files, join_path(path, folder)));
  }
  const repo::RepositoryDocument document{
      .id = id, .created = std::chrono::floor<std::chrono::seconds>(seams.clock.wall_now())};
  return publish_file(seams, join_path(path, kRepositoryFile), as_bytes(repo::encode(document)));
}

// What is wrong with the chain's newest commit compared with what was seen; the seam of a rollback.
Result<void, Error> check_seen(const RepositoryPlace& place, const DirectoryWriter::Link& next,
                               const SeenHead& seen) {
  std::vector<repo::ChainLink> links;
  if (next.seq > 1) links.push_back({next.seq - 1, next.previous, {}});
  if (seen.seq < next.seq - 1) {
    SEALANE_TRY(const auto commit, read_commit(place, next.key_id, next.plan, seen.seq));
    links.push_back({seen.seq, commit.id, {}});
  }
  for (const repo::ChainProblem& problem :
       repo::check_chain(links, repo::ChainHead{seen.seq, seen.id})) {
    // The two links alone are no whole chain.
    if (problem.fault == repo::ChainFault::kRolledBack ||
        problem.fault == repo::ChainFault::kRewritten) {
      return chain_problem(next.key_id, next.plan, problem).error;
    }
  }
  return success();
}

const ObjectRecord* find_object(const SnapshotInfo& snapshot, const std::string& file) {
  const auto found = std::ranges::find(snapshot.objects, file, &ObjectRecord::file);
  return found == snapshot.objects.end() ? nullptr : &*found;
}

std::string short_id(const std::string& id) { return id.substr(0, 12); }

// "latest", "latest:PLAN", "latest:HOST/PLAN"
Result<SnapshotInfo, Error> find_latest(const RepositoryView& view, std::string_view wanted) {
  std::string host;
  std::string plan;
  if (wanted.starts_with("latest:")) {
    plan = wanted.substr(7);
    // A fingerprint may hold slashes, a plan never.
    if (const std::size_t slash = plan.rfind('/'); slash != std::string::npos) {
      host = plan.substr(0, slash);
      plan = plan.substr(slash + 1);
    }
  }
  const ChainView* chain = nullptr;
  const SnapshotInfo* latest = nullptr;
  const SnapshotInfo* as_new = nullptr;  // of another chain, in the same second
  for (const ChainView& candidate : view.chains) {
    if (!candidate.matches(plan, host)) continue;
    const auto newest =
        std::ranges::find_if(candidate.snapshots.rbegin(), candidate.snapshots.rend(),
                             [](const auto& s) { return !s.forgotten; });
    if (newest == candidate.snapshots.rend()) continue;
    if (latest != nullptr && !plan.empty()) {
      return Error{ErrorKind::kUsage, "several hosts have a plan " + printable(plan) +
                                          "; say which: latest:" + candidate.host_name() + "/" +
                                          printable(plan) + ", or name a snapshot by its id"};
    }
    if (latest == nullptr || newest->received > latest->received) {
      latest = &*newest;
      chain = &candidate;
      as_new = nullptr;
    } else if (newest->received == latest->received) {
      as_new = &*newest;
    }
  }
  if (as_new != nullptr) {
    return Error{ErrorKind::kUsage,
                 "which one is the latest? " + latest->plan + " (" + short_id(latest->id) +
                     ") and " + as_new->plan + " (" + short_id(as_new->id) +
                     ") came in the same second; say latest:PLAN, or name a snapshot by its id"};
  }
  if (latest == nullptr) {
    // Why there is none may be known.
    for (const ChainView& candidate : view.chains) {
      if (candidate.matches(plan, host) && !candidate.problems.empty()) {
        return candidate.problems.front().error;
      }
    }
    if (view.chains.empty() && !view.problems.empty()) return view.problems.front().error;
    return Error{ErrorKind::kUsage, "there is no snapshot" +
                                        (plan.empty() ? "" : " of a plan " + printable(plan)) +
                                        (host.empty() ? "" : " of a host " + printable(host)) +
                                        "; `sealane snapshots` lists what is there"};
  }
  if (!chain->problems.empty()) {
    Error error = chain->problems.front().error;
    error.message +=
        "; the newest snapshot may not be the newest that was made: to take one all "
        "the same, name it by its id (here " +
        short_id(latest->id) + ")";
    return error;
  }
  return *latest;
}

}  // namespace

RepositoryPlace DirectoryRepository::place() const { return {seams_, path_, id_}; }

Result<DirectoryRepository, Error> DirectoryRepository::init(Seams seams, const std::string& path) {
  ByteArray<16> id;
  seams.random.fill(id);
  return init_with_id(seams, path, to_hex(id));
}

Result<DirectoryRepository, Error> DirectoryRepository::init_with_id(Seams seams,
                                                                     const std::string& path,
                                                                     const std::string& id) {
  const auto made = ensure_directory(seams.files, path);
  if (!made.has_value()) return to_error(made.error());
  const auto free = is_free(seams.files, path);
  if (!free.has_value()) return to_error(free.error());
  if (!free.value()) {
    return Error{ErrorKind::kUsage,
                 printable(path) + " is not empty; a repository starts in an empty or new folder"};
  }
  const auto written = make_repository(seams, path, id);
  if (!written.has_value()) return to_error(written.error());
  return DirectoryRepository(seams, path, id);
}

Result<DirectoryRepository, Error> DirectoryRepository::open(Seams seams, const std::string& path) {
  const std::string file = join_path(path, kRepositoryFile);
  const auto text =
      read_file(seams.files, file, repo::RepositoryDocument::kMaxSize, OpenMode::kReadRegular);
  if (!text.has_value()) {
    if (text.error().code == ENOENT || text.error().code == ENOTDIR) {
      return Error{ErrorKind::kRepositoryMissing, "there is no repository at " + printable(path) +
                                                      "; `sealane repo init` makes one"};
    }
    if (text.error().code != EFBIG) return to_error(text.error());
  }
  const auto document = text.has_value() ? repo::decode_repository(as_text(text.value()))
                                         : repo::DocumentError{repo::DocumentFault::kTooLarge, {}};
  if (!document.has_value()) {
    if (document.error().fault == repo::DocumentFault::kNewerFormat) {
      return Error{ErrorKind::kFailed, "the repository at " + printable(path) +
                                           " was made by a newer Sealane; use that or a later one"};
    }
    return verification_failed(printable(file) + " is damaged: " + describe(document.error()));
  }
  return DirectoryRepository(seams, path, document.value().id);
}

Result<std::unique_ptr<SnapshotWriter>, Error> DirectoryRepository::begin(
    const crypto::Ed25519Public& host, const std::string& plan, const std::vector<SeenHead>& seen) {
  if (!repo::valid_name(plan)) {
    return Error{ErrorKind::kUsage, "the plan name " + printable(plan) +
                                        " cannot be used; take up to 64 of a-z, 0-9, dot, dash and "
                                        "underscore, starting with a letter or digit"};
  }
  const RepositoryPlace here = place();
  const std::string key_id = repo::key_id(host);
  const std::string chain = path_ + "/" + chain_directory(key_id, plan);
  // Whoever made the repository may have died before repo.json was sure to stay.
  const auto prepare = [&]() -> FileResult<void> {
    SEALANE_TRY(seams_.files.sync_directory(path_));
    SEALANE_TRY(ensure_directory(seams_.files, parent_path(chain)));
    return ensure_directory(seams_.files, chain);
  };
  const auto prepared = prepare();
  if (!prepared.has_value()) return to_error(prepared.error());
  SEALANE_TRY(auto lock, lock_chain(here, key_id, plan));
  for (const std::string& folder : {chain, join_path(chain, kForgottenFolder)}) {
    const auto cleaned = remove_left_overs(seams_.files, folder);
    if (!cleaned.has_value()) return to_error(cleaned.error());
  }

  const auto entries = seams_.files.list(chain);
  if (!entries.has_value()) return to_error(entries.error());
  DirectoryWriter::Link next{.key_id = key_id, .plan = plan, .seq = 1, .previous = {}};
  for (const DirectoryEntry& entry : entries.value()) {
    if (const auto seq = repo::parse_seq_directory(entry.name)) {
      next.seq = std::max(next.seq, *seq + 1);
    }
  }
  if (next.seq > repo::kMaxSeq) {
    return Error{ErrorKind::kFailed,
                 "plan " + plan + " has no number left; take another plan name"};
  }
  if (next.seq > 1) {
    auto newest = read_commit(here, key_id, plan, next.seq - 1);
    if (!newest.has_value()) {
      Error error = newest.error();
      error.message +=
          "; bring this file back from a copy of the repository, or back up under "
          "another plan name";
      return error;
    }
    next.previous = newest.value().id;
  }
  for (const SeenHead& head : seen) {
    if (head.repository != id_ || head.key_id != key_id || head.plan != plan) continue;
    SEALANE_TRY(check_seen(here, next, head));
  }
  SEALANE_TRY(auto writer, DirectoryWriter::start(here, std::move(next), std::move(lock)));
  return std::unique_ptr<SnapshotWriter>(std::move(writer));
}

Result<DirectoryRepository::Listing, Error> DirectoryRepository::list(
    const identity::TrustStore* trust) {
  SEALANE_TRY(auto view, read_repository(place(), trust));
  Listing listing{.snapshots = {}, .problems = std::move(view.problems)};
  for (ChainView& chain : view.chains) {
    std::ranges::move(chain.snapshots, std::back_inserter(listing.snapshots));
    std::ranges::move(chain.problems, std::back_inserter(listing.problems));
  }
  return listing;
}

Result<SnapshotInfo, Error> DirectoryRepository::find(const std::string& name,
                                                      const identity::TrustStore* trust) {
  SEALANE_TRY(const auto view, read_repository(place(), trust));
  if (name == "latest" || name.starts_with("latest:")) return find_latest(view, name);

  constexpr std::size_t kMinPrefix = 4;
  const bool hex = std::ranges::all_of(
      name, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!hex || name.size() < kMinPrefix || name.size() > 64) {
    return Error{
        ErrorKind::kUsage,
        printable(name) +
            " names no snapshot; give latest, latest:PLAN, latest:HOST/PLAN, or at least " +
            std::to_string(kMinPrefix) + " digits of an id"};
  }
  const SnapshotInfo* found = nullptr;
  for (const ChainView& chain : view.chains) {
    for (const SnapshotInfo& snapshot : chain.snapshots) {
      if (!snapshot.id.starts_with(name)) continue;
      if (found != nullptr) {
        return Error{ErrorKind::kUsage, "several snapshots start with " + name + " (" +
                                            short_id(found->id) + ", " + short_id(snapshot.id) +
                                            "); give more digits"};
      }
      found = &snapshot;
    }
  }
  if (found != nullptr) return *found;
  std::string hint = "; `sealane snapshots` lists what is there";
  if (!view.problems.empty()) hint = "; it may be hidden: " + view.problems.front().error.message;
  return Error{ErrorKind::kUsage, "no snapshot starts with " + name + hint};
}

Result<std::unique_ptr<File>, Error> DirectoryRepository::open_object(const SnapshotInfo& snapshot,
                                                                      const std::string& file) {
  const ObjectRecord* record = find_object(snapshot, file);
  if (record == nullptr) {
    return Error{ErrorKind::kUsage, title(snapshot) + " has no object " + printable(file)};
  }
  if (snapshot.forgotten) {
    return Error{
        ErrorKind::kUsage,
        title(snapshot) + " was forgotten" +
            (snapshot.forgotten_at ? " on " + to_rfc3339(*snapshot.forgotten_at) : std::string()) +
            ": its objects are deleted; take another snapshot"};
  }
  const std::string path = join_path(join_path(path_, snapshot.directory), file);
  auto opened = seams_.files.open(path, OpenMode::kReadRegular);
  if (!opened.has_value()) {
    if (opened.error().code == ENOENT) {
      return verification_failed(printable(path) + " is missing from " + title(snapshot));
    }
    if (opened.error().code == EMEDIUMTYPE)
      return verification_failed(printable(path) + " is damaged: it is not a regular file");
    return to_error(opened.error());
  }
  const auto status = opened.value()->status();
  if (!status.has_value()) return to_error(status.error());
  if (status.value().type != FileType::kRegular || status.value().size != record->size) {
    return verification_failed(printable(path) + " is damaged: it has " +
                               std::to_string(status.value().size) + " bytes, not the " +
                               std::to_string(record->size) + " that its host signed for");
  }
  return std::move(opened.value());
}

Result<void, Error> DirectoryRepository::verify_object(const SnapshotInfo& snapshot,
                                                       const std::string& file,
                                                       const Progress& progress) {
  SEALANE_TRY(auto opened, open_object(snapshot, file));
  crypto::Sha256 hash;
  const auto check = [&](ByteSpan block) -> Result<void, Error> {
    hash.update(block);
    if (progress && !progress(block.size())) {
      return Error{ErrorKind::kInterrupted, "stopped before everything was checked"};
    }
    return success();
  };
  const ObjectRecord& record = *find_object(snapshot, file);
  SEALANE_TRY(const std::uint64_t size, for_each_block(*opened, record.size, check));
  if (size != record.size || hash.finish() != record.sha256) {
    return verification_failed(printable(join_path(join_path(path_, snapshot.directory), file)) +
                               " is damaged: its content is not what its host signed for");
  }
  return success();
}

}  // namespace sealane::store
