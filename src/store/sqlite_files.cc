#include "store/sqlite_files.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/check.h"

namespace sealane::store {
namespace {

constexpr int kSectorSize = 4096;
constexpr int kMaxPath = 4096;

struct VfsFile {
  sqlite3_file base;  // first, as SQLite sees it
  File* file;         // owned
};
File& file_of(sqlite3_file* file) { return *reinterpret_cast<VfsFile*>(file)->file; }
FileSystem& files_of(sqlite3_vfs* vfs) { return *static_cast<FileSystem*>(vfs->pAppData); }

int code_of(const FileError& error, int otherwise) {
  return error.code == ENOSPC || error.code == EDQUOT ? SQLITE_FULL : otherwise;
}

int file_close(sqlite3_file* file) {
  delete reinterpret_cast<VfsFile*>(file)->file;
  return SQLITE_OK;
}
int file_read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
  MutableByteSpan rest(static_cast<std::byte*>(out), static_cast<std::size_t>(size));
  auto at = static_cast<std::uint64_t>(offset);
  while (!rest.empty()) {
    const auto got = file_of(file).read_at(at, rest);
    if (!got.has_value()) return SQLITE_IOERR_READ;
    if (got.value() == 0) {
      std::ranges::fill(rest, std::byte{0});  // SQLite asks for that
      return SQLITE_IOERR_SHORT_READ;
    }
    rest = rest.subspan(got.value());
    at += got.value();
  }
  return SQLITE_OK;
}
int file_write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const ByteSpan bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(size));
  const auto written = file_of(file).write_at(static_cast<std::uint64_t>(offset), bytes);
  return written.has_value() ? SQLITE_OK : code_of(written.error(), SQLITE_IOERR_WRITE);
}
// The header of a database, and the log's frames, say how much of a file counts.
int file_truncate(sqlite3_file*, sqlite3_int64) { return SQLITE_OK; }
int file_sync(sqlite3_file* file, int) {
  const auto synced = file_of(file).sync();
  return synced.has_value() ? SQLITE_OK : code_of(synced.error(), SQLITE_IOERR_FSYNC);
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
  const auto status = file_of(file).status();
  if (!status.has_value()) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(status.value().size);
  return SQLITE_OK;
}
int file_lock(sqlite3_file*, int) { return SQLITE_OK; }
int file_check_reserved(sqlite3_file*, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int file_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int file_sector_size(sqlite3_file*) { return kSectorSize; }
int file_characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

sqlite3_io_methods make_methods() {
  sqlite3_io_methods m{};
  m.iVersion = 1;  // no shared memory: one connection
  m.xClose = file_close;
  m.xRead = file_read;
  m.xWrite = file_write;
  m.xTruncate = file_truncate;
  m.xSync = file_sync;
  m.xFileSize = file_size;
  m.xLock = file_lock;
  m.xUnlock = file_lock;
  m.xCheckReservedLock = file_check_reserved;
  m.xFileControl = file_control;
  m.xSectorSize = file_sector_size;
  m.xDeviceCharacteristics = file_characteristics;
  return m;
}
const sqlite3_io_methods kMethods = make_methods();

int vfs_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  if (name == nullptr) return SQLITE_CANTOPEN;  // a temporary one: they are in memory
  FileSystem& files = files_of(vfs);
  auto opened = files.open(name, OpenMode::kReadWrite);
  if (!opened.has_value() && opened.error().code == ENOENT && (flags & SQLITE_OPEN_CREATE) != 0) {
    opened = files.open(name, OpenMode::kCreateExclusive, 0600);
    if (opened.has_value() && !files.sync_directory(parent_path(name)).has_value()) {
      return SQLITE_CANTOPEN;
    }
  }
  if (!opened.has_value()) return code_of(opened.error(), SQLITE_CANTOPEN);
  auto* self = new (file) VfsFile{};
  self->file = std::move(opened).value().release();
  self->base.pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}
int vfs_delete(sqlite3_vfs* vfs, const char* name, int sync) {
  const auto removed = files_of(vfs).remove(name);
  if (!removed.has_value()) {
    return removed.error().code == ENOENT ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
  }
  if (sync != 0 && !files_of(vfs).sync_directory(parent_path(name)).has_value()) {
    return SQLITE_IOERR_DIR_FSYNC;
  }
  return SQLITE_OK;
}
int vfs_access(sqlite3_vfs* vfs, const char* name, int, int* out) {
  const auto status = files_of(vfs).status(name);
  if (!status.has_value() && status.error().code != ENOENT) return SQLITE_IOERR_ACCESS;
  // An empty log or journal is none, as SQLite's own VFS has it.
  *out = status.has_value() && status.value().size > 0 ? 1 : 0;
  return SQLITE_OK;
}
int vfs_full_pathname(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

}  // namespace

std::string unique_vfs_name(const char* kind) {
  static std::atomic<std::uint64_t> count{0};
  return std::string("sealane-") + kind + '-' + std::to_string(count.fetch_add(1));
}

void register_vfs(sqlite3_vfs& vfs, const std::string& name, void* self) {
  const sqlite3_vfs* base = sqlite3_vfs_find(nullptr);
  SEALANE_CHECK(base != nullptr);
  vfs.iVersion = 1;
  if (vfs.mxPathname == 0) vfs.mxPathname = base->mxPathname;
  vfs.zName = name.c_str();
  vfs.pAppData = self;
  vfs.xDlOpen = base->xDlOpen;
  vfs.xDlError = base->xDlError;
  vfs.xDlSym = base->xDlSym;
  vfs.xDlClose = base->xDlClose;
  vfs.xRandomness = base->xRandomness;
  vfs.xSleep = base->xSleep;
  vfs.xCurrentTime = base->xCurrentTime;
  vfs.xGetLastError = base->xGetLastError;
  SEALANE_CHECK(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
}

SqliteFiles::SqliteFiles(FileSystem& files) : name_(unique_vfs_name("files")) {
  SEALANE_CHECK(sqlite3_initialize() == SQLITE_OK);
  vfs_.szOsFile = static_cast<int>(sizeof(VfsFile));
  vfs_.mxPathname = kMaxPath;
  vfs_.xOpen = vfs_open;
  vfs_.xDelete = vfs_delete;
  vfs_.xAccess = vfs_access;
  vfs_.xFullPathname = vfs_full_pathname;
  register_vfs(vfs_, name_, &files);
}
SqliteFiles::~SqliteFiles() { sqlite3_vfs_unregister(&vfs_); }

}  // namespace sealane::store
