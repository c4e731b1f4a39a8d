#pragma once
// What all commands about a repository share: their flags, opening it, pins, remembered heads,
// stages.
#include <map>
#include <memory>

#include "app/command.h"
#include "backup/operations.h"
#include "store/heads.h"

namespace sealane::app {

struct RepositoryFlags {
  std::string path;
  std::string trust_file;
  std::vector<std::string> host_keys;
  std::string identity;         // of this node; default: home_path("identity")
  std::string passphrase_file;  // of the identity, or of an encrypted -i
  void add_to(std::vector<Option>& options);
  std::string identity_path() const;
};

// -i and --threads of the commands that open snapshots.
Option opening_key_option(std::vector<std::string>& keys);
Option opening_threads_option(std::uint64_t& threads);

// --repo, or kUsage that says how to give it.
Result<store::DirectoryRepository, Error> open_repository(Context& context,
                                                          const RepositoryFlags& flags);
// kUsage if --plan and --host leave nothing of the listing, forgotten ones included: a name that is
// misspelt must not look like work that was done. What is damaged comes first.
Result<void, Error> check_selection(const store::DirectoryRepository::Listing& listing,
                                    const std::string& plan, const std::string& host);
Error nothing_selected(const std::string& plan, const std::string& host);
store::Seams seams_of(Context& context);
backup::DriverContext driver_context(Context& context);
// Says that a Redis is waited for. The context must outlive it.
backup::OnLoading loading_teller(Context& context);

// Creates the home directory (0700) if it is missing.
Result<void, Error> make_home_directory(Context& context);
// The heads seen so far. A listing that contradicts them is a rolled-back repository.
Result<std::vector<store::SeenHead>, Error> load_heads(Context& context);
Result<void, Error> remember_heads(Context& context, const std::vector<store::SeenHead>& heads);

// An Observer that shows stages as progress.
class StageDisplay {
 public:
  explicit StageDisplay(Console& console) : console_(console) {}
  backup::Observer observer();

 private:
  Console& console_;
  std::unique_ptr<Progress> progress_;
};

// A private folder for a drill, below `parent` (or $TMPDIR, or /tmp); removed by the destructor.
class WorkDirectory {
 public:
  static Result<std::unique_ptr<WorkDirectory>, Error> create(Context& context,
                                                              const std::string& parent);
  ~WorkDirectory();
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  WorkDirectory(FileSystem& files, std::string path, std::unique_ptr<FileLock> lock)
      : files_(files), path_(std::move(path)), lock_(std::move(lock)) {}
  FileSystem& files_;
  std::string path_;
  std::unique_ptr<FileLock> lock_;  // tells others that it is no left-over
};

// Proofs that were found and count for nothing, so that nobody takes their silence for a lack of
// proofs.
class UnpinnedProvers {
 public:
  void add(const store::SnapshotInfo& snapshot);
  void warn(Console& console) const;  // of at most kMaxNamed
  nlohmann::json fingerprints() const;

 private:
  static constexpr std::size_t kMaxNamed = 5;  // anybody who can write can bring keys
  std::map<std::string, std::uint64_t> snapshots_of_;
};

std::string short_id(const std::string& snapshot_id);  // 12 digits
std::string local_time(WallTime time);                 // "2026-11-20 13:54", in the local zone
std::string shorten(std::string_view text, std::size_t width);
nlohmann::json to_json(const store::SnapshotInfo& snapshot);
std::uint64_t stored_size(const store::SnapshotInfo& snapshot);
std::uint64_t total_count(const repo::Fingerprint& fingerprint);  // rows, keys or bytes

}  // namespace sealane::app
