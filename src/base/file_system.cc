#include "sealane/base/seams.h"

#include <cerrno>
#include <cstring>

namespace sealane {

Error to_error(const FileError& error) {
  std::string message = "cannot ";
  message += error.operation == "stat" ? "find" : error.operation;
  message += ' ';
  message += printable(error.path);
  message += ": ";
  message += error.code == EMEDIUMTYPE ? "it is a link, folder, pipe or device, not a regular file"
                                       : std::strerror(error.code);
  if (error.code == ENOENT && error.operation == "create") message += "; its folder is missing";
  if (error.code == ENOSPC || error.code == EDQUOT) message += "; free some space and run it again";
  return {.kind = ErrorKind::kFailed, .message = std::move(message)};
}

FileResult<Bytes> read_file(FileSystem& files, const std::string& path, std::size_t limit,
                            OpenMode mode) {
  SEALANE_TRY(auto file, files.open(path, mode));
  Bytes content;
  for (;;) {
    constexpr std::size_t kStep = 64 * 1024;
    const std::size_t at = content.size();
    content.resize(at + kStep);
    SEALANE_TRY(const std::size_t got, file->read(MutableByteSpan(content).subspan(at)));
    content.resize(at + got);
    if (got == 0) return content;
    if (content.size() > limit) return FileError{EFBIG, "read", path};
  }
}

FileResult<void> write_new_file(FileSystem& files, const std::string& path, ByteSpan content,
                                std::uint32_t permissions) {
  SEALANE_TRY(auto file, files.open(path, OpenMode::kCreateExclusive, permissions));
  auto written = file->write(content);
  if (written.has_value()) written = file->sync();
  if (!written.has_value()) {
    file.reset();
    // The first failure is the one to report.
    static_cast<void>(files.remove(path));
  }
  return written;
}

FileResult<void> replace_file(FileSystem& files, RandomSource& random, const std::string& path,
                              ByteSpan content, std::uint32_t permissions) {
  ByteArray<8> suffix;
  random.fill(suffix);
  const std::string temporary =
      join_path(parent_path(path), ".tmp-" + base_name(path) + "-" + to_hex(suffix));
  SEALANE_TRY(write_new_file(files, temporary, content, permissions));
  auto renamed = files.rename(temporary, path, RenameMode::kReplace);
  if (!renamed.has_value()) {
    static_cast<void>(files.remove(temporary));
    return renamed;
  }
  return files.sync_directory(parent_path(path));
}

std::string join_path(std::string_view directory, std::string_view name) {
  std::string path(directory);
  if (!path.empty() && path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string parent_path(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  if (slash == 0) return "/";
  return std::string(path.substr(0, slash));
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const std::size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos || path == "/" ? path
                                                                    : path.substr(slash + 1));
}

}  // namespace sealane
