#pragma once
// SQLite over the FileSystem seam, so that a database can lose its disk at every call; and what all
// our SQLite VFSs share.
#include <sqlite3.h>

#include <string>

#include "sealane/base/seams.h"

namespace sealane::store {

// "sealane-KIND-7": names of VFSs are process-wide, so every instance has its own.
std::string unique_vfs_name(const char* kind);
// Registers `vfs`, whose functions about files are set; the rest is the default VFS's. `name` must
// live as long as it is registered.
void register_vfs(sqlite3_vfs& vfs, const std::string& name, void* self);

// A VFS whose files are those of `files`. For databases of one connection that holds them alone:
// locking_mode EXCLUSIVE, journal_mode WAL, temp_store MEMORY. Locks are the caller's; files never
// shrink, which such a database does not need. Must outlive its connections.
class SqliteFiles {
 public:
  explicit SqliteFiles(FileSystem& files);
  ~SqliteFiles();
  SqliteFiles(const SqliteFiles&) = delete;
  SqliteFiles& operator=(const SqliteFiles&) = delete;
  const char* name() const { return name_.c_str(); }

 private:
  std::string name_;
  sqlite3_vfs vfs_{};
};

}  // namespace sealane::store
