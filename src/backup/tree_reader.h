#pragma once
// TreeReader: a folder on disk as the bytes of a pax archive, and its fingerprint from the same
// pass.
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "backup/fingerprint.h"
#include "backup/pax.h"
#include "backup/source.h"
#include "flow/descriptor.h"

namespace sealane::backup {

inline constexpr std::size_t kMaxNamedUnreadable = 10'000;      // more are only counted
inline constexpr std::size_t kMaxTrackedHardLinks = 1'000'000;  // beyond: files of their own

// Owners that the archive told but this user may not set, in the order of the entries.
struct OwnerList {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> distinct;
  std::vector<std::uint32_t> of_entry;  // index into `distinct`
};

// SHA-256 of a file's content that does not depend on where its holes are: of each 4096-byte block
// (the last one filled up with zeros) that is not all zero, its offset and its bytes.
class ContentHash {
 public:
  // REQUIRES: ascending offsets. What is skipped is zero.
  void write(std::uint64_t offset, ByteSpan data);
  crypto::Sha256Digest finish();

 private:
  static constexpr std::size_t kBlock = 4096;
  void hash_block(std::uint64_t offset, ByteSpan block);
  void flush();
  crypto::Sha256 hash_;
  Bytes partial_ = Bytes(kBlock);
  std::uint64_t partial_offset_ = 0;
  bool has_partial_ = false;
};

struct TreeReaderOptions {
  bool cross_mount_points = false;
  bool with_root = true;              // false: leave out the entry of the folder itself
  const OwnerList* owners = nullptr;  // stand in for the owners on disk
};

class TreeReader final : public DumpStream {
 public:
  static Result<std::unique_ptr<TreeReader>, Error> open(const std::string& path,
                                                         flow::Cancellation& cancel,
                                                         TreeReaderOptions options);
  Result<std::size_t, Error> read(MutableByteSpan out) override;

  // After read() returned 0.
  bool finished() const { return done_ && pending_.empty(); }
  const Fingerprint& fingerprint() const { return fingerprint_; }
  const UnreadableParts& unreadable() const { return unreadable_; }
  std::uint64_t entry_count() const { return entry_count_; }
  std::uint64_t socket_count() const { return sockets_; }
  const std::vector<std::string>& mount_points() const { return mount_points_; }

 private:
  struct Folder {
    flow::OwnedDescriptor fd;
    std::string path;                // empty for the root
    std::vector<std::string> names;  // sorted; a folder's ends in '/'
    std::size_t next = 0;
  };
  struct OpenFile {
    flow::OwnedDescriptor fd;
    struct stat status;
    PaxEntry entry;
    std::vector<Extent> extents;
    std::size_t extent = 0;
    std::uint64_t done = 0;  // of the extent
    bool broken = false;     // no more can be read; zeros stand in
    ContentHash hash;
  };

  TreeReader(std::string path, flow::Cancellation& cancel, TreeReaderOptions options)
      : root_path_(std::move(path)),
        cancel_(cancel),
        options_(options),
        builder_("file", FingerprintLevel::kContent) {}

  Result<void, Error> next_entry();
  void visit(const Folder& parent, const std::string& name);
  void visit_file(int parent, const std::string& name, const std::string& path);
  void visit_folder(int parent, const std::string& name, const std::string& path,
                    const struct stat& status);
  // Both: false if it cannot be in an archive, which is reported then.
  bool start_file(flow::OwnedDescriptor fd, const struct stat& status, const std::string& path);
  bool emit(const PaxEntry& entry);  // all but files
  std::size_t read_content(MutableByteSpan out);
  void end_file();
  void add_item(const PaxEntry& entry, const crypto::Sha256Digest& content);
  PaxEntry describe(const std::string& path, EntryType type, const struct stat& status);
  void read_xattrs(int fd, PaxEntry& entry);
  bool list(Folder& folder);
  void cannot_read(const std::string& path, std::string reason);
  std::string cached_name(std::map<std::uint32_t, std::string>& cache, std::uint32_t id, bool user);

  std::string root_path_;
  flow::Cancellation& cancel_;
  TreeReaderOptions options_;
  FingerprintBuilder builder_;
  Fingerprint fingerprint_;
  dev_t device_ = 0;
  std::vector<Folder> folders_;
  std::optional<OpenFile> file_;
  Bytes pending_;
  std::size_t pending_taken_ = 0;
  bool done_ = false;
  struct Link {
    std::string path;
    nlink_t left;  // names not yet seen
  };
  std::map<std::pair<dev_t, ino_t>, Link> links_;
  std::map<std::uint32_t, std::string> users_;
  std::map<std::uint32_t, std::string> groups_;
  UnreadableParts unreadable_;
  std::uint64_t entry_count_ = 0;
  std::uint64_t sockets_ = 0;
  std::vector<std::string> mount_points_;
};

}  // namespace sealane::backup
