#include "backup/sqlite_connection.h"

#include <poll.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "flow/descriptor.h"

namespace sealane::backup {
namespace {

constexpr std::chrono::milliseconds kBusyPause{25};
constexpr int kCancelCheckInterval = 10'000;  // virtual machine steps

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

int compare_bytes(void*, int a_size, const void* a, int b_size, const void* b) {
  return as_text({static_cast<const std::byte*>(a), static_cast<std::size_t>(a_size)})
      .compare(as_text({static_cast<const std::byte*>(b), static_cast<std::size_t>(b_size)}));
}

}  // namespace

std::string sqlite_name(const std::string& path) {
  return path.starts_with('/') ? path : "./" + path;
}

Result<void, Error> SqliteConnection::open(const std::string& name, int flags, const char* vfs) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(name.c_str(), &raw, flags | SQLITE_OPEN_NOMUTEX, vfs);
  db_.reset(raw);
  if (rc != SQLITE_OK) return error(rc);
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_handler(raw, &SqliteConnection::on_busy, this);
  sqlite3_progress_handler(raw, kCancelCheckInterval, &SqliteConnection::on_progress, this);
  // A file may come from anybody: its views, triggers and defaults must not do anything.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // Tables with a collation of the application can be read without it; nothing is sorted by it.
  sqlite3_collation_needed(raw, nullptr, &SqliteConnection::on_collation);
  // Sorting must not spill plaintext to a temporary file.
  SEALANE_TRY(run("PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON"));
  // Of a real mapping a disk that fails would kill us.
  return run(vfs != nullptr ? "PRAGMA mmap_size = 2147418112" : "PRAGMA mmap_size = 0");
}

Result<void, Error> SqliteConnection::run(const char* sql) {
  const int rc = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return error(rc);
  return success();
}

Error SqliteConnection::error(int rc) const {
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

// Waits a little and says whether to try again.
int SqliteConnection::on_busy(void* argument, int tries) {
  const auto& self = *static_cast<const SqliteConnection*>(argument);
  if (tries * kBusyPause >= self.options_.busy_timeout) return 0;
  pollfd wake{.fd = self.cancel_.descriptor(), .events = POLLIN, .revents = 0};
  ::poll(&wake, 1, static_cast<int>(kBusyPause.count()));
  return self.cancel_.cancelled() ? 0 : 1;
}

int SqliteConnection::on_progress(void* argument) {
  return static_cast<const SqliteConnection*>(argument)->cancel_.cancelled() ? 1 : 0;
}

void SqliteConnection::on_collation(void*, sqlite3* db, int encoding, const char* name) {
  // Asked first even where SQLite has it in another encoding, which then serves.
  for (const char* built_in : {"NOCASE", "RTRIM"}) {
    if (sqlite3_stricmp(name, built_in) == 0) return;
  }
  sqlite3_create_collation(db, name, encoding, nullptr, compare_bytes);
}

Result<std::string, Error> sqlite_value(const SqliteConnection& connection,
                                        const std::string& sql) {
  SEALANE_TRY(auto statement, SqliteStatement::prepare(connection, sql));
  SEALANE_TRY(const bool row, statement.step());
  return row ? std::string(statement.text(0)) : std::string();
}

}  // namespace sealane::backup
