#pragma once
// SimulatedFiles: a disk in memory that can fail at any call and lose its power at any call. What
// was not synced may then be lost, kept or torn, chosen by a seed; so each seed is one of the many
// states that a real disk may be found in.
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "sealane/base/seams.h"

namespace sealane::testing {

// Thread-safe. Paths start at "/", which exists. No symlinks. Files belong to `owner` 0 or this
// user.
class SimulatedFiles final : public FileSystem {
 public:
  SimulatedFiles();
  ~SimulatedFiles() override;

  // --- faults; calls are counted from 0 since the last restart or reset_count()
  void fail_call(std::uint64_t number, int code);  // this one call fails; a write is half done
  void stop_at_call(
      std::uint64_t number);  // this call and all later ones fail: power or process gone
  void clear_faults();
  void reset_count();
  std::uint64_t call_count() const;
  std::map<std::string, std::uint64_t> calls_by_kind() const;
  // The numbers of those that change what is on the disk, or what of it is synced.
  std::set<std::uint64_t> changing_calls() const;
  bool stopped() const;
  void limit_space(std::uint64_t bytes);  // writes beyond it: ENOSPC

  // --- after a stop. Open files and locks of before are dead, faults are cleared.
  void restart_process();                             // all that was written is there
  void restart_after_power_loss(std::uint64_t seed);  // all that was synced is there

  // --- for assertions; never count as calls
  std::vector<std::string> all_paths() const;  // sorted, folders end with a slash

  FileResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                         std::uint32_t permissions = 0600) override;
  FileResult<FileStatus> status(const std::string& path) override;
  FileResult<std::vector<DirectoryEntry>> list(const std::string& path) override;
  FileResult<void> create_directory(const std::string& path,
                                    std::uint32_t permissions = 0700) override;
  FileResult<void> rename(const std::string& from, const std::string& to, RenameMode mode) override;
  FileResult<void> remove(const std::string& path) override;
  FileResult<void> remove_directory(const std::string& path) override;
  FileResult<void> sync_directory(const std::string& path) override;
  FileResult<std::unique_ptr<FileLock>> lock(const std::string& path) override;

 private:
  struct Node;
  struct Disk;
  class OpenFile;
  class HeldLock;
  std::shared_ptr<Disk> disk_;  // open files share it
};

}  // namespace sealane::testing
