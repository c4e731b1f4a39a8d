#include "store/atomic_file.h"

#include <cerrno>

namespace sealane::store {
namespace {

Error exists(const std::string& path) {
  return {.kind = ErrorKind::kUsage,
          .message = printable(path) + " exists already; choose another name or allow overwriting"};
}

}  // namespace

Result<std::unique_ptr<AtomicFile>, Error> AtomicFile::create(FileSystem& files,
                                                              RandomSource& random,
                                                              std::string path, Overwrite overwrite,
                                                              std::uint32_t permissions) {
  const auto status = files.status(path);
  if (status.has_value()) {
    if (status.value().type == FileType::kDirectory) {
      return Error{.kind = ErrorKind::kUsage,
                   .message = printable(path) + " is a directory; name a file in it"};
    }
    if (overwrite == Overwrite::kRefuse) return exists(path);
    // A rename would take the place of a device, and of a link that others follow (/dev/stdout).
    if (status.value().type != FileType::kRegular) {
      return Error{.kind = ErrorKind::kUsage,
                   .message = printable(path) +
                              " is a link, pipe or device and is not replaced; name a regular "
                              "file, or write to standard output"};
    }
  }
  ByteArray<8> suffix;
  random.fill(suffix);
  std::string temporary =
      join_path(parent_path(path), "." + base_name(path) + ".tmp-" + to_hex(suffix));
  std::unique_ptr<AtomicFile> result(
      new AtomicFile(files, std::move(path), std::move(temporary), overwrite));
  auto opened = files.open(result->temporary_, OpenMode::kCreateExclusive, permissions);
  if (!opened.has_value()) return to_error(opened.error());
  result->file_ = std::move(opened).value();
  return result;
}

AtomicFile::~AtomicFile() {
  if (!file_) return;
  file_.reset();
  static_cast<void>(files_.remove(temporary_));  // nobody is left to tell
}

Result<void, Error> AtomicFile::commit() {
  const auto synced = file_->sync();
  if (!synced.has_value()) return to_error(synced.error());
  const RenameMode mode =
      overwrite_ == Overwrite::kAllow ? RenameMode::kReplace : RenameMode::kNoReplace;
  const auto renamed = files_.rename(temporary_, path_, mode);
  if (!renamed.has_value()) {
    return renamed.error().code == EEXIST ? exists(path_) : to_error(renamed.error());
  }
  file_.reset();
  const auto settled = files_.sync_directory(parent_path(path_));
  if (!settled.has_value()) return to_error(settled.error());
  return success();
}

}  // namespace sealane::store
