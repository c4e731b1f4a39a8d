#include "backup/tree_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace sealane::backup {
namespace {

constexpr mode_t kWhileWriting = 0700;  // of folders; files get 0600 until they are whole

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}
std::string name_in(const std::string& path) { return path.substr(path.rfind('/') + 1); }

timespec modification_time(const PaxEntry& entry) {
  timespec time{};
  time.tv_sec = entry.mtime_seconds;
  time.tv_nsec = static_cast<long>(entry.mtime_nanoseconds);
  return time;
}

// What a user without privileges may set on files of his own.
bool is_common_xattr(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("system.posix_acl_");
}

Result<void, Error> remove_content(int folder, const std::string& shown);

Result<void, Error> remove_entry(int parent, const std::string& name, const std::string& shown) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return success();
  if (errno != EISDIR) return to_error(FileError{errno, "remove", shown});
  const auto open = [&](int flags) {
    return flow::OwnedDescriptor(
        ::openat(parent, name.c_str(), flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  };
  flow::OwnedDescriptor fd = open(O_RDONLY);
  if (!fd.valid() && errno == EACCES) {
    // Its owner may give himself the right to read it: by descriptor, never through a link.
    const flow::OwnedDescriptor locked = open(O_PATH);
    const std::string itself = "/proc/self/fd/" + std::to_string(locked.get());
    if (locked.valid() && ::chmod(itself.c_str(), kWhileWriting) == 0) fd = open(O_RDONLY);
  }
  if (!fd.valid()) return to_error(FileError{errno, "remove", shown});
  static_cast<void>(::fchmod(fd.get(), kWhileWriting));  // if it fails, removing says so
  SEALANE_TRY(remove_content(fd.get(), shown));
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) {
    return to_error(FileError{errno, "remove", shown});
  }
  return success();
}

Result<void, Error> remove_content(int folder, const std::string& shown) {
  const int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  DIR* directory = copy < 0 ? nullptr : ::fdopendir(copy);
  if (directory == nullptr) {
    const int code = errno;
    if (copy >= 0) ::close(copy);
    return to_error(FileError{code, "list", shown});
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  for (const std::string& name : names) {
    SEALANE_TRY(remove_entry(folder, name, join_path(shown, name)));
  }
  return success();
}

}  // namespace

Result<void, Error> remove_tree(int parent, const std::string& name) {
  return remove_entry(parent, name, name);
}

TreeWriter::TreeWriter(flow::OwnedDescriptor root, std::string shown, flow::Cancellation& cancel)
    : shown_(std::move(shown)),
      cancel_(cancel),
      privileged_(::geteuid() == 0),
      root_(std::move(root)) {}

Error TreeWriter::failed(std::string_view what, const std::string& path, int code) const {
  Error error = to_error(FileError{code, what, join_path(shown_, path)});
  if (code == EPERM) error.message += "; root may be needed for it";
  return error;
}

Error TreeWriter::refused(PaxError error) const {
  return {ErrorKind::kVerificationFailed,
          "cannot restore to " + printable(shown_) + ": " + std::string(name_of(error))};
}

Result<void, Error> TreeWriter::write(ByteSpan archive) {
  for (;;) {
    if (cancel_.cancelled()) return flow::interrupted();
    auto event = reader_.next(archive);
    if (!event) return refused(event.error());
    if (std::holds_alternative<PaxReader::NeedInput>(event.value())) return success();
    if (auto* entry = std::get_if<PaxEntry>(&event.value())) {
      SEALANE_TRY(on_entry(std::move(*entry)));
    } else if (const auto* content = std::get_if<PaxReader::Content>(&event.value())) {
      SEALANE_TRY(on_content(*content));
    } else if (std::holds_alternative<PaxReader::FileEnd>(event.value())) {
      SEALANE_TRY(on_file_end());
    }
  }
}

Result<void, Error> TreeWriter::finish() {
  const auto complete = reader_.finish();
  if (!complete) return refused(complete.error());
  while (!folders_.empty()) {
    SEALANE_TRY(leave_folder());
  }
  if (root_entry_) {
    SEALANE_TRY(apply(*root_entry_, root_.get()));
  }
  return success();
}

Result<void, Error> TreeWriter::on_entry(PaxEntry entry) {
  if (entry.path.empty()) {
    if (root_entry_ || !folders_.empty()) return refused(PaxError::kPath);
    note_owner(entry);
    root_entry_ = std::move(entry);
    return success();
  }
  const std::string folder = parent_of(entry.path);
  while (!folders_.empty() && folders_.back().entry.path != folder) {
    SEALANE_TRY(leave_folder());
  }
  if (folders_.empty() && !folder.empty()) {
    return Error{ErrorKind::kVerificationFailed,
                 "cannot restore " + printable(join_path(shown_, entry.path)) +
                     ": the archive does not list it right inside of its folder"};
  }
  const int parent = folders_.empty() ? root_.get() : folders_.back().fd.get();
  const std::string name = name_in(entry.path);
  note_owner(entry);

  switch (entry.type) {
    case EntryType::kFile: {
      file_ = flow::OwnedDescriptor(::openat(
          parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      if (!file_.valid()) return failed("create", entry.path, errno);
      file_entry_ = std::move(entry);
      return success();
    }
    case EntryType::kDirectory: {
      if (::mkdirat(parent, name.c_str(), kWhileWriting) != 0) {
        return failed("create", entry.path, errno);
      }
      flow::OwnedDescriptor fd(
          ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!fd.valid()) return failed("open", entry.path, errno);
      folders_.push_back({std::move(fd), std::move(entry)});
      return success();
    }
    case EntryType::kHardLink:
      return make_hard_link(entry, parent, name);
    case EntryType::kSymlink:
      if (::symlinkat(entry.link_target.c_str(), parent, name.c_str()) != 0) {
        return failed("create", entry.path, errno);
      }
      break;
    case EntryType::kFifo:
    case EntryType::kCharacterDevice:
    case EntryType::kBlockDevice: {
      const mode_t type = entry.type == EntryType::kFifo              ? S_IFIFO
                          : entry.type == EntryType::kCharacterDevice ? S_IFCHR
                                                                      : S_IFBLK;
      if (::mknodat(parent, name.c_str(), type | 0600,
                    makedev(entry.device_major, entry.device_minor)) != 0) {
        return failed("create", entry.path, errno);
      }
      break;
    }
  }
  if (privileged_ &&
      ::fchownat(parent, name.c_str(), entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("set the owner of", entry.path, errno);
  }
  // fchmodat follows links, and a link has no mode; what is left here are pipes and devices, ours.
  if (entry.type != EntryType::kSymlink && ::fchmodat(parent, name.c_str(), entry.mode, 0) != 0) {
    return failed("set the mode of", entry.path, errno);
  }
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, modification_time(entry)};
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("set the time of", entry.path, errno);
  }
  return success();
}

// The other name must be a file of this archive. Its folders are walked without following links.
Result<void, Error> TreeWriter::make_hard_link(const PaxEntry& entry, int parent,
                                               const std::string& name) {
  flow::OwnedDescriptor held;
  int at = root_.get();
  std::string_view rest = entry.link_target;
  for (auto slash = rest.find('/'); slash != std::string_view::npos; slash = rest.find('/')) {
    const std::string component(rest.substr(0, slash));
    rest.remove_prefix(slash + 1);
    flow::OwnedDescriptor next(
        ::openat(at, component.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next.valid()) return failed("link to", entry.link_target, errno);
    held = std::move(next);
    at = held.get();
  }
  const std::string target(rest);
  struct stat status {};
  if (::fstatat(at, target.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return failed("link to", entry.link_target, errno);
  }
  if (!S_ISREG(status.st_mode)) return refused(PaxError::kPath);
  if (::linkat(at, target.c_str(), parent, name.c_str(), 0) != 0) {
    return failed("create", entry.path, errno);
  }
  return success();
}

Result<void, Error> TreeWriter::on_content(const PaxReader::Content& content) {
  ByteSpan rest = content.bytes;
  std::uint64_t offset = content.offset;
  while (!rest.empty()) {
    const ssize_t put = ::pwrite(file_.get(), rest.data(), rest.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed("write", file_entry_.path, errno);
    rest = rest.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return success();
}

Result<void, Error> TreeWriter::on_file_end() {
  // Also makes the hole at the end.
  if (file_entry_.extents && ::ftruncate(file_.get(), static_cast<off_t>(file_entry_.size)) != 0) {
    return failed("write", file_entry_.path, errno);
  }
  SEALANE_TRY(apply(file_entry_, file_.get()));
  file_.reset();
  return success();
}

Result<void, Error> TreeWriter::leave_folder() {
  const Folder folder = std::move(folders_.back());
  folders_.pop_back();
  return apply(folder.entry, folder.fd.get());
}

// Owner first, since changing it clears set-user-id bits and capabilities; attributes before the
// mode, which may take away the right to set them; the time last.
Result<void, Error> TreeWriter::apply(const PaxEntry& entry, int fd) {
  if (privileged_ && ::fchown(fd, entry.uid, entry.gid) != 0) {
    return failed("set the owner of", entry.path, errno);
  }
  for (const auto& [name, value] : entry.xattrs) {
    const bool common = is_common_xattr(name);
    if (!common && !privileged_) continue;
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    // Labels and capabilities need support of this kernel and container; no content depends on
    // them.
    if (!common && (errno == ENOTSUP || errno == EPERM)) continue;
    return failed("set the attribute " + printable(name) + " of", entry.path, errno);
  }
  if (::fchmod(fd, entry.mode) != 0) return failed("set the mode of", entry.path, errno);
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, modification_time(entry)};
  if (::futimens(fd, times) != 0) return failed("set the time of", entry.path, errno);
  return success();
}

void TreeWriter::note_owner(const PaxEntry& entry) {
  if (privileged_) return;
  const std::pair owner(entry.uid, entry.gid);
  // Neighbours mostly share their owner, and a tree has few of them.
  auto& distinct = owners_.distinct;
  const auto it = std::ranges::find(distinct, owner);
  const auto index = static_cast<std::uint32_t>(it - distinct.begin());
  if (it == distinct.end()) distinct.push_back(owner);
  owners_.of_entry.push_back(index);
}

}  // namespace sealane::backup
