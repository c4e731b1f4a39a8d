#pragma once
// AtomicFile: a file that appears whole or not at all.
#include <memory>
#include <string>

#include "sealane/base/seams.h"

namespace sealane::store {

enum class Overwrite : std::uint8_t { kRefuse, kAllow };

// Writes to ".NAME.tmp-RANDOM" beside `path`; commit() syncs it and renames it into place; without
// commit the destructor removes it. Not thread-safe, except write_at through file().
class AtomicFile {
 public:
  // Refuses early when `path` exists and may not be overwritten, or is a directory.
  static Result<std::unique_ptr<AtomicFile>, Error> create(FileSystem& files, RandomSource& random,
                                                           std::string path, Overwrite overwrite,
                                                           std::uint32_t permissions = 0600);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  File& file() { return *file_; }
  const std::string& temporary_path() const { return temporary_; }
  // After success the file is at `path` and survives a power loss.
  Result<void, Error> commit();

 private:
  AtomicFile(FileSystem& files, std::string path, std::string temporary, Overwrite overwrite)
      : files_(files),
        path_(std::move(path)),
        temporary_(std::move(temporary)),
        overwrite_(overwrite) {}
  FileSystem& files_;
  std::string path_;
  std::string temporary_;
  Overwrite overwrite_;
  std::unique_ptr<File> file_;
};

}  // namespace sealane::store
