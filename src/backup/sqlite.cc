#include "backup/sqlite.h"

#include <poll.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "backup/blake3_writer.h"
#include "backup/fingerprint.h"
#include "backup/sql_identifier.h"
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

constexpr std::chrono::milliseconds kBusyPause{25};
constexpr int kCancelCheckInterval = 10'000;   // virtual machine steps
constexpr std::size_t kCopyStep = 256 * 1024;  // bytes copied by one call of the backup API
constexpr int kSinkCachePages = 16;            // the sink's cache only sorts
constexpr std::int64_t kPendingByte =
    0x40000000;  // its page is never used; the file format says so
constexpr std::string_view kFormat = "sqlite3";
constexpr const char* kHashRow = "sealane_hash_row";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

struct Closer {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
};
using Handle = std::unique_ptr<sqlite3, Closer>;
using StatementHandle = std::unique_ptr<sqlite3_stmt, Closer>;
using BackupHandle = std::unique_ptr<sqlite3_backup, Closer>;

// SQLite would read "file:…" as a URI of its own.
std::string plain_name(const std::string& path) {
  return path.starts_with('/') ? path : "./" + path;
}

// One connection to a file, with what its callbacks need. Stays where it is. Used by one thread at
// a time, so SQLite's own mutexes are off; they cost half of a fingerprint's time.
class Connection {
 public:
  Connection(std::string path, DriverContext& context, SqliteOptions options)
      : path_(std::move(path)), cancel_(context.cancel), options_(options) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // `name`: a path or URI. `vfs`: a PageTap's, or null.
  Result<void, Error> open(const std::string& name, int flags, const char* vfs) {
    sqlite3* raw = nullptr;
    const int rc = sqlite3_open_v2(name.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, vfs);
    db_.reset(raw);
    if (rc != SQLITE_OK) return error(rc);
    sqlite3_extended_result_codes(raw, 1);
    sqlite3_busy_handler(raw, &Connection::on_busy, this);
    sqlite3_progress_handler(raw, kCancelCheckInterval, &Connection::on_progress, this);
    // A file may come from anybody: its views, triggers and defaults must not do anything.
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    // Tables with a collation of the application can be read without it; nothing is sorted by it.
    sqlite3_collation_needed(raw, nullptr, &Connection::on_collation);
    // Sorting must not spill plaintext to a temporary file.
    SEALANE_TRY(run("PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON"));
    // Of a real mapping a disk that fails would kill us.
    return run(vfs != nullptr ? "PRAGMA mmap_size = 2147418112" : "PRAGMA mmap_size = 0");
  }

  Result<void, Error> run(const char* sql) {
    const int rc = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
    if (rc != SQLITE_OK) return error(rc);
    return success();
  }

  Error error(int rc) const {
    const std::string shown = printable(path_);
    const std::string detail = db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(rc);
    switch (rc & 0xff) {
      case SQLITE_INTERRUPT:
        return flow::interrupted();
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        if (cancel_.cancelled()) return flow::interrupted();
        return {ErrorKind::kLocked, "another program keeps the SQLite database " + shown +
                                        " locked for more than " +
                                        std::to_string(options_.busy_timeout.count()) +
                                        " ms; try again when its transaction is over"};
      case SQLITE_NOTADB:
        return failed(shown + " is not a SQLite database, or it is encrypted");
      case SQLITE_CORRUPT:
        return failed("the SQLite database " + shown + " is damaged (" + printable(detail) +
                      "); `sqlite3 FILE .recover` may save its rows, and file:PATH backs it up as "
                      "it is");
      case SQLITE_CANTOPEN:
      case SQLITE_READONLY:
        return failed("cannot open the SQLite database " + shown + " (" + printable(detail) +
                      "); run as a user who may write to it and its folder, where SQLite keeps "
                      "its locks and logs");
      default: {
        std::string message = "cannot read the SQLite database " + shown + ": " + printable(detail);
        const int code = db_ ? sqlite3_system_errno(db_.get()) : 0;
        if ((rc & 0xff) == SQLITE_IOERR && code != 0)
          message += std::string(" (") + std::strerror(code) + ")";
        return failed(std::move(message));
      }
    }
  }

  sqlite3* get() const { return db_.get(); }
  const std::string& path() const { return path_; }
  flow::Cancellation& cancel() const { return cancel_; }

 private:
  // Waits a little and says whether to try again.
  static int on_busy(void* argument, int tries) {
    const auto& self = *static_cast<const Connection*>(argument);
    if (tries * kBusyPause >= self.options_.busy_timeout) return 0;
    pollfd wake{.fd = self.cancel_.descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&wake, 1, static_cast<int>(kBusyPause.count()));
    return self.cancel_.cancelled() ? 0 : 1;
  }
  static int on_progress(void* argument) {
    return static_cast<const Connection*>(argument)->cancel_.cancelled() ? 1 : 0;
  }
  static int compare_bytes(void*, int a_size, const void* a, int b_size, const void* b) {
    return as_text({static_cast<const std::byte*>(a), static_cast<std::size_t>(a_size)})
        .compare(as_text({static_cast<const std::byte*>(b), static_cast<std::size_t>(b_size)}));
  }
  static void on_collation(void*, sqlite3* db, int encoding, const char* name) {
    sqlite3_create_collation(db, name, encoding, nullptr, &Connection::compare_bytes);
  }

  std::string path_;
  flow::Cancellation& cancel_;
  SqliteOptions options_;
  Handle db_;
};

class Statement {
 public:
  static Result<Statement, Error> prepare(const Connection& connection, const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    const int rc = sqlite3_prepare_v2(connection.get(), sql.c_str(), -1, &raw, nullptr);
    if (rc != SQLITE_OK) return connection.error(rc);
    return Statement(connection, raw);
  }
  // REQUIRES: `text` outlives the statement.
  void bind(int index, const std::string& text) {
    SEALANE_CHECK(sqlite3_bind_text64(handle_.get(), index, text.data(), text.size(), SQLITE_STATIC,
                                      SQLITE_UTF8) == SQLITE_OK);
  }
  Result<bool, Error> step() {  // false: no more rows
    const int rc = sqlite3_step(handle_.get());
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    return connection_->error(rc);
  }
  sqlite3_stmt* get() const { return handle_.get(); }
  int columns() const { return sqlite3_column_count(handle_.get()); }
  std::int64_t integer(int column) const { return sqlite3_column_int64(handle_.get(), column); }
  std::string_view text(int column) const {
    const void* data = sqlite3_column_text(handle_.get(), column);
    const int size = sqlite3_column_bytes(handle_.get(), column);
    return {static_cast<const char*>(data), data == nullptr ? 0 : static_cast<std::size_t>(size)};
  }
  // Valid until the next step(); for the thread that steps.
  sqlite3_value* raw(int column) const { return sqlite3_column_value(handle_.get(), column); }

 private:
  Statement(const Connection& connection, sqlite3_stmt* raw)
      : connection_(&connection), handle_(raw) {}
  const Connection* connection_;
  StatementHandle handle_;
};

Result<std::string, Error> single_value(const Connection& connection, const std::string& sql) {
  SEALANE_TRY(auto statement, Statement::prepare(connection, sql));
  SEALANE_TRY(const bool row, statement.step());
  return row ? std::string(statement.text(0)) : std::string();
}

// ---- Fingerprint

// Hashes rows of typed values; docs/protocol/fingerprint.md, section 3, has the table.
class RowHasher {
 public:
  // `utf8`: text is stored so; others are converted.
  explicit RowHasher(bool utf8) : utf8_(utf8) {}
  // `value` is good until the statement moves on.
  void add(sqlite3_value* value) {
    switch (sqlite3_value_type(value)) {
      case SQLITE_NULL:
        return put(Tag::kNull);
      case SQLITE_INTEGER:
        return put(Tag::kInteger, static_cast<std::uint64_t>(sqlite3_value_int64(value)));
      case SQLITE_FLOAT:
        return put(Tag::kReal, std::bit_cast<std::uint64_t>(sqlite3_value_double(value)));
      case SQLITE_TEXT: {
        // Its bytes as they lie there, where nothing is to be converted.
        const void* text = utf8_ ? sqlite3_value_blob(value) : sqlite3_value_text(value);
        return put(Tag::kText, text, sqlite3_value_bytes(value));
      }
      default: {
        const void* blob = sqlite3_value_blob(value);
        return put(Tag::kBlob, blob, sqlite3_value_bytes(value));
      }
    }
  }
  void end_row() { ++count_; }
  Fingerprint::Item finish(std::string name) {
    return {std::move(name), count_, to_hex(hash_.finish())};
  }

  // The function kHashRow(POINTER, value, …) in SQL. SQLite hands over a row's values in one call;
  // fetched one by one by sqlite3_column_value(), they cost half as much again.
  static int register_function(sqlite3* db) {
    // Of no use to a schema, which anybody may have written.
    return sqlite3_create_function_v2(db, kHashRow, -1, SQLITE_UTF8 | SQLITE_DIRECTONLY, nullptr,
                                      &RowHasher::on_row, nullptr, nullptr, nullptr);
  }
  // REQUIRES: the hasher outlives the statement.
  int bind(sqlite3_stmt* statement) {
    return sqlite3_bind_pointer(statement, 1, this, kPointerType, nullptr);
  }

 private:
  static constexpr const char* kPointerType = "sealane row hasher";

  // No exception may pass through SQLite.
  static void on_row(sqlite3_context* context, int count, sqlite3_value** values) noexcept {
    auto* self = count < 1
                     ? nullptr
                     : static_cast<RowHasher*>(sqlite3_value_pointer(values[0], kPointerType));
    if (self == nullptr)
      return sqlite3_result_error(context, "this function is not for others", -1);
    for (int i = 1; i < count; ++i) self->add(values[i]);
    self->end_row();
  }

  enum class Tag : std::uint8_t { kNull, kInteger, kReal, kText, kBlob };

  void put(Tag tag) {
    const auto byte = static_cast<std::byte>(tag);
    hash_.write(ByteSpan(&byte, 1));
  }
  void put(Tag tag, std::uint64_t number) {
    ByteArray<9> encoded;
    encoded[0] = static_cast<std::byte>(tag);
    store_integer(MutableByteSpan(encoded).subspan(1), number);
    hash_.write(encoded);
  }
  void put(Tag tag, const void* data, int size) {
    const auto count = data == nullptr ? 0 : static_cast<std::size_t>(size);
    put(tag, count);
    hash_.write({static_cast<const std::byte*>(data), count});
  }

  const bool utf8_;
  std::uint64_t count_ = 0;
  Blake3Writer hash_;  // a third of SHA-256's time
};

// Hashes the rows in the order in which they come out.
Result<Fingerprint::Item, Error> hash_rows(const Connection& connection, std::string name,
                                           const std::string& sql, bool utf8) {
  SEALANE_TRY(auto statement, Statement::prepare(connection, sql));
  const int columns = statement.columns();
  RowHasher hasher(utf8);
  for (;;) {
    SEALANE_TRY(const bool row, statement.step());
    if (!row) return hasher.finish(std::move(name));
    for (int i = 0; i < columns; ++i) hasher.add(statement.raw(i));
    hasher.end_row();
  }
}

struct Columns {
  std::string list;
  int count = 0;
};
// The stored columns of a table in order. Virtual generated columns are computed, not stored.
Result<Columns, Error> column_list(const Connection& connection, const std::string& table) {
  SEALANE_TRY(auto statement,
              Statement::prepare(
                  connection, "SELECT name FROM pragma_table_xinfo(?1, 'main') WHERE hidden <> 2"));
  statement.bind(1, table);
  Columns columns;
  for (;;) {
    SEALANE_TRY(const bool row, statement.step());
    if (!row) return columns;
    if (columns.count++ > 0) columns.list += ", ";
    columns.list += quoted_identifier(statement.text(0));
  }
}

Result<Fingerprint::Item, Error> hash_table(const Connection& connection, const std::string& table,
                                            bool utf8) {
  SEALANE_TRY(const Columns columns, column_list(connection, table));
  // NOT INDEXED: the rows of the table itself, in key order, not those that an index claims.
  const std::string from = " FROM main." + quoted_identifier(table) + " NOT INDEXED";
  // A function takes fewer arguments than a table may have columns.
  if (columns.count >= sqlite3_limit(connection.get(), SQLITE_LIMIT_FUNCTION_ARG, -1)) {
    return hash_rows(connection, table, "SELECT " + columns.list + from, utf8);
  }
  RowHasher hasher(utf8);
  SEALANE_TRY(auto statement,
              Statement::prepare(connection, std::string("SELECT ") + kHashRow + "(?1, " +
                                                 columns.list + ")" + from));
  SEALANE_CHECK(hasher.bind(statement.get()) == SQLITE_OK);
  for (;;) {
    // One scan without a sorter: a row is hashed when its turn has come.
    SEALANE_TRY(const bool row, statement.step());
    if (!row) return hasher.finish(table);
  }
}

Result<Fingerprint, Error> fingerprint_of(const Connection& connection, FingerprintLevel level) {
  // Tables with pages of their own: no views, and of virtual tables the shadow tables.
  std::vector<std::string> tables;
  {
    SEALANE_TRY(auto statement, Statement::prepare(connection,
                                                   "SELECT name FROM main.sqlite_schema WHERE "
                                                   "type = 'table' AND rootpage > 0"));
    for (;;) {
      SEALANE_TRY(const bool row, statement.step());
      if (!row) break;
      tables.emplace_back(statement.text(0));
    }
  }
  if (const int rc = RowHasher::register_function(connection.get()); rc != SQLITE_OK) {
    return connection.error(rc);
  }
  std::vector<Fingerprint::Item> items;
  // No table of an application can be called sqlite_….
  SEALANE_TRY(const std::string encoding, single_value(connection, "PRAGMA main.encoding"));
  const bool utf8 = encoding == "UTF-8";
  SEALANE_TRY(auto header, hash_rows(connection, "sqlite_header",
                                     "SELECT (SELECT user_version FROM pragma_user_version), "
                                     "(SELECT application_id FROM pragma_application_id), "
                                     "(SELECT encoding FROM pragma_encoding)",
                                     utf8));
  items.push_back(std::move(header));
  SEALANE_TRY(auto schema,
              hash_rows(connection, "sqlite_schema",
                        "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY "
                        "type, name, tbl_name, sql",
                        utf8));
  items.push_back(std::move(schema));
  for (const std::string& table : tables) {
    if (level == FingerprintLevel::kStructure) {
      SEALANE_TRY(auto rows, Statement::prepare(connection, "SELECT count(*) FROM main." +
                                                                quoted_identifier(table)));
      SEALANE_TRY(const bool row, rows.step());
      SEALANE_CHECK(row);
      items.push_back({table, static_cast<std::uint64_t>(rows.integer(0)), ""});
      continue;
    }
    SEALANE_TRY(auto item, hash_table(connection, table, utf8));
    items.push_back(std::move(item));
  }
  return at_level(make_fingerprint("sqlite", FingerprintLevel::kContent, std::move(items)), level);
}

// Of every page, and of what columns promise of their values; not whether an index has what its
// table has. The first thing that is wrong, else kSound.
Result<std::string, Error> check_pages(const Connection& connection) {
  constexpr std::size_t kShown = 200;
  constexpr std::string_view kHead = "*** in database main ***\n";
  SEALANE_TRY(const std::string answer, single_value(connection, "PRAGMA quick_check(1)"));
  std::string_view verdict = answer;
  if (verdict.starts_with(kHead)) verdict.remove_prefix(kHead.size());
  return printable(verdict.substr(0, verdict.find('\n')), kShown);
}

// ---- Source

// What snapshot and stream share: the connection that holds the read transaction.
struct SourceDatabase {
  SourceDatabase(std::string path, DriverContext& context, SqliteOptions options)
      : connection(std::move(path), context, options) {}
  PageTap tap;  // outlives the connection
  Connection connection;
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
  Handle copy_;
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
    const Connection& connection = source_->connection;
    SEALANE_TRY(auto result, fingerprint_of(connection, level_));
    if (level_ == FingerprintLevel::kContent) {
      SEALANE_TRY(const std::string verdict, check_pages(connection));
      source_->properties[kSoundness] = verdict;
      if (verdict != kSound) {
        warnings_.push_back("SQLite finds the database " + printable(connection.path()) +
                            " damaged (" + verdict +
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
    Connection old(path_, context_, options_);
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
    Connection connection(path_, context_, options_);
    SEALANE_TRY(connection.open(plain_name(path_), SQLITE_OPEN_READWRITE, nullptr));
    SEALANE_TRY(connection.run("PRAGMA query_only = ON; BEGIN"));
    SEALANE_TRY(auto result, fingerprint_of(connection, level_));
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
  Result<void, Error> open_temporary(Connection& connection, const PageTap& tap) {
    return connection.open(
        "file:" + percent_encode_path(plain_name(file_->temporary_path())) + "?immutable=1",
        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, tap.name());
  }

  Result<void, Error> read_rows() {
    const PageTap tap;
    Connection connection("to restore", context_, options_);
    SEALANE_TRY(open_temporary(connection, tap));
    SEALANE_TRY(found_, fingerprint_of(connection, level_));
    return success();
  }

  Result<void, Error> check_soundness() {
    const PageTap tap;
    Connection connection("to restore", context_, options_);
    SEALANE_TRY(open_temporary(connection, tap));
    SEALANE_TRY(const std::string verdict, check_pages(connection));
    if (verdict != kSound) {
      return Error{ErrorKind::kVerificationFailed,
                   "the restored SQLite database is damaged (" + verdict +
                       "), so it was damaged when it was backed up; --no-compare restores it as it "
                       "was, and `sqlite3 FILE .recover` may save its rows"};
    }
    return success();
  }

  // Brings what is in the old database's log into it, and locks it. Whatever cannot be opened as a
  // database has no log worth keeping.
  Result<void, Error> retire(Connection& old) {
    const auto fatal = [](const Error& error) {
      return error.kind == ErrorKind::kLocked || error.kind == ErrorKind::kInterrupted;
    };
    auto opened = old.open(plain_name(path_), SQLITE_OPEN_READWRITE, nullptr);
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
  Connection& connection = source->connection;
  // Read-write, since SQLite may have to roll back what a crashed program left; query_only below.
  SEALANE_TRY(connection.open(plain_name(path), SQLITE_OPEN_READWRITE, source->tap.name()));
  SEALANE_TRY(connection.run("PRAGMA query_only = ON; BEGIN"));
  // The first read takes the lock; from here on nothing changes for us.
  SEALANE_TRY(const std::string tables,
              single_value(connection, "SELECT count(*) FROM main.sqlite_schema"));
  const auto number = [&](const char* sql) -> Result<std::uint32_t, Error> {
    SEALANE_TRY(auto statement, Statement::prepare(connection, sql));
    SEALANE_TRY(const bool row, statement.step());
    SEALANE_CHECK(row);
    return static_cast<std::uint32_t>(statement.integer(0));
  };
  SEALANE_TRY(source->page_size, number("PRAGMA main.page_size"));
  SEALANE_TRY(source->page_count, number("PRAGMA main.page_count"));
  SEALANE_TRY(const std::string journal, single_value(connection, "PRAGMA main.journal_mode"));
  SEALANE_TRY(const std::string encoding, single_value(connection, "PRAGMA main.encoding"));
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
