#include "backup/tree_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kMaxNamedMounts = 100;
constexpr std::size_t kNameBuffer = 16 * 1024;  // of a passwd or group entry

int open_below(int parent, const std::string& name, int flags) {
  for (;;) {
    const int fd = ::openat(parent, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

bool is_zero(ByteSpan data) {
  return data.empty() || (data[0] == std::byte{0} &&
                          std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// Where the file has data. Without holes: nothing.
std::optional<std::vector<Extent>> find_extents(int fd, const struct stat& status) {
  const auto size = static_cast<std::uint64_t>(status.st_size);
  constexpr std::uint64_t kStatBlock = 512;
  if (static_cast<std::uint64_t>(status.st_blocks) * kStatBlock >= size) return std::nullopt;
  std::vector<Extent> extents;
  std::uint64_t at = 0;
  while (at < size) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return std::nullopt;      // the file system cannot tell
    const auto start = static_cast<std::uint64_t>(data);
    if (start >= size) break;
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return std::nullopt;
    std::uint64_t end = std::min(static_cast<std::uint64_t>(hole), size);
    // The rest counts as data once the map is full (the last place is for the end of the file).
    if (extents.size() == kPaxMaxExtents - 2) end = size;
    extents.push_back({start, end - start});
    at = end;
  }
  if (extents.size() == 1 && extents[0] == Extent{0, size}) return std::nullopt;
  // GNU tar marks the size of a file that ends in a hole this way.
  if (extents.empty() || extents.back().offset + extents.back().size < size) {
    extents.push_back({size, 0});
  }
  return extents;
}

// What a drill can compare whoever runs it: other name spaces need privileges to set.
bool is_compared_xattr(std::string_view name) {
  return name.starts_with("user.") || name.starts_with("system.posix_acl_");
}

std::string reason_of(int code) { return std::strerror(code); }

}  // namespace

void ContentHash::hash_block(std::uint64_t offset, ByteSpan block) {
  if (is_zero(block)) return;
  ByteArray<8> number;
  store_integer(number, offset);
  hash_.update(number);
  hash_.update(block);
}

void ContentHash::flush() {
  if (!has_partial_) return;
  hash_block(partial_offset_, partial_);
  std::ranges::fill(partial_, std::byte{0});
  has_partial_ = false;
}

void ContentHash::write(std::uint64_t offset, ByteSpan data) {
  while (!data.empty()) {
    const auto into = static_cast<std::size_t>(offset % kBlock);
    const std::uint64_t block = offset - into;
    const std::size_t size = std::min(data.size(), kBlock - into);
    if (has_partial_ && partial_offset_ != block) flush();
    if (size == kBlock) {
      hash_block(block, data.first(size));
    } else {
      copy_bytes(data.first(size), partial_.begin() + static_cast<std::ptrdiff_t>(into));
      partial_offset_ = block;
      has_partial_ = true;
    }
    offset += size;
    data = data.subspan(size);
  }
}

crypto::Sha256Digest ContentHash::finish() {
  flush();
  return hash_.finish();
}

Result<std::unique_ptr<TreeReader>, Error> TreeReader::open(const std::string& path,
                                                            flow::Cancellation& cancel,
                                                            TreeReaderOptions options) {
  std::unique_ptr<TreeReader> self(new TreeReader(path, cancel, options));
  struct stat status {};
  flow::OwnedDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    return to_error(FileError{errno, "open", path});
  }
  self->device_ = status.st_dev;
  if (S_ISREG(status.st_mode)) {
    self->start_file(std::move(fd), status, base_name(path));
    return self;
  }
  if (!S_ISDIR(status.st_mode)) {
    return Error{ErrorKind::kUsage, printable(path) + " is neither a folder nor a regular file"};
  }
  Folder root{.fd = std::move(fd), .path = {}, .names = {}, .next = 0};
  PaxEntry entry = self->describe("", EntryType::kDirectory, status);
  self->read_xattrs(root.fd.get(), entry);
  if (!self->list(root)) return to_error(FileError{errno, "list", path});
  if (options.with_root) self->emit(entry);
  self->folders_.push_back(std::move(root));
  return self;
}

Result<std::size_t, Error> TreeReader::read(MutableByteSpan out) {
  std::size_t filled = 0;
  while (filled < out.size()) {
    const MutableByteSpan rest = out.subspan(filled);
    if (!pending_.empty()) {
      const ByteSpan ready = ByteSpan(pending_).subspan(pending_taken_);
      const std::size_t size = std::min(ready.size(), rest.size());
      copy_bytes(ready.first(size), rest.begin());
      filled += size;
      pending_taken_ += size;
      if (pending_taken_ == pending_.size()) {
        pending_.clear();
        pending_taken_ = 0;
      }
    } else if (cancel_.cancelled()) {
      return flow::interrupted();
    } else if (file_) {
      const std::size_t size = read_content(rest);
      filled += size;
      if (size == 0) end_file();
    } else if (done_) {
      break;
    } else {
      SEALANE_TRY(next_entry());
    }
  }
  return filled;
}

// Steps until there is something to emit.
Result<void, Error> TreeReader::next_entry() {
  while (pending_.empty() && !file_) {
    if (cancel_.cancelled()) return flow::interrupted();
    if (folders_.empty()) {
      done_ = true;
      pending_.assign(kPaxEndSize, std::byte{0});
      fingerprint_ = builder_.finish();
      return success();
    }
    Folder& folder = folders_.back();
    if (folder.next == folder.names.size()) {
      folders_.pop_back();
      continue;
    }
    std::string name = std::move(folder.names[folder.next++]);
    if (name.ends_with('/')) name.pop_back();
    visit(folder, name);
  }
  return success();
}

void TreeReader::visit(const Folder& parent, const std::string& name) {
  const int fd = parent.fd.get();
  const std::string path = parent.path.empty() ? name : parent.path + '/' + name;
  struct stat status {};
  if (::fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT) cannot_read(path, reason_of(errno));
    return;  // a file that is gone is none that was missed
  }
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      visit_file(fd, name, path);
      break;
    case S_IFDIR:
      visit_folder(fd, name, path, status);
      break;
    case S_IFLNK: {
      PaxEntry entry = describe(path, EntryType::kSymlink, status);
      entry.mode = 0777;
      entry.link_target.resize(kPaxMaxLink + 1);
      const ssize_t size =
          ::readlinkat(fd, name.c_str(), entry.link_target.data(), entry.link_target.size());
      if (size <= 0 || static_cast<std::size_t>(size) > kPaxMaxLink) {
        cannot_read(path, size < 0 ? reason_of(errno) : "the link's text is empty or too long");
        return;
      }
      entry.link_target.resize(static_cast<std::size_t>(size));
      emit(entry);
      break;
    }
    case S_IFIFO:
      emit(describe(path, EntryType::kFifo, status));
      break;
    case S_IFCHR:
    case S_IFBLK: {
      PaxEntry entry = describe(
          path, S_ISCHR(status.st_mode) ? EntryType::kCharacterDevice : EntryType::kBlockDevice,
          status);
      entry.device_major = major(status.st_rdev);
      entry.device_minor = minor(status.st_rdev);
      emit(entry);
      break;
    }
    default:
      ++sockets_;
      break;
  }
}

void TreeReader::visit_file(int parent, const std::string& name, const std::string& path) {
  // O_NONBLOCK: should it be a pipe by now, opening does not hang.
  flow::OwnedDescriptor fd(open_below(parent, name, O_RDONLY | O_NONBLOCK));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
    if (errno != ENOENT) cannot_read(path, reason_of(errno));
    return;
  }
  if (!S_ISREG(status.st_mode)) {
    cannot_read(path, "it was replaced while it was being read");
    return;
  }
  if (status.st_nlink > 1) {
    const std::pair key(status.st_dev, status.st_ino);
    if (const auto it = links_.find(key); it != links_.end()) {
      PaxEntry entry = describe(path, EntryType::kHardLink, status);
      entry.link_target = it->second.path;
      if (--it->second.left == 0) links_.erase(it);
      emit(entry);
      return;
    }
    // Only a file that is in the archive can be linked to.
    if (start_file(std::move(fd), status, path) && links_.size() < kMaxTrackedHardLinks) {
      links_.emplace(key, Link{path, status.st_nlink - 1});
    }
    return;
  }
  start_file(std::move(fd), status, path);
}

bool TreeReader::start_file(flow::OwnedDescriptor fd, const struct stat& status,
                            const std::string& path) {
  OpenFile file{.fd = std::move(fd),
                .status = status,
                .entry = describe(path, EntryType::kFile, status),
                .extents = {},
                .hash = {}};
  file.entry.size = static_cast<std::uint64_t>(status.st_size);
  file.entry.extents = find_extents(file.fd.get(), status);
  file.extents = file.entry.extents.value_or(std::vector<Extent>{{0, file.entry.size}});
  read_xattrs(file.fd.get(), file.entry);
  if (!is_valid(file.entry)) {
    cannot_read(path, "its name or metadata is beyond the limits of the archive");
    return false;
  }
  pending_ = encode_pax_header(file.entry);
  file.entry.extents.reset();
  file_.emplace(std::move(file));
  return true;
}

// Content of the open file; 0 at its end. What cannot be read any more is zero.
std::size_t TreeReader::read_content(MutableByteSpan out) {
  OpenFile& file = *file_;
  while (file.extent < file.extents.size() && file.done == file.extents[file.extent].size) {
    ++file.extent;
    file.done = 0;
  }
  if (file.extent == file.extents.size()) return 0;
  const Extent& extent = file.extents[file.extent];
  const std::uint64_t offset = extent.offset + file.done;
  MutableByteSpan piece = out.first(
      static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), extent.size - file.done)));
  if (!file.broken) {
    ssize_t got = 0;
    do {
      got = ::pread(file.fd.get(), piece.data(), piece.size(), static_cast<off_t>(offset));
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
      file.broken = true;
      cannot_read(file.entry.path, got < 0 ? reason_of(errno) + "; the rest is stored as zeros"
                                           : "it became shorter while it was being read; the rest "
                                             "is stored as zeros");
    } else {
      piece = piece.first(static_cast<std::size_t>(got));
    }
  }
  if (file.broken) std::ranges::fill(piece, std::byte{0});
  file.hash.write(offset, piece);
  file.done += piece.size();
  return piece.size();
}

void TreeReader::end_file() {
  OpenFile& file = *file_;
  struct stat now {};
  if (!file.broken && ::fstat(file.fd.get(), &now) == 0 &&
      (now.st_size != file.status.st_size || now.st_mtim.tv_sec != file.status.st_mtim.tv_sec ||
       now.st_mtim.tv_nsec != file.status.st_mtim.tv_nsec)) {
    cannot_read(file.entry.path, "it changed while it was being read; what is stored may be a mix");
  }
  add_item(file.entry, file.hash.finish());
  std::uint64_t stored = 0;
  for (const Extent& extent : file.extents) stored += extent.size;
  pending_.assign(pax_padding(stored), std::byte{0});
  file_.reset();
}

void TreeReader::visit_folder(int parent, const std::string& name, const std::string& path,
                              const struct stat& status) {
  PaxEntry entry = describe(path, EntryType::kDirectory, status);
  Folder folder{.fd = flow::OwnedDescriptor(open_below(parent, name, O_RDONLY | O_DIRECTORY)),
                .path = path,
                .names = {},
                .next = 0};
  bool enter = true;
  if (status.st_dev != device_ && !options_.cross_mount_points) {
    if (mount_points_.size() < kMaxNamedMounts) mount_points_.push_back(path);
    enter = false;
  }
  if (!folder.fd.valid()) {
    if (errno == ENOENT) return;
    cannot_read(path, reason_of(errno));
    enter = false;
  } else {
    read_xattrs(folder.fd.get(), entry);
  }
  if (enter && folders_.size() == kPaxMaxDepth) {
    cannot_read(path, "folders are nested too deeply");
    enter = false;
  }
  if (enter && !list(folder)) {
    cannot_read(path, reason_of(errno));
    enter = false;
  }
  // What is in a folder that the archive does not have could not be restored.
  if (!emit(entry)) return;
  if (enter) folders_.push_back(std::move(folder));  // invalidates references into folders_
}

// Sorted by the bytes of the names, a folder's with its '/': then whole paths are sorted too.
bool TreeReader::list(Folder& folder) {
  const int copy = ::fcntl(folder.fd.get(), F_DUPFD_CLOEXEC, 0);
  DIR* directory = copy < 0 ? nullptr : ::fdopendir(copy);
  if (directory == nullptr) {
    if (copy >= 0) ::close(copy);
    return false;
  }
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_directory = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat status {};
      is_directory = ::fstatat(folder.fd.get(), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                     S_ISDIR(status.st_mode);
    }
    folder.names.push_back(std::string(name) + (is_directory ? "/" : ""));
  }
  const int code = errno;
  ::closedir(directory);
  std::ranges::sort(folder.names);
  errno = code;
  return code == 0;
}

bool TreeReader::emit(const PaxEntry& entry) {
  if (!is_valid(entry)) {
    cannot_read(entry.path, "its name or metadata is beyond the limits of the archive");
    return false;
  }
  const Bytes header = encode_pax_header(entry);
  pending_.insert(pending_.end(), header.begin(), header.end());
  add_item(entry, crypto::Sha256Digest{});
  return true;
}

// docs/protocol/fingerprint.md, section 4, has the table.
void TreeReader::add_item(const PaxEntry& entry, const crypto::Sha256Digest& content) {
  ByteWriter out;
  out.u8(static_cast<std::uint8_t>(entry.type));
  out.u32(entry.mode).u32(entry.uid).u32(entry.gid).u64(entry.size);
  out.u64(static_cast<std::uint64_t>(entry.mtime_seconds)).u32(entry.mtime_nanoseconds);
  out.u32_prefixed(entry.link_target).u32(entry.device_major).u32(entry.device_minor);
  for (const auto& [name, value] : entry.xattrs) {
    if (is_compared_xattr(name)) out.u32_prefixed(name).u32_prefixed(value);
  }
  out.bytes(content);
  builder_.add(entry.path.empty() ? "." : entry.path, entry.size,
               to_hex(crypto::sha256(out.view())));
  ++entry_count_;
}

PaxEntry TreeReader::describe(const std::string& path, EntryType type, const struct stat& status) {
  PaxEntry entry;
  entry.type = type;
  entry.path = path;
  entry.mode = status.st_mode & 07777;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  if (options_.owners != nullptr && entry_count_ < options_.owners->of_entry.size()) {
    const auto index = options_.owners->of_entry[static_cast<std::size_t>(entry_count_)];
    std::tie(entry.uid, entry.gid) = options_.owners->distinct[index];
  }
  entry.user = cached_name(users_, entry.uid, true);
  entry.group = cached_name(groups_, entry.gid, false);
  entry.mtime_seconds = status.st_mtim.tv_sec;
  entry.mtime_nanoseconds = static_cast<std::uint32_t>(status.st_mtim.tv_nsec);
  return entry;
}

std::string TreeReader::cached_name(std::map<std::uint32_t, std::string>& cache, std::uint32_t id,
                                    bool user) {
  const auto [it, is_new] = cache.emplace(id, std::string());
  if (is_new) {
    std::string buffer(kNameBuffer, '\0');
    if (user) {
      passwd entry{};
      passwd* found = nullptr;
      ::getpwuid_r(id, &entry, buffer.data(), buffer.size(), &found);
      if (found != nullptr) it->second = found->pw_name;
    } else {
      group entry{};
      group* found = nullptr;
      ::getgrgid_r(id, &entry, buffer.data(), buffer.size(), &found);
      if (found != nullptr) it->second = found->gr_name;
    }
  }
  return it->second;
}

void TreeReader::read_xattrs(int fd, PaxEntry& entry) {
  ssize_t size = ::flistxattr(fd, nullptr, 0);
  if (size <= 0) return;  // none, or the file system has no such thing
  std::string names(static_cast<std::size_t>(size), '\0');
  size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0) return cannot_read(entry.path, "its extended attributes: " + reason_of(errno));
  std::string_view rest = std::string_view(names).substr(0, static_cast<std::size_t>(size));
  std::string value(64 * 1024, '\0');  // what Linux allows
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    const ssize_t length = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (length < 0 && errno == ENODATA) continue;
    if (length < 0) {
      cannot_read(entry.path,
                  "its extended attribute " + printable(name) + ": " + reason_of(errno));
      continue;
    }
    entry.xattrs.emplace(name, value.substr(0, static_cast<std::size_t>(length)));
  }
}

void TreeReader::cannot_read(const std::string& path, std::string reason) {
  ++unreadable_.count;
  if (unreadable_.named.size() < kMaxNamedUnreadable) {
    unreadable_.named.push_back({path, std::move(reason)});
  }
}

}  // namespace sealane::backup
