#pragma once
// SQLite's connections and statements as the driver of sqlite: uses them.
#include <sqlite3.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backup/source.h"
#include "backup/sqlite.h"
#include "backup/sqlite_vfs.h"
#include "base/check.h"

namespace sealane::backup {

struct SqliteCloser {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  void operator()(sqlite3_backup* backup) const { sqlite3_backup_finish(backup); }
};
using SqliteHandle = std::unique_ptr<sqlite3, SqliteCloser>;

// A path for SQLite, which would read "file:…" as a URI of its own.
std::string sqlite_name(const std::string& path);

// One connection to a file, with what its callbacks need. Stays where it is. Used by one thread at
// a time, so SQLite's own mutexes are off; they cost half of a fingerprint's time.
class SqliteConnection {
 public:
  // `path`: for messages.
  SqliteConnection(std::string path, DriverContext& context, SqliteOptions options)
      : path_(std::move(path)), cancel_(context.cancel), options_(options) {}
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // `name`: a path or URI. `vfs`: a PageTap's, or null.
  Result<void, Error> open(const std::string& name, int flags, const char* vfs);
  Result<void, Error> run(const char* sql);
  Error error(int rc) const;

  sqlite3* get() const { return db_.get(); }
  const std::string& path() const { return path_; }
  flow::Cancellation& cancel() const { return cancel_; }

 private:
  static int on_busy(void* argument, int tries);
  static int on_progress(void* argument);
  static void on_collation(void*, sqlite3* db, int encoding, const char* name);

  std::string path_;
  flow::Cancellation& cancel_;
  SqliteOptions options_;
  SqliteHandle db_;
};

// One that reads ahead.
struct TappedConnection {
  TappedConnection(std::string path, DriverContext& context, SqliteOptions options)
      : connection(std::move(path), context, options) {}
  PageTap tap;  // outlives the connection
  SqliteConnection connection;
};
// Opens one more connection to a database that does not change.
using OpenAnother = std::function<Result<std::unique_ptr<TappedConnection>, Error>()>;

class SqliteStatement {
 public:
  static Result<SqliteStatement, Error> prepare(const SqliteConnection& connection,
                                                const std::string& sql) {
    sqlite3_stmt* raw = nullptr;
    const int rc = sqlite3_prepare_v2(connection.get(), sql.c_str(), -1, &raw, nullptr);
    if (rc != SQLITE_OK) return connection.error(rc);
    return SqliteStatement(connection, raw);
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
  SqliteStatement(const SqliteConnection& connection, sqlite3_stmt* raw)
      : connection_(&connection), handle_(raw) {}
  const SqliteConnection* connection_;
  std::unique_ptr<sqlite3_stmt, SqliteCloser> handle_;
};

// The first column of the first row; empty if there is none.
Result<std::string, Error> sqlite_value(const SqliteConnection& connection, const std::string& sql);

}  // namespace sealane::backup
