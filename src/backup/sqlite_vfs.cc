#include "backup/sqlite_vfs.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "store/sqlite_files.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kMinPageSize = 512;
constexpr std::int64_t kLogHeaderSize = 32;    // of a write-ahead log
constexpr std::int64_t kFrameHeaderSize = 24;  // of each frame in it; starts with the page number

using store::register_vfs;
using store::unique_vfs_name;

// ---- Shims: every call goes to the real VFS or file.

// What was read ahead of a database, in a few pieces: a scan goes on in one while others hold the
// inner pages of its tree. SQLite is lent the pages where they lie, as of a mapped file; but a disk
// that fails is an error here, and no signal.
// What one transaction reads of the file itself does not change before it ends (of a write-ahead
// log's pages SQLite asks for the others alone). So all is forgotten at each lock.
class Pieces {
 public:
  int read(sqlite3_file& file, void* out, int size, std::int64_t offset) {
    Piece* piece = nullptr;
    if (const int rc = find(file, size, offset, piece); rc != SQLITE_OK) return rc;
    // The end of the file, or no room.
    if (piece == nullptr) return file.pMethods->xRead(&file, out, size, offset);
    std::memcpy(out, piece->at(offset), static_cast<std::size_t>(size));
    return SQLITE_OK;
  }
  // `page` is null where it must be read. Else release() ends the loan.
  int lend(sqlite3_file& file, int size, std::int64_t offset, void*& page) {
    page = nullptr;
    Piece* piece = nullptr;
    if (const int rc = find(file, size, offset, piece); rc != SQLITE_OK) return rc;
    if (piece == nullptr || (offset - piece->start) % 8 != 0) return SQLITE_OK;
    ++piece->loans;
    page = piece->at(offset);
    return SQLITE_OK;
  }
  void release(const void* page) {
    for (Piece& piece : pieces_) {
      const auto* at = static_cast<const std::byte*>(page);
      if (std::less_equal<>()(piece.bytes.data(), at) &&
          std::less<>()(at, piece.bytes.data() + piece.bytes.size())) {
        --piece.loans;
        return;
      }
    }
  }
  void forget() {
    for (Piece& piece : pieces_) piece.size = 0;
  }

 private:
  static constexpr std::size_t kMost = 64 * 1024;  // the largest page
  static constexpr std::int64_t kSkip = 16 * 1024;

  struct Piece {
    std::int64_t end() const { return start + static_cast<std::int64_t>(size); }
    std::byte* at(std::int64_t offset) { return bytes.data() + (offset - start); }
    alignas(64) ByteArray<kMost> bytes;
    std::int64_t start = 0;
    std::size_t size = 0;    // 0: forgotten, though perhaps lent
    std::uint64_t used = 0;  // when, the last time
    std::uint32_t loans = 0;
  };

  // The piece that holds this; null if there is none and none can be made.
  int find(sqlite3_file& file, int size, std::int64_t offset, Piece*& found) {
    found = nullptr;
    const Piece* beside = nullptr;
    for (Piece& piece : pieces_) {
      if (piece.size == 0) continue;
      if (offset >= piece.start && offset + size <= piece.end()) {
        piece.used = ++now_;
        found = &piece;
        return SQLITE_OK;
      }
      const bool near = offset <= piece.end() + kSkip && offset + size + kSkip >= piece.start;
      if (near && (beside == nullptr || beside->used < piece.used)) beside = &piece;
    }
    // Pages that lie in the order in which they are asked for come more and more at once, as the
    // kernel reads ahead of a disk; so do those in the opposite order, in which SQLite checks a
    // tree. Of any other only what is asked for: here and there a page in between is of no use.
    const auto wanted = static_cast<std::size_t>(size);
    const std::size_t ahead =
        beside == nullptr ? wanted : std::min(kMost, std::max(2 * beside->size, wanted));
    const bool back = beside != nullptr && offset < beside->start;
    const std::int64_t behind = static_cast<std::int64_t>(ahead) - size;
    return fill(file, back ? std::max<std::int64_t>(0, offset - behind) : offset, ahead,
                offset + size, found);
  }

  // `found`: null unless the piece reaches to `end`.
  int fill(sqlite3_file& file, std::int64_t offset, std::size_t ahead, std::int64_t end,
           Piece*& found) {
    Piece* oldest = nullptr;
    for (Piece& piece : pieces_) {
      if (piece.loans == 0 && (oldest == nullptr || piece.used < oldest->used)) oldest = &piece;
    }
    if (oldest == nullptr) return SQLITE_OK;
    std::size_t size = ahead;
    if (offset + static_cast<std::int64_t>(size) > end) {
      // Only who reads on must know where the file ends.
      sqlite3_int64 file_size = 0;
      if (const int rc = file.pMethods->xFileSize(&file, &file_size); rc != SQLITE_OK) return rc;
      if (end > file_size) return SQLITE_OK;
      const auto left = static_cast<std::uint64_t>(file_size - offset);
      size = static_cast<std::size_t>(std::min<std::uint64_t>(ahead, left));
    }
    oldest->size = 0;
    const int rc =
        file.pMethods->xRead(&file, oldest->bytes.data(), static_cast<int>(size), offset);
    if (rc == SQLITE_IOERR_SHORT_READ) return SQLITE_OK;  // the end: SQLite finds it by itself
    if (rc != SQLITE_OK) return rc;
    oldest->start = offset;
    oldest->size = size;
    oldest->used = ++now_;
    if (end <= oldest->end()) found = oldest;
    return SQLITE_OK;
  }

  std::array<Piece, 8> pieces_;
  std::uint64_t now_ = 0;
};

struct TapFile {
  sqlite3_file base;  // first, as SQLite sees it
  PageTap* tap;       // or null
  Pieces* pieces;     // of a main database, or null
  int kind;           // SQLITE_OPEN_MAIN_DB, SQLITE_OPEN_WAL or 0
  // The real file's memory follows.
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
static_assert(sizeof(TapFile) % 8 == 0);  // the real file needs no more alignment

TapFile& tap_file(sqlite3_file* file) { return *reinterpret_cast<TapFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return tap_file(file).real(); }
const sqlite3_io_methods& methods(sqlite3_file* file) { return *real(file)->pMethods; }
sqlite3_vfs* default_vfs() { return sqlite3_vfs_find(nullptr); }

int tap_close(sqlite3_file* file) {
  delete std::exchange(tap_file(file).pieces, nullptr);
  return methods(file).xClose(real(file));
}
int tap_read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
  TapFile& self = tap_file(file);
  const int rc = self.pieces != nullptr ? self.pieces->read(*real(file), out, size, offset)
                                        : methods(file).xRead(real(file), out, size, offset);
  if (rc != SQLITE_OK || self.tap == nullptr) return rc;
  const ByteSpan data(static_cast<const std::byte*>(out), static_cast<std::size_t>(size));
  if (self.kind == SQLITE_OPEN_MAIN_DB) self.tap->read_database(offset, data);
  if (self.kind == SQLITE_OPEN_WAL) self.tap->read_log(*real(file), offset, data);
  return rc;
}
void forget_pieces(sqlite3_file* file) {
  if (Pieces* pieces = tap_file(file).pieces) pieces->forget();
}
int tap_write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  forget_pieces(file);
  return methods(file).xWrite(real(file), data, size, offset);
}
int tap_truncate(sqlite3_file* file, sqlite3_int64 size) {
  forget_pieces(file);
  return methods(file).xTruncate(real(file), size);
}
int tap_sync(sqlite3_file* file, int flags) { return methods(file).xSync(real(file), flags); }
int tap_size(sqlite3_file* file, sqlite3_int64* size) {
  return methods(file).xFileSize(real(file), size);
}
int tap_lock(sqlite3_file* file, int lock) {
  forget_pieces(file);
  return methods(file).xLock(real(file), lock);
}
int tap_unlock(sqlite3_file* file, int lock) { return methods(file).xUnlock(real(file), lock); }
int tap_check_reserved(sqlite3_file* file, int* out) {
  return methods(file).xCheckReservedLock(real(file), out);
}
int tap_control(sqlite3_file* file, int op, void* argument) {
  // Nothing is mapped, neither by us nor below us.
  if (op == SQLITE_FCNTL_MMAP_SIZE) return SQLITE_OK;
  return methods(file).xFileControl(real(file), op, argument);
}
int tap_sector_size(sqlite3_file* file) { return methods(file).xSectorSize(real(file)); }
int tap_characteristics(sqlite3_file* file) {
  return methods(file).xDeviceCharacteristics(real(file));
}
int tap_shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return methods(file).xShmMap(real(file), page, size, extend, out);
}
int tap_shm_lock(sqlite3_file* file, int offset, int count, int flags) {
  forget_pieces(file);
  return methods(file).xShmLock(real(file), offset, count, flags);
}
void tap_shm_barrier(sqlite3_file* file) { methods(file).xShmBarrier(real(file)); }
int tap_shm_unmap(sqlite3_file* file, int remove) {
  return methods(file).xShmUnmap(real(file), remove);
}

int tap_fetch(sqlite3_file* file, sqlite3_int64 offset, int size, void** page) {
  *page = nullptr;
  Pieces* pieces = tap_file(file).pieces;
  return pieces == nullptr ? SQLITE_OK : pieces->lend(*real(file), size, offset, *page);
}
int tap_release(sqlite3_file* file, sqlite3_int64, void* page) {
  if (Pieces* pieces = tap_file(file).pieces; pieces != nullptr && page != nullptr)
    pieces->release(page);
  return SQLITE_OK;
}

sqlite3_io_methods make_tap_methods() {
  sqlite3_io_methods m{};
  m.iVersion = 3;
  m.xClose = tap_close;
  m.xRead = tap_read;
  m.xWrite = tap_write;
  m.xTruncate = tap_truncate;
  m.xSync = tap_sync;
  m.xFileSize = tap_size;
  m.xLock = tap_lock;
  m.xUnlock = tap_unlock;
  m.xCheckReservedLock = tap_check_reserved;
  m.xFileControl = tap_control;
  m.xSectorSize = tap_sector_size;
  m.xDeviceCharacteristics = tap_characteristics;
  m.xShmMap = tap_shm_map;
  m.xShmLock = tap_shm_lock;
  m.xShmBarrier = tap_shm_barrier;
  m.xShmUnmap = tap_shm_unmap;
  m.xFetch = tap_fetch;
  m.xUnfetch = tap_release;
  return m;
}
const sqlite3_io_methods kTapMethods = make_tap_methods();

int tap_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  sqlite3_vfs* target = default_vfs();
  auto* self = new (file) TapFile{};
  self->tap = static_cast<PageTap*>(vfs->pAppData);
  self->kind = flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL);
  std::memset(static_cast<void*>(self->real()), 0, static_cast<std::size_t>(target->szOsFile));
  const int rc = target->xOpen(target, name, self->real(), flags, out_flags);
  self->base.pMethods = self->real()->pMethods == nullptr ? nullptr : &kTapMethods;
  // No exception may pass through SQLite. Without memory for it, nothing is read ahead.
  if (rc == SQLITE_OK && self->kind == SQLITE_OPEN_MAIN_DB)
    self->pieces = new (std::nothrow) Pieces;
  return rc;
}
int tap_delete(sqlite3_vfs*, const char* name, int sync) {
  return default_vfs()->xDelete(default_vfs(), name, sync);
}
int tap_access(sqlite3_vfs*, const char* name, int flags, int* out) {
  return default_vfs()->xAccess(default_vfs(), name, flags, out);
}
int tap_full_pathname(sqlite3_vfs*, const char* name, int size, char* out) {
  return default_vfs()->xFullPathname(default_vfs(), name, size, out);
}

// ---- The sink: one file that exists only as calls.

struct SinkFile {
  sqlite3_file base;
  PageSink* sink;
};
PageSink& sink_of(sqlite3_file* file) { return *reinterpret_cast<SinkFile*>(file)->sink; }

int sink_close(sqlite3_file*) { return SQLITE_OK; }
// Only the empty file's header is ever asked for; a page that went out cannot come back.
int sink_read(sqlite3_file* file, void* out, int size, sqlite3_int64) {
  std::memset(out, 0, static_cast<std::size_t>(size));
  return sink_of(file).size() == 0 ? SQLITE_IOERR_SHORT_READ : SQLITE_IOERR_READ;
}
int sink_write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  const ByteSpan bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(size));
  return sink_of(file).write(offset, bytes) ? SQLITE_OK : SQLITE_IOERR_WRITE;
}
int sink_truncate(sqlite3_file* file, sqlite3_int64 size) {
  return sink_of(file).truncate(size) ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}
int sink_sync(sqlite3_file*, int) { return SQLITE_OK; }
int sink_size(sqlite3_file* file, sqlite3_int64* size) {
  *size = sink_of(file).size();
  return SQLITE_OK;
}
int sink_lock(sqlite3_file*, int) { return SQLITE_OK; }
int sink_check_reserved(sqlite3_file*, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int sink_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int sink_sector_size(sqlite3_file*) { return static_cast<int>(kMinPageSize); }
int sink_characteristics(sqlite3_file*) { return 0; }

sqlite3_io_methods make_sink_methods() {
  sqlite3_io_methods m{};
  m.iVersion = 1;
  m.xClose = sink_close;
  m.xRead = sink_read;
  m.xWrite = sink_write;
  m.xTruncate = sink_truncate;
  m.xSync = sink_sync;
  m.xFileSize = sink_size;
  m.xLock = sink_lock;
  m.xUnlock = sink_lock;
  m.xCheckReservedLock = sink_check_reserved;
  m.xFileControl = sink_control;
  m.xSectorSize = sink_sector_size;
  m.xDeviceCharacteristics = sink_characteristics;
  return m;
}
const sqlite3_io_methods kSinkMethods = make_sink_methods();

int sink_open(sqlite3_vfs* vfs, const char*, sqlite3_file* file, int flags, int* out_flags) {
  if ((flags & SQLITE_OPEN_MAIN_DB) == 0) {  // no journal, no log, no temporary file
    file->pMethods = nullptr;
    return SQLITE_CANTOPEN;
  }
  auto* self = new (file) SinkFile{};
  self->sink = static_cast<PageSink*>(vfs->pAppData);
  self->base.pMethods = &kSinkMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}
int sink_delete(sqlite3_vfs*, const char*, int) { return SQLITE_OK; }
int sink_access(sqlite3_vfs*, const char*, int, int* out) {
  *out = 0;
  return SQLITE_OK;
}
int sink_full_pathname(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

}  // namespace

PageTap::PageTap() : name_(unique_vfs_name("tap")) {
  SEALANE_CHECK(sqlite3_initialize() == SQLITE_OK);
  vfs_.szOsFile = static_cast<int>(sizeof(TapFile)) + default_vfs()->szOsFile;
  vfs_.xOpen = tap_open;
  vfs_.xDelete = tap_delete;
  vfs_.xAccess = tap_access;
  vfs_.xFullPathname = tap_full_pathname;
  register_vfs(vfs_, name_, this);
}
PageTap::~PageTap() { sqlite3_vfs_unregister(&vfs_); }

void PageTap::read_database(std::int64_t offset, ByteSpan data) {
  if (offset == 0 && data.size() >= kMinPageSize) page_one_ = to_bytes(data);
}

void PageTap::read_log(sqlite3_file& log, std::int64_t offset, ByteSpan data) {
  const auto size = static_cast<std::int64_t>(data.size());
  const std::int64_t into_frames = offset - kLogHeaderSize - kFrameHeaderSize;
  if (data.size() < kMinPageSize || into_frames < 0) return;
  if (into_frames % (kFrameHeaderSize + size) != 0) return;  // recovery reads whole frames
  ByteArray<4> number;
  if (log.pMethods->xRead(&log, number.data(), 4, offset - kFrameHeaderSize) != SQLITE_OK) return;
  if (load<std::uint32_t>(number) == 1) page_one_ = to_bytes(data);
}

PageSink::PageSink(Bytes first_page, std::uint32_t page_count, std::uint32_t lock_page)
    : name_(unique_vfs_name("sink")),
      first_page_(std::move(first_page)),
      page_count_(page_count),
      lock_page_(lock_page),
      ready_(first_page_) {
  SEALANE_CHECK(sqlite3_initialize() == SQLITE_OK);
  SEALANE_CHECK(first_page_.size() >= kMinPageSize);
  vfs_.szOsFile = static_cast<int>(sizeof(SinkFile));
  vfs_.xOpen = sink_open;
  vfs_.xDelete = sink_delete;
  vfs_.xAccess = sink_access;
  vfs_.xFullPathname = sink_full_pathname;
  register_vfs(vfs_, name_, this);
}
PageSink::~PageSink() { sqlite3_vfs_unregister(&vfs_); }

void PageSink::take(std::size_t size) {
  taken_ += size;
  SEALANE_CHECK(taken_ <= ready_.size());
  if (taken_ == ready_.size()) {
    ready_.clear();
    taken_ = 0;
  }
}

void PageSink::append(ByteSpan page) {
  ready_.insert(ready_.end(), page.begin(), page.end());
  ++next_page_;
}

bool PageSink::write(std::int64_t offset, ByteSpan data) {
  const auto page_size = static_cast<std::int64_t>(first_page_.size());
  if (data.size() != first_page_.size() || offset % page_size != 0) {
    fault_ = Fault::kNotAPage;
    return false;
  }
  size_ = std::max(size_, offset + page_size);
  const std::int64_t page = offset / page_size + 1;
  if (page == 1) {
    committed_first_page_ = to_bytes(data);
    return true;
  }
  if (next_page_ == lock_page_ && page == std::int64_t{next_page_} + 1) {
    append(Bytes(first_page_.size()));
  }
  if (page != next_page_ || next_page_ > page_count_) {
    fault_ = Fault::kOrder;
    return false;
  }
  append(data);
  return true;
}

bool PageSink::truncate(std::int64_t size) {
  if (size >= size_) return true;
  fault_ = Fault::kOrder;
  return false;
}

bool PageSink::complete() {
  if (next_page_ == lock_page_ && lock_page_ == page_count_) append(Bytes(first_page_.size()));
  if (next_page_ != page_count_ + 1) return false;
  if (committed_first_page_.size() != first_page_.size()) return false;
  // Renewed by each commit: format versions, change counter, page count, schema cookie, and which
  // library wrote it (https://www.sqlite.org/fileformat.html, 1.3).
  constexpr std::pair<std::size_t, std::size_t> kRenewed[] = {
      {18, 20}, {24, 32}, {40, 44}, {92, 100}};
  for (const auto& [from, to] : kRenewed) {
    std::copy(first_page_.begin() + static_cast<std::ptrdiff_t>(from),
              first_page_.begin() + static_cast<std::ptrdiff_t>(to),
              committed_first_page_.begin() + static_cast<std::ptrdiff_t>(from));
  }
  return committed_first_page_ == first_page_;
}

}  // namespace sealane::backup
