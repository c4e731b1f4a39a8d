#include "backup/file_tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "backup/fingerprint.h"
#include "backup/tree_reader.h"
#include "backup/tree_writer.h"
#include "base/check.h"

namespace sealane::backup {
namespace {

constexpr std::string_view kFormat = "pax";
constexpr std::size_t kDrainBlock = 1024 * 1024;

class FileTreeSource final : public SourceSnapshot {
 public:
  FileTreeSource(std::string path, DriverContext& context, FileTreeOptions options)
      : path_(std::move(path)), cancel_(context.cancel), options_(options) {}

  Result<void, Error> open() {
    TreeReaderOptions options;
    options.cross_mount_points = options_.cross_mount_points;
    SEALANE_TRY(auto reader, TreeReader::open(path_, cancel_, options));
    reader_ = std::move(reader);
    return success();
  }

  const std::vector<StreamDescription>& streams() const override { return streams_; }
  Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) override {
    SEALANE_CHECK(index < streams_.size());
    if (taken_) {
      SEALANE_TRY(open());
    }
    taken_ = true;
    return std::unique_ptr<DumpStream>(std::make_unique<Stream>(reader_));
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    SEALANE_CHECK(reader_->finished());
    return std::optional<Fingerprint>(at_level(reader_->fingerprint(), level_));
  }
  std::map<std::string, std::string> properties() const override {
    std::map<std::string, std::string> all = {
        {"tool", "pax archive, POSIX.1-2001"},
        {"entries", std::to_string(reader_->entry_count())},
        {"sockets_left_out", std::to_string(reader_->socket_count())}};
    std::string mounts;
    for (const std::string& mount : reader_->mount_points()) {
      mounts += (mounts.empty() ? "" : ", ") + printable(mount);
    }
    if (!mounts.empty()) all.emplace("mount_points_not_crossed", printable(mounts, 4000));
    return all;
  }
  UnreadableParts unreadable() const override { return reader_->unreadable(); }

 private:
  // The snapshot keeps the reader, which has the fingerprint.
  class Stream final : public DumpStream {
   public:
    explicit Stream(std::shared_ptr<TreeReader> reader) : reader_(std::move(reader)) {}
    Result<std::size_t, Error> read(MutableByteSpan out) override { return reader_->read(out); }

   private:
    std::shared_ptr<TreeReader> reader_;
  };

  std::string path_;
  flow::Cancellation& cancel_;
  FileTreeOptions options_;
  std::shared_ptr<TreeReader> reader_;
  bool taken_ = false;
  std::vector<StreamDescription> streams_{
      {.name = "files",
       .format = std::string(kFormat),
       .hint = "tar --xattrs --xattrs-include='*' -xpf - -C FOLDER"}};
};

class FileTreeTarget final : public Target {
 public:
  FileTreeTarget(std::string path, DriverContext& context)
      : path_(std::move(path)), context_(context) {
    while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  }
  ~FileTreeTarget() override {
    writer_.reset();
    // An error on the way is what the user hears of; a folder that stays is named ".tmp-…".
    if (parent_.valid() && !temporary_.empty())
      static_cast<void>(remove_tree(parent_.get(), temporary_));
  }

  bool takes(std::string_view format) const override { return format == kFormat; }
  Result<bool, Error> is_empty() override {
    const auto status = context_.files.status(path_);
    if (!status.has_value() && status.error().code == ENOENT) return true;
    if (!status.has_value()) return to_error(status.error());
    if (status.value().type != FileType::kDirectory) return false;
    const auto entries = context_.files.list(path_);
    if (!entries.has_value()) return to_error(entries.error());
    return entries.value().empty();
  }
  Result<void, Error> clear() override {
    overwrite_ = true;
    return success();
  }

  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    if (!takes(stream.format) || writer_) {
      return Error{ErrorKind::kUsage, "the stream \"" + printable(stream.name) + "\" (" +
                                          printable(stream.format) +
                                          ") cannot be restored to file:"};
    }
    SEALANE_TRY(const bool empty, is_empty());
    if (!empty && !overwrite_) return not_empty();
    const std::string parent = parent_path(path_);
    parent_ = flow::OwnedDescriptor(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent_.valid()) return to_error(FileError{errno, "open", parent});
    ByteArray<8> suffix;
    context_.random.fill(suffix);
    const std::string name = ".tmp-" + to_hex(suffix);
    if (::mkdirat(parent_.get(), name.c_str(), 0700) != 0) {
      return to_error(FileError{errno, "create", join_path(parent, name)});
    }
    temporary_ = name;
    flow::OwnedDescriptor root(
        ::openat(parent_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root.valid()) return to_error(FileError{errno, "open", join_path(parent, name)});
    writer_.emplace(std::move(root), path_, context_.cancel);
    return std::unique_ptr<Stream>(std::make_unique<TreeStream>(*writer_));
  }

  Result<void, Error> finish() override {
    SEALANE_CHECK(writer_ && !temporary_.empty());
    if (::syncfs(parent_.get()) != 0) return to_error(FileError{errno, "fsync", path_});
    const std::string name = base_name(path_);
    const auto rename = [&](unsigned flags) {
      return ::renameat2(parent_.get(), temporary_.c_str(), parent_.get(), name.c_str(), flags);
    };
    // In the place of nothing, or of an empty folder; else old and new change places in one step.
    // NOLINTBEGIN(bugprone-branch-clone): each condition is a step, and errno is of the last one
    if (rename(0) == 0) {
      temporary_.clear();
    } else if (errno != ENOTEMPTY && errno != EEXIST && errno != ENOTDIR) {
      return to_error(FileError{errno, "rename the restored folder to", path_});
    } else if (!overwrite_) {
      return not_empty();
    } else if (rename(RENAME_EXCHANGE) != 0) {
      return to_error(FileError{errno, "rename the restored folder to", path_});
    } else {
      const std::string old = temporary_;
      temporary_.clear();
      SEALANE_TRY(remove_tree(parent_.get(), old));
    }
    // NOLINTEND(bugprone-branch-clone)
    if (::fsync(parent_.get()) != 0) return to_error(FileError{errno, "fsync", path_});
    return success();
  }

  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    SEALANE_CHECK(writer_.has_value());
    TreeReaderOptions options;
    options.with_root = writer_->has_root();
    if (!writer_->owners().of_entry.empty()) options.owners = &writer_->owners();
    SEALANE_TRY(auto reader, TreeReader::open(path_, context_.cancel, options));
    Bytes block(kDrainBlock);
    for (;;) {
      SEALANE_TRY(const std::size_t got, reader->read(block));
      if (got == 0) break;
    }
    return std::optional<Fingerprint>(at_level(reader->fingerprint(), level_));
  }

 private:
  class TreeStream final : public Stream {
   public:
    explicit TreeStream(TreeWriter& writer) : writer_(writer) {}
    Result<void, Error> write(ByteSpan data) override { return writer_.write(data); }
    Result<void, Error> finish() override { return writer_.finish(); }

   private:
    TreeWriter& writer_;
  };

  Error not_empty() const {
    return {ErrorKind::kUsage,
            printable(path_) + " is not empty; restore to another folder, or say --overwrite"};
  }

  std::string path_;
  DriverContext context_;
  bool overwrite_ = false;
  flow::OwnedDescriptor parent_;
  std::string temporary_;  // its name in parent_, while it exists
  std::optional<TreeWriter> writer_;
};

class FileThrowAway final : public ThrowAway {
 public:
  FileThrowAway(std::string directory, std::string name, DriverContext& context)
      : directory_(std::move(directory)),
        name_(std::move(name)),
        target_(std::in_place, join_path(join_path(directory_, name_), "restored"), context) {}
  ~FileThrowAway() override {
    target_.reset();
    const flow::OwnedDescriptor parent(
        ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent.valid()) static_cast<void>(remove_tree(parent.get(), name_));
  }
  Target& target() override { return *target_; }
  std::string description() const override {
    return ::geteuid() == 0 ? "a folder made for this drill"
                            : "a folder made for this drill (owners as told by the archive)";
  }

 private:
  std::string directory_;
  std::string name_;
  std::optional<FileTreeTarget> target_;
};

bool is_mount_point(const std::string& path) {
  struct statx status {};
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, 0, &status) == 0 &&
         (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// The restored folder takes its place by a rename, which these places do not allow: better said
// before everything was written than after it.
Result<void, Error> check_place(FileSystem& files, const std::string& path) {
  const auto status = files.status(path);
  if (status.has_value() && status.value().type == FileType::kOther)
    return Error{ErrorKind::kUsage, printable(path) + " is a pipe or device and is not replaced"};
  const std::string name = base_name(path);
  if (name != "/" && name != "." && name != ".." && !is_mount_point(path)) return success();
  return Error{ErrorKind::kUsage,
               printable(path) + (is_mount_point(path) ? " is a mount point" : " has no own name") +
                   ", which a restored folder cannot take the place of; restore to a folder in "
                   "it, such as file:" +
                   printable(join_path(path, "restored"))};
}

}  // namespace

Result<std::unique_ptr<SourceSnapshot>, Error> open_file_source(const std::string& path,
                                                                DriverContext& context,
                                                                FileTreeOptions options) {
  auto source = std::make_unique<FileTreeSource>(path, context, options);
  SEALANE_TRY(source->open());
  return std::unique_ptr<SourceSnapshot>(std::move(source));
}

Result<std::unique_ptr<Target>, Error> open_file_target(const std::string& path,
                                                        DriverContext& context) {
  SEALANE_TRY(check_place(context.files, path));
  return std::unique_ptr<Target>(std::make_unique<FileTreeTarget>(path, context));
}

Result<std::unique_ptr<ThrowAway>, Error> make_file_throw_away(const std::string& directory,
                                                               DriverContext& context) {
  ByteArray<8> suffix;
  context.random.fill(suffix);
  std::string name = "files-" + to_hex(suffix);
  const auto made = context.files.create_directory(join_path(directory, name), 0700);
  if (!made.has_value()) return to_error(made.error());
  return std::unique_ptr<ThrowAway>(
      std::make_unique<FileThrowAway>(directory, std::move(name), context));
}

}  // namespace sealane::backup
