#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>

#include "sealane/store/system.h"

namespace sealane {
namespace {

// For a large write the kernel takes one large piece of its memory, which it may first have to
// make: on a virtual machine 4 MiB at a time were five times slower than 64 KiB at a time.
constexpr std::size_t kWriteSize = 64 * 1024;
constexpr off_t kStartSize = 8 * 1024 * 1024;   // after as much the disk begins to write
constexpr std::size_t kLargeSize = 256 * 1024;  // pieces as large come from a stream

FileError failed(std::string_view operation, const std::string& path) {
  return FileError{errno, operation, path};
}

// Calls `call` again while a signal interrupts it.
template <class Call>
auto retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

FileType type_of(mode_t mode) {
  if (S_ISREG(mode)) return FileType::kRegular;
  if (S_ISDIR(mode)) return FileType::kDirectory;
  if (S_ISLNK(mode)) return FileType::kSymlink;
  return FileType::kOther;
}

FileStatus status_of(const struct stat& s) {
  return {.type = type_of(s.st_mode),
          .size = static_cast<std::uint64_t>(s.st_size),
          .mode = static_cast<std::uint32_t>(s.st_mode & 07777),
          .owner = s.st_uid,
          .device = s.st_dev,
          .inode = s.st_ino};
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  FileResult<std::size_t> read(MutableByteSpan out) override {
    const ssize_t got = retry([&] { return ::read(fd_.get(), out.data(), out.size()); });
    if (got < 0) return failed("read", path_);
    return static_cast<std::size_t>(got);
  }
  FileResult<std::size_t> read_at(std::uint64_t offset, MutableByteSpan out) override {
    const ssize_t got = retry(
        [&] { return ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset)); });
    if (got < 0) return failed("read", path_);
    return static_cast<std::size_t>(got);
  }
  FileResult<void> write(ByteSpan data) override {
    while (!data.empty()) {
      const ssize_t put =
          retry([&] { return ::write(fd_.get(), data.data(), std::min(data.size(), kWriteSize)); });
      if (put < 0) return failed("write", path_);
      data = data.subspan(static_cast<std::size_t>(put));
      unstarted_ += put;
    }
    if (unstarted_ >= kStartSize) {
      start_writing(::lseek(fd_.get(), 0, SEEK_CUR) - unstarted_, unstarted_);
      unstarted_ = 0;
    }
    return success();
  }
  FileResult<void> write_at(std::uint64_t offset, ByteSpan data) override {
    const auto start = static_cast<off_t>(offset);
    const std::size_t size = data.size();
    while (!data.empty()) {
      const ssize_t put = retry([&] {
        return ::pwrite(fd_.get(), data.data(), std::min(data.size(), kWriteSize),
                        static_cast<off_t>(offset));
      });
      if (put < 0) return failed("write", path_);
      data = data.subspan(static_cast<std::size_t>(put));
      offset += static_cast<std::uint64_t>(put);
    }
    if (size >= kLargeSize) start_writing(start, static_cast<off_t>(size));
    return success();
  }
  FileResult<void> truncate(std::uint64_t size) override {
    if (retry([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(size)); }) < 0) {
      return failed("truncate", path_);
    }
    return success();
  }
  FileResult<void> sync() override {
    if (retry([&] { return ::fsync(fd_.get()); }) < 0) return failed("fsync", path_);
    return success();
  }
  FileResult<FileStatus> status() override {
    struct stat s {};
    if (::fstat(fd_.get(), &s) < 0) return failed("stat", path_);
    return status_of(s);
  }

 private:
  // All that is written here is synced before it counts. The disk begins now, beside the work that
  // makes the rest, and not when there is nothing left to do but wait for it. A wish: sync() tells.
  void start_writing(off_t offset, off_t size) {
    static_cast<void>(::sync_file_range(fd_.get(), offset, size, SYNC_FILE_RANGE_WRITE));
  }

  Descriptor fd_;
  std::string path_;
  off_t unstarted_ = 0;  // bytes of write() that the disk was not told of
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}

 private:
  Descriptor fd_;  // closing it releases the flock
};

class PosixFiles final : public FileSystem {
 public:
  FileResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                         std::uint32_t permissions) override {
    int flags = O_CLOEXEC | O_NOCTTY;
    switch (mode) {
      case OpenMode::kRead:
        flags |= O_RDONLY;
        break;
      case OpenMode::kReadRegular:
        flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK;  // a pipe opens at once, and is seen below
        break;
      case OpenMode::kCreateExclusive:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
      case OpenMode::kReadWrite:
        flags |= O_RDWR;
        break;
      case OpenMode::kAppendOrCreate:
        flags |= O_WRONLY | O_CREAT | O_APPEND;
        break;
    }
    const int fd =
        retry([&] { return ::open(path.c_str(), flags, static_cast<mode_t>(permissions)); });
    const bool regular_only = mode == OpenMode::kReadRegular;
    // What the kernel says of a link, and of a socket or a device without driver.
    if (fd < 0 && regular_only && (errno == ELOOP || errno == ENXIO || errno == ENODEV))
      return FileError{EMEDIUMTYPE, "open", path};
    if (fd < 0) return failed(mode == OpenMode::kCreateExclusive ? "create" : "open", path);
    auto file = std::make_unique<PosixFile>(fd, path);
    if (regular_only) {
      SEALANE_TRY(const FileStatus status, file->status());
      if (status.type != FileType::kRegular) return FileError{EMEDIUMTYPE, "open", path};
    }
    return std::unique_ptr<File>(std::move(file));
  }
  FileResult<FileStatus> status(const std::string& path) override {
    struct stat s {};
    if (::lstat(path.c_str(), &s) < 0) return failed("stat", path);
    return status_of(s);
  }
  FileResult<std::vector<DirectoryEntry>> list(const std::string& path) override {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return failed("list", path);
    std::vector<DirectoryEntry> entries;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(directory);
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      FileType type = FileType::kOther;
      if (entry->d_type == DT_REG) type = FileType::kRegular;
      if (entry->d_type == DT_DIR) type = FileType::kDirectory;
      if (entry->d_type == DT_LNK) type = FileType::kSymlink;
      if (entry->d_type == DT_UNKNOWN) {
        struct stat s {};
        if (::fstatat(::dirfd(directory), entry->d_name, &s, AT_SYMLINK_NOFOLLOW) == 0) {
          type = type_of(s.st_mode);
        }
      }
      entries.push_back({std::string(name), type});
    }
    const int code = errno;
    ::closedir(directory);
    if (code != 0) return FileError{code, "list", path};
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    return entries;
  }
  FileResult<void> create_directory(const std::string& path, std::uint32_t permissions) override {
    if (::mkdir(path.c_str(), static_cast<mode_t>(permissions)) < 0) return failed("create", path);
    return success();
  }
  FileResult<void> rename(const std::string& from, const std::string& to,
                          RenameMode mode) override {
    const unsigned flags = mode == RenameMode::kNoReplace ? RENAME_NOREPLACE : 0;
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) < 0)
      return failed("rename", to);
    return success();
  }
  FileResult<void> remove(const std::string& path) override {
    if (::unlink(path.c_str()) < 0) return failed("remove", path);
    return success();
  }
  FileResult<void> remove_directory(const std::string& path) override {
    if (::rmdir(path.c_str()) < 0) return failed("remove", path);
    return success();
  }
  FileResult<void> sync_directory(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return failed("open", path);
    if (retry([&] { return ::fsync(fd.get()); }) < 0) return failed("fsync", path);
    return success();
  }
  FileResult<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return failed("lock", path);
    auto held = std::make_unique<PosixLock>(fd);
    if (retry([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) < 0) return failed("lock", path);
    return std::unique_ptr<FileLock>(std::move(held));
  }
};

}  // namespace

FileSystem& system_files() {
  static PosixFiles files;
  return files;
}

}  // namespace sealane
