#include <algorithm>
#include <cerrno>

#include "base/limits.h"
#include "crypto/hash.h"
#include "repo/names.h"
#include "repo/proof.h"
#include "store/view.h"

namespace sealane::store {
namespace {

// A snapshot on its way is named by its id, so that the next run finds what it may go on with.
constexpr std::string_view kStagingPrefix = ".copy-";

// 0 .. out.size() bytes from `offset`; fewer only at the end of the file.
FileResult<std::size_t> read_fully(File& file, std::uint64_t offset, MutableByteSpan out) {
  std::size_t have = 0;
  while (have < out.size()) {
    SEALANE_TRY(const std::size_t got, file.read_at(offset + have, out.subspan(have)));
    if (got == 0) break;
    have += got;
  }
  return have;
}

Error stopped() {
  return {ErrorKind::kInterrupted, "the copy was stopped; run it again and it goes on from here"};
}

class Copier {
 public:
  Copier(DirectoryRepository& source, RepositoryPlace from, RepositoryPlace to,
         const Progress& progress, CopyReport& report)
      : source_(source),
        from_(std::move(from)),
        to_(std::move(to)),
        files_(from_.seams.files),
        progress_(progress),
        report_(report) {}

  Result<void, Error> copy_chain(const ChainView& chain) {
    const std::string directory = to_.absolute(chain.directory);
    for (const std::string& folder : {parent_path(directory), directory}) {
      SEALANE_TRY(durable(ensure_directory(files_, folder)));
    }
    SEALANE_TRY(const auto lock, lock_chain(to_, chain.key_id, chain.plan));
    SEALANE_TRY(clean(chain));
    for (const SnapshotInfo& snapshot : chain.snapshots) {
      SEALANE_TRY(const bool there, already_there(snapshot));
      if (there) {
        ++report_.skipped;
      } else {
        SEALANE_TRY(const bool copied, copy_snapshot(snapshot));
        if (!copied) continue;
        ++report_.copied;
      }
      SEALANE_TRY(copy_proofs(snapshot));
    }
    // What an earlier run has brought may not be durable yet: it may have died just then.
    SEALANE_TRY(durable(files_.sync_directory(directory)));
    return compare_ends(chain);
  }

 private:
  static Result<void, Error> durable(const FileResult<void>& result) {
    if (!result.has_value()) return to_error(result.error());
    return success();
  }

  // What crashed writers left, and what earlier copies began that is no longer wanted.
  Result<void, Error> clean(const ChainView& chain) {
    const std::string directory = to_.absolute(chain.directory);
    for (const std::string& folder : {directory, join_path(directory, kForgottenFolder)}) {
      SEALANE_TRY(durable(remove_left_overs(files_, folder)));
    }
    const auto entries = files_.list(directory);
    if (!entries.has_value()) return to_error(entries.error());
    for (const DirectoryEntry& entry : entries.value()) {
      if (!entry.name.starts_with(kStagingPrefix)) continue;
      const std::string id = entry.name.substr(kStagingPrefix.size());
      if (std::ranges::find(chain.snapshots, id, &SnapshotInfo::id) != chain.snapshots.end()) {
        continue;
      }
      SEALANE_TRY(durable(remove_entry(files_, join_path(directory, entry.name), entry.type)));
    }
    return success();
  }

  Result<bool, Error> already_there(const SnapshotInfo& snapshot) {
    const auto status = files_.status(to_.absolute(snapshot.directory));
    if (!status.has_value()) {
      if (status.error().code == ENOENT) return false;
      return to_error(status.error());
    }
    SEALANE_TRY(const auto commit, read_commit(to_, snapshot.key_id, snapshot.plan, snapshot.seq));
    if (commit.id != snapshot.id) {
      return chain_problem(snapshot.key_id, snapshot.plan, {repo::ChainFault::kFork, snapshot.seq})
          .error;
    }
    return true;
  }

  // False: something is wrong with it in the source, which is in the report now.
  Result<bool, Error> copy_snapshot(const SnapshotInfo& snapshot) {
    const std::string chain = to_.absolute(chain_directory(snapshot.key_id, snapshot.plan));
    const std::string staging = join_path(chain, std::string(kStagingPrefix) + snapshot.id);
    if (const auto made = files_.create_directory(staging);
        !made.has_value() && made.error().code != EEXIST) {
      return to_error(made.error());
    }
    if (snapshot.forgotten) {
      SEALANE_TRY(copy_record(snapshot));
    } else {
      for (const ObjectRecord& object : snapshot.objects) {
        SEALANE_TRY(const bool good,
                    copy_object(snapshot, object, join_path(staging, object.file)));
        if (!good) return false;
      }
    }
    const std::string commit_file = snapshot.directory + "/" + std::string(kCommitFile);
    const auto text =
        read_file(files_, from_.absolute(commit_file), limits::kCommitSize, OpenMode::kReadRegular);
    if (!text.has_value()) return to_error(text.error());
    const auto commit = repo::open_commit(as_text(text.value()));
    if (!commit.has_value() || commit.value().id != snapshot.id) {
      report_.problems.push_back({verification_failed(printable(from_.absolute(commit_file)) +
                                                      " changes while it is read"),
                                  commit_file});
      return false;
    }
    // A copy keeps the time at which the first repository got it, else all that came by one copy
    // would be of one day to the retention rules. Only the future is not believed.
    WallTime received = to_.seams.clock.wall_now();
    const auto original = read_received(from_, snapshot.directory);
    if (original.has_value()) {
      received = std::min(received, original.value());
    } else if (original.error().kind != ErrorKind::kVerificationFailed) {
      report_.problems.push_back({original.error(), snapshot.directory});
      return false;  // it may be readable the next time
    }
    SEALANE_TRY(durable(
        write_again(join_path(staging, kReceivedFile), as_bytes(to_rfc3339(received) + "\n"))));
    SEALANE_TRY(durable(write_again(join_path(staging, kCommitFile), text.value())));
    SEALANE_TRY(durable(files_.sync_directory(staging)));
    SEALANE_TRY(
        durable(files_.rename(staging, to_.absolute(snapshot.directory), RenameMode::kNoReplace)));
    SEALANE_TRY(durable(files_.sync_directory(chain)));
    return true;
  }

  FileResult<void> write_again(const std::string& path, ByteSpan content) {
    auto removed = files_.remove(path);
    if (!removed.has_value() && removed.error().code != ENOENT) return removed;
    return write_new_file(files_, path, content);
  }

  // Before the snapshot appears: else its objects would seem lost.
  Result<void, Error> copy_record(const SnapshotInfo& snapshot) {
    const std::string relative = chain_directory(snapshot.key_id, snapshot.plan) + "/" +
                                 std::string(kForgottenFolder) + "/" +
                                 repo::seq_directory(snapshot.seq);
    const auto record =
        read_file(files_, from_.absolute(relative), limits::kProofSize, OpenMode::kReadRegular);
    if (!record.has_value()) return to_error(record.error());
    const std::string path = to_.absolute(relative);
    SEALANE_TRY(durable(ensure_directory(files_, parent_path(path))));
    const auto published = publish_file(to_.seams, path, record.value());
    if (published.has_value()) return success();
    if (published.error().code != EEXIST) return to_error(published.error());
    // From an earlier run, which may have died before this:
    return durable(files_.sync_directory(parent_path(path)));
  }

  // The bytes that an earlier run has written are compared with the source's and kept.
  Result<bool, Error> copy_object(const SnapshotInfo& snapshot, const ObjectRecord& object,
                                  const std::string& path) {
    auto in = source_.open_object(snapshot, object.file);
    if (!in.has_value()) {
      report_.problems.push_back({in.error(), snapshot.directory + "/" + object.file});
      return false;
    }
    SEALANE_TRY(const std::uint64_t there, usable_size(path, object.size));
    auto out = files_.open(path, there > 0 ? OpenMode::kReadWrite : OpenMode::kCreateExclusive);
    if (!out.has_value()) return to_error(out.error());

    crypto::Sha256 hash;
    std::uint64_t offset = 0;
    const auto put = [&](ByteSpan block) -> Result<void, Error> {
      hash.update(block);
      SEALANE_TRY(const bool same, compare(*out.value(), offset, there, block));
      if (!same) {
        SEALANE_TRY(durable(out.value()->write_at(offset, block)));
        report_.bytes += block.size();
      }
      offset += block.size();
      if (progress_ && !progress_(block.size())) return stopped();
      return success();
    };
    SEALANE_TRY(for_each_block(*in.value(), object.size, put));
    if (offset != object.size || hash.finish() != object.sha256) {
      const std::string relative = snapshot.directory + "/" + object.file;
      report_.problems.push_back(
          {verification_failed(printable(from_.absolute(relative)) +
                               " is damaged: its content is not what its host signed for"),
           relative});
      out.value().reset();
      SEALANE_TRY(durable(files_.remove(path)));
      return false;
    }
    SEALANE_TRY(durable(out.value()->sync()));
    return true;
  }

  // How much of a file from an earlier run may be right; one that cannot be is removed.
  Result<std::uint64_t, Error> usable_size(const std::string& path, std::uint64_t limit) {
    const auto status = files_.status(path);
    if (!status.has_value()) {
      if (status.error().code == ENOENT) return std::uint64_t{0};
      return to_error(status.error());
    }
    if (status.value().type == FileType::kRegular && status.value().size > 0 &&
        status.value().size <= limit) {
      return status.value().size;
    }
    SEALANE_TRY(durable(files_.remove(path)));
    return std::uint64_t{0};
  }

  Result<bool, Error> compare(File& file, std::uint64_t offset, std::uint64_t there,
                              ByteSpan block) {
    if (offset + block.size() > there) return false;
    compared_.resize(block.size());
    const auto got = read_fully(file, offset, compared_);
    if (!got.has_value()) return to_error(got.error());
    return got.value() == block.size() && std::ranges::equal(compared_, block);
  }

  Result<void, Error> copy_proofs(const SnapshotInfo& snapshot) {
    SEALANE_TRY(const auto listing, read_proofs(from_, snapshot.id, nullptr));
    for (const ProofInfo& info : listing.proofs) {
      const auto text =
          read_file(files_, from_.absolute(info.file), limits::kProofSize, OpenMode::kReadRegular);
      if (!text.has_value()) return to_error(text.error());
      const auto proof = repo::open_proof(as_text(text.value()));
      if (!proof.has_value() || proof.value().document.proof != info.proof) continue;
      const std::string relative = proof_file(info.proof, proof.value().id);
      // One that is there may not be durable yet: keeping it again makes it so.
      const bool there = files_.status(to_.absolute(relative)).has_value();
      SEALANE_TRY(keep_proof(to_, relative, as_text(text.value())));
      if (!there) ++report_.proofs;
    }
    return success();
  }

  // A copy that knows more than its source: the source was rolled back.
  Result<void, Error> compare_ends(const ChainView& chain) {
    const auto entries = files_.list(to_.absolute(chain.directory));
    if (!entries.has_value()) return to_error(entries.error());
    std::uint64_t last = 0;
    for (const DirectoryEntry& entry : entries.value()) {
      last = std::max(last, repo::parse_seq_directory(entry.name).value_or(0));
    }
    const std::uint64_t source_last = chain.snapshots.empty() ? 0 : chain.snapshots.back().seq;
    if (last > source_last) {
      report_.problems.push_back(
          chain_problem(chain.key_id, chain.plan, {repo::ChainFault::kRolledBack, last}));
    }
    return success();
  }

  DirectoryRepository& source_;
  RepositoryPlace from_;
  RepositoryPlace to_;
  FileSystem& files_;
  const Progress& progress_;
  CopyReport& report_;
  Bytes compared_;
};

}  // namespace

Result<CopyReport, Error> DirectoryRepository::copy_to(const std::string& path,
                                                       const identity::TrustStore* trust,
                                                       const Progress& progress) {
  const auto open_or_init = [&]() -> Result<DirectoryRepository, Error> {
    auto there = open(seams_, path);
    if (there.has_value() || there.error().kind != ErrorKind::kRepositoryMissing) return there;
    return init_with_id(seams_, path, id_);
  };
  const auto target = open_or_init();
  if (!target.has_value()) return target.error();
  if (target.value().id() != id_) {
    return Error{ErrorKind::kUsage, printable(path) + " is another repository, not a copy of " +
                                        printable(path_) +
                                        "; copy into an empty folder or an earlier copy"};
  }
  const auto synced = seams_.files.sync_directory(path);
  if (!synced.has_value()) return to_error(synced.error());
  SEALANE_TRY(const auto view, read_repository(place(), trust));
  CopyReport report;
  report.problems = view.problems;
  Copier copier(*this, place(), target.value().place(), progress, report);
  for (const ChainView& chain : view.chains) {
    report.problems.insert(report.problems.end(), chain.problems.begin(), chain.problems.end());
    SEALANE_TRY(copier.copy_chain(chain));
  }
  return report;
}

}  // namespace sealane::store
