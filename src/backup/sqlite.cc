#include "backup/sqlite.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "backup/sqlite_connection.h"
#include "backup/sqlite_fingerprint.h"
#include "backup/sqlite_vfs.h"
#include "backup/url.h"
#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "flow/descriptor.h"
#include "flow/thread.h"
#include "store/atomic_file.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kCopyStep = 256 * 1024;  // bytes copied by one call of the backup API
constexpr int kSinkCachePages = 16;            // the sink's cache only sorts
constexpr std::int64_t kPendingByte =
    0x40000000;  // its page is never used; the file format says so
constexpr std::string_view kFormat = "sqlite3";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

using BackupHandle = std::unique_ptr<sqlite3_backup, SqliteCloser>;

// ---- Source

// What snapshot and stream share: the connection that holds the read transaction.
struct SourceDatabase {
  SourceDatabase(std::string path, DriverContext& context, SqliteOptions options)
      : connection(std::move(path), context, options) {}
  PageTap tap;  // outlives the connection
  SqliteConnection connection;
  std::uint32_t page_size = 0;
  std::uint32_t page_count = 0;
  std::map<std::string, std::string> properties;
};

class PageStream final : public DumpStream {
 public:
  static Result<std::unique_ptr<PageStream>, Error> create(std::shared_ptr<SourceDatabase> source) {
    auto self = std::unique_ptr<PageStream>(new PageStream(std::move(source)));
    if (self->source_->page_count > 0) {  // a file of zero bytes is a valid database
      SEALANE_TRY(self->begin());
    }
    return self;
  }

  Result<std::size_t, Error> read(MutableByteSpan out) override {
    for (;;) {
      if (sink_ && !sink_->ready().empty()) {
        const ByteSpan ready = sink_->ready();
        const std::size_t size = std::min(out.size(), ready.size());
        copy_bytes(ready.first(size), out.begin());
        sink_->take(size);
        return size;
      }
      if (failure_) return *failure_;
      if (!backup_) return std::size_t{0};
      const auto copied = copy_some();
      if (!copied) failure_ = copied.error();  // reading on must never look like an end
    }
  }

 private:
  explicit PageStream(std::shared_ptr<SourceDatabase> source) : source_(std::move(source)) {}

  Result<void, Error> begin() {
    Bytes first_page = to_bytes(source_->tap.page_one());
    if (first_page.size() != source_->page_size) {
      return failed("this SQLite library (" + std::string(sqlite3_libversion()) +
                    ") reads pages in a way that is not supported");
    }
    // As SQLite's own copy: the page count is stated and marked as valid.
    MutableByteSpan header(first_page);
    store_integer(header.subspan(28), source_->page_count);
    copy_bytes(header.subspan(24, 4), header.subspan(92).begin());
    const auto lock_page = static_cast<std::uint32_t>(kPendingByte / source_->page_size + 1);
    sink_.emplace(std::move(first_page), source_->page_count, lock_page);

    sqlite3* raw = nullptr;
    const int rc = sqlite3_open_v2("stream", &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                                   sink_->name());
    copy_.reset(raw);
    const std::string setup =
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
        "PRAGMA cache_size = " +
        std::to_string(kSinkCachePages);
    if (rc != SQLITE_OK ||
        sqlite3_exec(raw, setup.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
      return copy_error(sqlite3_errcode(raw));
    }
    backup_.reset(sqlite3_backup_init(raw, "main", source_->connection.get(), "main"));
    if (!backup_) return copy_error(sqlite3_errcode(raw));
    return success();
  }

  Result<void, Error> copy_some() {
    if (source_->connection.cancel().cancelled()) return flow::interrupted();
    const int pages = static_cast<int>(std::max<std::size_t>(1, kCopyStep / source_->page_size));
    int rc = sqlite3_backup_step(backup_.get(), pages);
    if (rc == SQLITE_OK) return success();
    if (rc != SQLITE_DONE) return copy_error(rc);
    rc = sqlite3_backup_finish(backup_.release());
    if (rc != SQLITE_OK) return copy_error(rc);
    if (!sink_->complete()) return copy_error(SQLITE_IOERR_WRITE);
    return success();
  }

  // Either the source could not be read, or the library copies in an order that we cannot stream.
  Error copy_error(int rc) {
    const bool ours =
        sink_ && (sink_->fault() != PageSink::Fault::kNone || rc == SQLITE_IOERR_WRITE);
    if (!ours) return source_->connection.error(rc);
    return failed("this SQLite library (" + std::string(sqlite3_libversion()) +
                  ") copies pages in an order that is not supported");
  }

  std::shared_ptr<SourceDatabase> source_;
  std::optional<PageSink> sink_;  // outlives the connection that writes to it
  SqliteHandle copy_;
  BackupHandle backup_;
  std::optional<Error> failure_;
};

class SqliteSource final : public SourceSnapshot {
 public:
  explicit SqliteSource(std::shared_ptr<SourceDatabase> source) : source_(std::move(source)) {}

  const std::vector<StreamDescription>& streams() const override { return streams_; }
  Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) override {
    SEALANE_CHECK(index < streams_.size());
    SEALANE_TRY(auto stream, PageStream::create(source_));
    return std::unique_ptr<DumpStream>(std::move(stream));
  }
  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    const SqliteConnection& connection = source_->connection;
    SEALANE_TRY(auto result, sqlite_fingerprint(connection, level_));
    if (level_ == FingerprintLevel::kContent) {
      SEALANE_TRY(const auto verdict, sqlite_soundness(connection));
      if (verdict) source_->properties[kSoundness] = *verdict;
      if (verdict && *verdict != kSound) {
        warnings_.push_back("SQLite finds the database " + printable(connection.path()) +
                            " damaged (" + *verdict +
                            "); it was backed up as it is: mend it by REINDEX, or with `sqlite3 "
                            "FILE .recover`, and back it up again");
      }
    }
    return std::optional<Fingerprint>(std::move(result));
  }
  std::vector<std::string> warnings() const override { return warnings_; }
  std::optional<std::uint64_t> estimated_size() const override {
    return std::uint64_t{source_->page_count} * source_->page_size;
  }
  std::map<std::string, std::string> properties() const override { return source_->properties; }

 private:
  std::shared_ptr<SourceDatabase> source_;
  std::vector<std::string> warnings_;
  std::vector<StreamDescription> streams_{
      {.name = "database", .format = std::string(kFormat), .hint = "cat > FILE.db"}};
};

// ---- Target

std::array<std::string, 3> side_files(const std::string& path) {
  return {path + "-wal", path + "-journal", path + "-shm"};
}

class SqliteTarget final : public Target {
 public:
  SqliteTarget(std::string path, DriverContext& context, SqliteOptions options)
      : path_(std::move(path)), context_(context), options_(options) {}

  bool takes(std::string_view format) const override { return format == kFormat; }
  Result<bool, Error> is_empty() override {
    // A log without its database is still somebody's data.
    for (const std::string& path : {path_, path_ + "-wal", path_ + "-journal"}) {
      const auto status = context_.files.status(path);
      if (!status.has_value()) {
        if (status.error().code == ENOENT) continue;
        return to_error(status.error());
      }
      if (status.value().type != FileType::kRegular || status.value().size > 0) return false;
    }
    return true;
  }
  bool appears_at_once() const override { return true; }
  Result<void, Error> clear() override {
    overwrite_ = true;
    return success();
  }

  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    if (!takes(stream.format) || file_) {
      return Error{ErrorKind::kUsage, "the stream \"" + printable(stream.name) + "\" (" +
                                          printable(stream.format) +
                                          ") cannot be restored to sqlite:"};
    }
    SEALANE_TRY(const bool empty, is_empty());
    if (!empty && !overwrite_) {
      return Error{ErrorKind::kUsage,
                   printable(path_) + " is not empty; restore to another path, or say --overwrite"};
    }
    // An empty file that is there already may be replaced without asking.
    const auto there = context_.files.status(path_);
    if (!there.has_value() && there.error().code != ENOENT) return to_error(there.error());
    replaces_ = there.has_value();
    SEALANE_TRY(file_, store::AtomicFile::create(
                           context_.files, context_.random, path_,
                           replaces_ ? store::Overwrite::kAllow : store::Overwrite::kRefuse));
    return std::unique_ptr<Stream>(std::make_unique<FileStream>(*this));
  }

  Result<void, Error> finish() override {
    SEALANE_CHECK(file_ != nullptr);
    // Held locked over the rename, so nobody writes to the old database any more.
    SqliteConnection old(path_, context_, options_);
    if (replaces_) {
      SEALANE_TRY(retire(old));
      SEALANE_TRY(keep_owner_and_mode());
    }
    // A log of the old database must never meet the new one: SQLite would play it back.
    for (const std::string& side : side_files(path_)) {
      const auto removed = context_.files.remove(side);
      if (!removed.has_value() && removed.error().code != ENOENT) return to_error(removed.error());
    }
    return file_->commit();
  }

  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    if (found_) return std::exchange(found_, std::nullopt);
    SqliteConnection connection(path_, context_, options_);
    SEALANE_TRY(connection.open(sqlite_name(path_), SQLITE_OPEN_READWRITE, nullptr));
    SEALANE_TRY(connection.run("PRAGMA query_only = ON; BEGIN"));
    SEALANE_TRY(auto result, sqlite_fingerprint(connection, level_));
    return std::optional<Fingerprint>(std::move(result));
  }

 private:
  class FileStream final : public Stream {
   public:
    explicit FileStream(SqliteTarget& target) : target_(target) {}
    Result<void, Error> write(ByteSpan data) override {
      const auto written = target_.file_->file().write(data);
      if (!written.has_value()) return to_error(written.error());
      return success();
    }
    Result<void, Error> finish() override { return target_.check(); }

   private:
    SqliteTarget& target_;
  };

  // Syncs the file. Where it will be compared, its rows are read beside that, and its pages are
  // checked if they were not in the source: they are in the page cache, and the disk takes them
  // meanwhile.
  Result<void, Error> check() {
    FileResult<void> synced = success();
    Result<void, Error> read = success();
    Result<void, Error> sound = success();
    {
      const flow::Thread syncing([&] { synced = file_->file().sync(); });
      if (expected_) {
        const flow::Thread reading([&] { read = read_rows(); });
        if (!known_sound_) sound = check_soundness();
      }
    }
    SEALANE_TRY(sound);
    SEALANE_TRY(read);
    if (!synced.has_value()) return to_error(synced.error());
    return success();
  }

  // Immutable: no locks and no log beside a file that nobody else knows.
  Result<std::unique_ptr<TappedConnection>, Error> open_temporary() {
    auto opened = std::make_unique<TappedConnection>("to restore", context_, options_);
    SEALANE_TRY(opened->connection.open(
        "file:" + percent_encode_path(sqlite_name(file_->temporary_path())) + "?immutable=1",
        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, opened->tap.name()));
    return opened;
  }

  Result<void, Error> read_rows() {
    SEALANE_TRY(const auto opened, open_temporary());
    SEALANE_TRY(found_, sqlite_fingerprint(opened->connection, level_,
                                           [this] { return open_temporary(); }));
    return success();
  }

  Result<void, Error> check_soundness() {
    SEALANE_TRY(const auto opened, open_temporary());
    SEALANE_TRY(const auto verdict, sqlite_soundness(opened->connection));
    if (verdict && *verdict != kSound) {
      return Error{ErrorKind::kVerificationFailed,
                   "the restored SQLite database is damaged (" + *verdict +
                       "), so it was damaged when it was backed up; --no-compare restores it as it "
                       "was, and `sqlite3 FILE .recover` may save its rows"};
    }
    return success();
  }

  // Brings what is in the old database's log into it, and locks it. Whatever cannot be opened as a
  // database has no log worth keeping.
  Result<void, Error> retire(SqliteConnection& old) {
    const auto fatal = [](const Error& error) {
      return error.kind == ErrorKind::kLocked || error.kind == ErrorKind::kInterrupted;
    };
    auto opened = old.open(sqlite_name(path_), SQLITE_OPEN_READWRITE, nullptr);
    if (opened.has_value()) opened = old.run("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    if (!opened.has_value() && fatal(opened.error())) return opened;
    return success();
  }

  // The program that owned the old file must be able to open the new one.
  Result<void, Error> keep_owner_and_mode() {
    struct stat old {};
    if (::stat(path_.c_str(), &old) != 0) return to_error(FileError{errno, "stat", path_});
    const char* temporary = file_->temporary_path().c_str();
    if ((::geteuid() == 0 && ::chown(temporary, old.st_uid, old.st_gid) != 0) ||
        ::chmod(temporary, old.st_mode & 07777) != 0) {
      return to_error(FileError{errno, "set the owner and mode of", file_->temporary_path()});
    }
    return success();
  }

  std::string path_;
  DriverContext context_;
  SqliteOptions options_;
  bool overwrite_ = false;
  bool replaces_ = false;
  std::optional<Fingerprint> found_;  // of the file that is about to appear
  std::unique_ptr<store::AtomicFile> file_;
};

class SqliteThrowAway final : public ThrowAway {
 public:
  SqliteThrowAway(std::string folder, DriverContext& context)
      : folder_(std::move(folder)),
        path_(join_path(folder_, "drill.db")),
        files_(context.files),
        target_(std::in_place, path_, context, SqliteOptions{}) {}
  ~SqliteThrowAway() override {
    target_.reset();
    for (const std::string& side : side_files(path_)) static_cast<void>(files_.remove(side));
    static_cast<void>(files_.remove(path_));
    static_cast<void>(files_.remove_directory(folder_));
  }
  Target& target() override { return *target_; }
  std::string description() const override {
    return "a SQLite " + std::string(sqlite3_libversion()) + " database file made for this drill";
  }

 private:
  std::string folder_;
  std::string path_;
  FileSystem& files_;
  std::optional<SqliteTarget> target_;
};

}  // namespace

Result<std::unique_ptr<SourceSnapshot>, Error> open_sqlite_source(const std::string& path,
                                                                  DriverContext& context,
                                                                  SqliteOptions options) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return to_error(FileError{errno, "open", path});
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorKind::kUsage, printable(path) + " is not a regular file"};
  }
  auto source = std::make_shared<SourceDatabase>(path, context, options);
  SqliteConnection& connection = source->connection;
  // Read-write, since SQLite may have to roll back what a crashed program left; query_only below.
  SEALANE_TRY(connection.open(sqlite_name(path), SQLITE_OPEN_READWRITE, source->tap.name()));
  SEALANE_TRY(connection.run("PRAGMA query_only = ON; BEGIN"));
  // The first read takes the lock; from here on nothing changes for us.
  SEALANE_TRY(const std::string tables,
              sqlite_value(connection, "SELECT count(*) FROM main.sqlite_schema"));
  const auto number = [&](const char* sql) -> Result<std::uint32_t, Error> {
    SEALANE_TRY(auto statement, SqliteStatement::prepare(connection, sql));
    SEALANE_TRY(const bool row, statement.step());
    SEALANE_CHECK(row);
    return static_cast<std::uint32_t>(statement.integer(0));
  };
  SEALANE_TRY(source->page_size, number("PRAGMA main.page_size"));
  SEALANE_TRY(source->page_count, number("PRAGMA main.page_count"));
  SEALANE_TRY(const std::string journal, sqlite_value(connection, "PRAGMA main.journal_mode"));
  SEALANE_TRY(const std::string encoding, sqlite_value(connection, "PRAGMA main.encoding"));
  source->properties = {{"tool", std::string("SQLite ") + sqlite3_libversion()},
                        {"page_size", std::to_string(source->page_size)},
                        {"page_count", std::to_string(source->page_count)},
                        {"journal_mode", journal},
                        {"encoding", encoding},
                        {"schema_entries", tables}};
  return std::unique_ptr<SourceSnapshot>(std::make_unique<SqliteSource>(std::move(source)));
}

Result<std::unique_ptr<Target>, Error> open_sqlite_target(const std::string& path,
                                                          DriverContext& context,
                                                          SqliteOptions options) {
  return std::unique_ptr<Target>(std::make_unique<SqliteTarget>(path, context, options));
}

Result<std::unique_ptr<ThrowAway>, Error> make_sqlite_throw_away(const std::string& directory,
                                                                 DriverContext& context) {
  ByteArray<8> suffix;
  context.random.fill(suffix);
  std::string folder = join_path(directory, "sqlite-" + to_hex(suffix));
  const auto made = context.files.create_directory(folder, 0700);
  if (!made.has_value()) return to_error(made.error());
  return std::unique_ptr<ThrowAway>(std::make_unique<SqliteThrowAway>(std::move(folder), context));
}

}  // namespace sealane::backup
