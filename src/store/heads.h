#pragma once
// HeadMemory: the newest snapshot we have seen of every chain, in local state, so that a repository
// that was rolled back shows. A text file, one chain per line, replaced as a whole:
//
//   sealane-heads 1
//   <repository id> <key id> <plan> <seq> <snapshot id>
#include <optional>

#include "sealane/store/repository.h"

namespace sealane::store {

class HeadMemory {
 public:
  static constexpr std::size_t kMaxFileSize = 16 * 1024 * 1024;  // some 70 000 chains
  // `path`: for example STATE/heads; its directory must exist. Nothing is read yet.
  HeadMemory(FileSystem& files, RandomSource& random, std::string path);

  // All heads; none if the file is missing. kVerificationFailed if it is damaged.
  Result<std::vector<SeenHead>, Error> load() const;
  // Adds or moves heads forward, never back; survives a power loss. Safe against other processes.
  // kVerificationFailed, and nothing stored, if one of them contradicts what is remembered.
  Result<void, Error> remember(const std::vector<SeenHead>& heads);

 private:
  FileSystem& files_;
  RandomSource& random_;
  std::string path_;
};

// The newest snapshot of each chain that has no problem.
std::vector<SeenHead> heads_of(const std::string& repository_id,
                               const DirectoryRepository::Listing& listing);
SeenHead head_of(const std::string& repository_id, const SnapshotInfo& snapshot);

// What `listing` lacks of what was seen: rolled back, or rewritten.
std::vector<Problem> check_heads(const std::string& repository_id,
                                 const DirectoryRepository::Listing& listing,
                                 const std::vector<SeenHead>& seen);

}  // namespace sealane::store
