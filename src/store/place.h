#pragma once
// RepositoryPlace: where the parts of a repository lie, and the durable steps that all of its
// writers share. Every function that says "durable" has synced what it made, and the folder that
// names it, when it returns success.
#include <span>

#include "sealane/store/repository.h"

namespace sealane::store {

inline constexpr std::string_view kTemporaryPrefix = ".tmp-";
inline constexpr std::string_view kCommitFile = "commit";
inline constexpr std::string_view kReceivedFile = "received";
inline constexpr std::string_view kForgottenFolder = "forgotten";

struct RepositoryPlace {
  Seams seams;
  std::string path;
  std::string id;

  // `relative` as in SnapshotInfo::directory and Problem::where.
  std::string absolute(std::string_view relative) const { return join_path(path, relative); }
};

std::string chain_directory(const std::string& key_id, const std::string& plan);  // relative
std::string fingerprint_of(const std::string& key_id);  // REQUIRES: is_hex_digest(key_id)
std::string random_name(RandomSource& random, std::string_view prefix);
Error verification_failed(std::string message);

// Makes the folder if it is missing. Durable in both cases: an earlier process may have died
// between making it and syncing its parent.
FileResult<void> ensure_directory(FileSystem& files, const std::string& path);
// A new file with all of its content or none. Durable. EEXIST if it is there.
FileResult<void> publish_file(Seams seams, const std::string& path, ByteSpan content);
// Removes a folder of plain files, or a file.
FileResult<void> remove_entry(FileSystem& files, const std::string& path, FileType type);
// Removes what crashed writers left in `directory`; nothing to do if it is missing. REQUIRES: the
// lock under which things are written there.
FileResult<void> remove_left_overs(FileSystem& files, const std::string& directory);

// The lock of a chain's one writer. kLocked names who holds it, as far as he left a note.
Result<std::unique_ptr<FileLock>, Error> lock_chain(const RepositoryPlace& place,
                                                    const std::string& key_id,
                                                    const std::string& plan);
// Waits up to some seconds for a lock that is only ever held shortly; then kLocked.
Result<std::unique_ptr<FileLock>, Error> lock_shortly(FileSystem& files, const std::string& path);

// Reads a whole file, of some `expected_size`, in blocks: `use` gets each and says whether to go
// on. The size that was read.
Result<std::uint64_t, Error> for_each_block(
    File& file, std::uint64_t expected_size,
    const std::function<Result<void, Error>(ByteSpan)>& use);

}  // namespace sealane::store
