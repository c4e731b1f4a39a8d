#pragma once
// Clock, RandomSource, FileSystem: the seams for time, randomness and disks. The real ones:
// store/system.h; tests and simulations pass doubles. The seam for networks: base/network.h.
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane {

// ---- time: cores never ask for it; they are told ----

// Wall-clock time, UTC, whole seconds and better; may jump. For records that people read.
using WallTime = std::chrono::sys_time<std::chrono::nanoseconds>;
// Never jumps back. For deadlines and durations.
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime wall_now() const = 0;
  virtual SteadyTime steady_now() const = 0;
};

// RFC 3339 in UTC with whole seconds: 2026-11-20T13:54:00Z. Years 1970 to 2261.
std::string to_rfc3339(WallTime time);
// Accepts exactly what to_rfc3339 writes.
std::optional<WallTime> from_rfc3339(std::string_view text);

// ---- randomness ----

// Thread-safe.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  // Fills `out` completely. A system without randomness cannot go on safely: the process ends.
  virtual void fill(MutableByteSpan out) = 0;
};

// ---- disks: all durable state goes through here, so that every call can be made to fail or to be
// the last one before the power goes; paths are bytes as the kernel takes them ----

// A failed call: what, on which path, why. `code` is an errno value.
struct FileError {
  int code = 0;
  std::string_view operation;  // a literal: "open", "write", "fsync", …
  std::string path;
};

// "cannot write /vault/x: No space left on device. Free some space and run it again."
Error to_error(const FileError& error);

template <class T>
using FileResult = Result<T, FileError>;

enum class OpenMode : std::uint8_t {
  kRead,             // must exist
  kReadRegular,      // must exist and be a regular file itself, else EMEDIUMTYPE; never waits. For
                     // files that somebody else may have put there: a pipe or a link to a device
                     // would hang us, or never end
  kCreateExclusive,  // must not exist; read and write
  kReadWrite,        // must exist
  kAppendOrCreate,   // each write goes to the end
};
enum class FileType : std::uint8_t { kRegular, kDirectory, kSymlink, kOther };
enum class RenameMode : std::uint8_t { kReplace, kNoReplace };  // kNoReplace: EEXIST if there

struct FileStatus {
  FileType type = FileType::kOther;
  std::uint64_t size = 0;
  std::uint32_t mode = 0;  // permission bits
  std::uint32_t owner = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};
struct DirectoryEntry {
  std::string name;
  FileType type = FileType::kOther;
};

// An open file. Not thread-safe, except read_at and write_at. Closed by the destructor; only sync()
// promises that what was written survives a power loss.
class File {
 public:
  virtual ~File() = default;
  virtual FileResult<std::size_t> read(MutableByteSpan out) = 0;  // 0: end of file; else 1..size
  virtual FileResult<std::size_t> read_at(std::uint64_t offset, MutableByteSpan out) = 0;
  virtual FileResult<void> write(ByteSpan data) = 0;  // all of it, or an error
  virtual FileResult<void> write_at(std::uint64_t offset, ByteSpan data) = 0;
  virtual FileResult<void> truncate(std::uint64_t size) = 0;  // write() goes on where it was
  virtual FileResult<void> sync() = 0;
  virtual FileResult<FileStatus> status() = 0;
};

// Held until destroyed, or until the process dies.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

// Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual FileResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                                 std::uint32_t permissions = 0600) = 0;
  virtual FileResult<FileStatus> status(const std::string& path) = 0;  // does not follow symlinks
  virtual FileResult<std::vector<DirectoryEntry>> list(const std::string& path) = 0;  // sorted
  virtual FileResult<void> create_directory(const std::string& path,
                                            std::uint32_t permissions = 0700) = 0;
  virtual FileResult<void> rename(const std::string& from, const std::string& to,
                                  RenameMode mode) = 0;
  virtual FileResult<void> remove(const std::string& path) = 0;            // a file
  virtual FileResult<void> remove_directory(const std::string& path) = 0;  // an empty one
  virtual FileResult<void> sync_directory(const std::string& path) = 0;
  // Exclusive advisory lock on the file `path`, created when missing. EWOULDBLOCK when it is held.
  virtual FileResult<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
};

// Whole small files, of one's own or as kReadRegular. Refuses one longer than `limit` (EFBIG).
FileResult<Bytes> read_file(FileSystem& files, const std::string& path, std::size_t limit,
                            OpenMode mode = OpenMode::kRead);
// A new file: created exclusively, written, synced. On failure it is removed again.
FileResult<void> write_new_file(FileSystem& files, const std::string& path, ByteSpan content,
                                std::uint32_t permissions = 0600);
// Old content or new content after a power loss, never a mix: temporary beside it, sync, rename,
// sync of the directory.
FileResult<void> replace_file(FileSystem& files, RandomSource& random, const std::string& path,
                              ByteSpan content, std::uint32_t permissions = 0600);

std::string join_path(std::string_view directory, std::string_view name);
std::string parent_path(std::string_view path);  // "." for a bare name, "/" at the root
std::string base_name(std::string_view path);

}  // namespace sealane
