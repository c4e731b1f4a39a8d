// Files that hold private keys, read and written through the file-system seam.
#include <unistd.h>

#include <cerrno>

#include "base/limits.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {
namespace {

constexpr std::uint32_t kOthersMask = 077;
constexpr std::uint32_t kPrivateMode = 0600;

Error refused(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

// Refuses what a person must not trust with a secret, or where another may have put his own.
Result<void, Error> check_protected(const FileStatus& status, const std::string& path,
                                    std::string_view what) {
  const std::string name = printable(path);
  const std::string subject = "the " + std::string(what) + " " + name;
  // Root may do all of this anyway, so a file of his is as safe as our own.
  if (status.owner != ::geteuid() && status.owner != 0) {
    return refused(subject +
                   " belongs to another user, who could replace it; make it yours with `chown " +
                   "$(id -u) " + name + "`");
  }
  if ((status.mode & kOthersMask) != 0) {
    return refused(subject + " can be read or written by others; protect it with `chmod 600 " +
                   name + "`");
  }
  return success();
}

Result<void, Error> check_private(const FileStatus& status, const std::string& path) {
  if (status.type == FileType::kRegular) return check_protected(status, path, "private key");
  return refused(printable(path) +
                 " is not a regular file; a private key is read from nothing else");
}

Result<SecretBytes, Error> read_whole(File& file, const std::string& path, std::size_t limit) {
  SecretBytes content(limit + 1);  // one more, so that too long is seen
  std::size_t size = 0;
  while (size < content.size()) {
    const auto got = file.read(content.fill().subspan(size));
    if (!got.has_value()) return to_error(got.error());
    if (got.value() == 0) break;
    size += got.value();
  }
  if (size > limit) return to_error({EFBIG, "read", path});
  content.truncate(size);
  return content;
}

}  // namespace

Result<SecretBytes, Error> read_private_file(FileSystem& files, const std::string& path) {
  // Asked before it is opened too: opening a pipe would wait for its writer.
  const auto named = files.status(path);
  if (!named.has_value()) return to_error(named.error());
  if (named.value().type != FileType::kSymlink) {
    SEALANE_TRY(check_private(named.value(), path));
  }
  auto opened = files.open(path, OpenMode::kRead);
  if (!opened.has_value()) return to_error(opened.error());
  File& file = *opened.value();
  const auto status = file.status();
  if (!status.has_value()) return to_error(status.error());
  SEALANE_TRY(check_private(status.value(), path));
  return read_whole(file, path, limits::kKeyFileSize);
}

Result<SecretBytes, Error> read_secret_file(FileSystem& files, const std::string& path,
                                            const SecretFile& secret) {
  auto opened = files.open(path, OpenMode::kRead);
  if (!opened.has_value()) return to_error(opened.error());
  File& file = *opened.value();
  const auto status = file.status();
  if (!status.has_value()) return to_error(status.error());
  if (status.value().type == FileType::kRegular) {
    auto safe = check_protected(status.value(), path, secret.what);
    if (!safe.has_value() && secret.warnings == nullptr) return safe.error();
    if (!safe.has_value()) secret.warnings->push_back(std::move(safe.error().message));
  }
  return read_whole(file, path, secret.max_size);
}

Result<void, Error> write_private_file(FileSystem& files, const std::string& path,
                                       const SecretBytes& content) {
  auto written = write_new_file(files, path, content.expose(), kPrivateMode);
  if (written.has_value()) {
    written = files.sync_directory(parent_path(path));
    // What may not survive a power loss is not handed out as a key.
    if (!written.has_value()) static_cast<void>(files.remove(path));
  }
  if (written.has_value()) return success();
  if (written.error().code == EEXIST) {
    return Error{ErrorKind::kFailed, printable(path) +
                                         " exists already and is not overwritten; choose another "
                                         "place or move it away first"};
  }
  return to_error(written.error());
}

}  // namespace sealane::identity
