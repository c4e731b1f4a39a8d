#include "store/mailbox_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <bit>
#include <initializer_list>

#include "base/copy_bytes.h"
#include "store/sqlite_files.h"

namespace sealane::store {
namespace {

using mailbox::ClientId;
using mailbox::Message;
using mailbox::RefWindow;

constexpr std::int64_t kFormat = 1;
constexpr int kCountBits = 40;  // of a message id
constexpr std::int64_t kMaxStarts = (std::int64_t{1} << (63 - kCountBits)) - 1;

constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS messages(id INTEGER PRIMARY KEY, sender BLOB NOT NULL,"
    " recipient BLOB NOT NULL, through BLOB, ref INTEGER, accepted INTEGER NOT NULL,"
    " lifetime INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS windows(client BLOB PRIMARY KEY, taken BLOB NOT NULL)"
    " WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES('format', 1);"
    "INSERT OR IGNORE INTO meta VALUES('starts', 0);";

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close(database); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;

class Statement {
 public:
  Statement(sqlite3* database, const char* text) {
    status_ = sqlite3_prepare_v2(database, text, -1, &statement_, nullptr);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  bool ready() const { return status_ == SQLITE_OK; }

  Statement& number(std::int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& null() {
    sqlite3_bind_null(statement_, ++bound_);
    return *this;
  }
  Statement& blob(ByteSpan bytes) {  // must live until it has run; "" for an empty one: not NULL
    const void* data = bytes.empty() ? "" : static_cast<const void*>(bytes.data());
    sqlite3_bind_blob64(statement_, ++bound_, data, bytes.size(), SQLITE_STATIC);
    return *this;
  }
  int step() { return sqlite3_step(statement_); }
  // Runs a statement without rows, and is ready for the next values.
  bool run() {
    const int status = step();
    sqlite3_reset(statement_);
    bound_ = 0;
    return status == SQLITE_DONE;
  }
  std::int64_t number_at(int column) { return sqlite3_column_int64(statement_, column); }
  bool is_null(int column) { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  ByteSpan blob_at(int column) {
    const void* data = sqlite3_column_blob(statement_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return {static_cast<const std::byte*>(data), data == nullptr ? 0 : size};
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int status_ = SQLITE_OK;
  int bound_ = 0;
};

// Times from the disk are input. What is out of range would overflow in what is computed from it.
std::optional<WallTime> time_at(Statement& row, int column) {
  const std::int64_t count = row.number_at(column);
  if (count < 0) return std::nullopt;  // before 1970: no hub writes it
  return WallTime(std::chrono::nanoseconds(count));
}
std::optional<std::chrono::nanoseconds> lifetime_at(Statement& row, int column) {
  const std::chrono::nanoseconds lifetime(row.number_at(column));
  if (lifetime.count() < 0 || lifetime > mailbox::Options::kMaxLifetime) return std::nullopt;
  return lifetime;
}

std::optional<ClientId> client_at(Statement& row, int column) {
  const ByteSpan bytes = row.blob_at(column);
  if (bytes.size() != ClientId::kSize) return std::nullopt;
  ClientId id;
  copy_bytes(bytes, id.bytes.begin());
  return id;
}

class SqliteMailboxStore final : public MailboxStore {
 public:
  SqliteMailboxStore(FileSystem& files, std::string path) : vfs_(files), path_(std::move(path)) {}

  Result<void, Error> start() {
    sqlite3* database = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const int opened = sqlite3_open_v2(path_.c_str(), &database, flags, vfs_.name());
    database_.reset(database);
    if (opened != SQLITE_OK) return failed("open");
    // FULL: the log is synced at every commit, which is what makes one durable.
    SEALANE_TRY(
        run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
            "PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;",
            "open"));
    SEALANE_TRY(run("BEGIN IMMEDIATE", "open"));
    SEALANE_TRY(run(kSchema, "open"));
    SEALANE_TRY(const std::int64_t format, meta("format"));
    if (format != kFormat) {
      return Error{ErrorKind::kFailed, path_ + " has format " + std::to_string(format) +
                                           ", which this program does not know; use a newer one"};
    }
    SEALANE_TRY(const std::int64_t starts, meta("starts"));
    if (starts < 0 || starts >= kMaxStarts) return damaged("meta");
    SEALANE_TRY(run("UPDATE meta SET value = value + 1 WHERE name = 'starts'", "write"));
    SEALANE_TRY(run("COMMIT", "write"));
    starts_ = static_cast<std::uint64_t>(starts + 1);
    insert_.emplace(database_.get(), "INSERT INTO messages VALUES(?, ?, ?, ?, ?, ?, ?, ?)");
    remove_.emplace(database_.get(), "DELETE FROM messages WHERE id = ?");
    window_.emplace(database_.get(), "INSERT OR REPLACE INTO windows VALUES(?, ?)");
    forget_.emplace(database_.get(), "DELETE FROM windows WHERE client = ?");
    for (const auto* statement : {&insert_, &remove_, &window_, &forget_}) {
      if (!(*statement)->ready()) return failed("open");
    }
    return success();
  }

  mailbox::MessageId first_id() const override { return mailbox::MessageId{starts_ << kCountBits}; }

  Result<mailbox::StoredState, Error> load() override {
    mailbox::StoredState state;
    Statement rows(database_.get(),
                   "SELECT id, sender, recipient, through, ref, accepted, lifetime, data "
                   "FROM messages ORDER BY id");
    if (!rows.ready()) return failed("read");
    int status = SQLITE_OK;
    while ((status = rows.step()) == SQLITE_ROW) {
      const auto sender = client_at(rows, 1);
      const auto recipient = client_at(rows, 2);
      const auto group = client_at(rows, 3);
      const ByteSpan data = rows.blob_at(7);
      const std::int64_t id = rows.number_at(0);
      const auto accepted_at = time_at(rows, 5);
      const auto lifetime = lifetime_at(rows, 6);
      if (!sender || !recipient || (!group && !rows.is_null(3)) || id < 0 || !accepted_at ||
          !lifetime || static_cast<std::uint64_t>(id) >= (starts_ + 1) << kCountBits ||
          data.size() > kMaxDataSize) {
        return damaged("messages");
      }
      Message message{.id = mailbox::MessageId{static_cast<std::uint64_t>(id)},
                      .sender = *sender,
                      .recipient = *recipient,
                      .group = group,
                      .accepted_at = *accepted_at,
                      .lifetime = *lifetime,
                      .data = std::make_shared<const Bytes>(to_bytes(data))};
      if (!rows.is_null(4)) {
        message.ref = mailbox::SenderRef{std::bit_cast<std::uint64_t>(rows.number_at(4))};
      }
      state.messages.push_back(std::move(message));
    }
    if (status != SQLITE_DONE) return failed("read");
    Statement windows(database_.get(), "SELECT client, taken FROM windows");
    if (!windows.ready()) return failed("read");
    while ((status = windows.step()) == SQLITE_ROW) {
      const auto client = client_at(windows, 0);
      const ByteSpan taken = windows.blob_at(1);
      if (!client || taken.size() != RefWindow::kEncodedSize) return damaged("windows");
      const auto window = RefWindow::decode(taken.first<RefWindow::kEncodedSize>());
      if (!window) return damaged("windows");
      state.windows.emplace_back(*client, *window);
    }
    if (status != SQLITE_DONE) return failed("read");
    return state;
  }

  Result<void, Error> commit(const mailbox::StoreBatch& batch) override {
    SEALANE_TRY(run("BEGIN IMMEDIATE", "write"));
    const bool written = write(batch);
    if (written && run("COMMIT", "write").has_value()) return success();
    const Error error = failed("write");
    // After some failures SQLite has rolled back already, and says so.
    static_cast<void>(sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr));
    return error;
  }

 private:
  bool write(const mailbox::StoreBatch& batch) {
    for (const ClientId& client : batch.forgotten) {
      if (!forget_->blob(client.bytes).run()) return false;
    }
    for (const Message& message : batch.added) {
      insert_->number(static_cast<std::int64_t>(message.id));
      insert_->blob(message.sender.bytes).blob(message.recipient.bytes);
      message.group ? insert_->blob(message.group->bytes) : insert_->null();
      message.ref ? insert_->number(std::bit_cast<std::int64_t>(*message.ref)) : insert_->null();
      // A clock that stands before 1970 is wrong; what it says must still be read back.
      insert_->number(std::max<std::int64_t>(message.accepted_at.time_since_epoch().count(), 0));
      insert_->number(message.lifetime.count()).blob(*message.data);
      if (!insert_->run()) return false;
    }
    for (const mailbox::MessageId id : batch.removed) {
      if (!remove_->number(static_cast<std::int64_t>(id)).run()) return false;
    }
    for (const auto& [client, window] : batch.windows) {
      ByteArray<RefWindow::kEncodedSize> taken;
      window.encode(taken);
      if (!window_->blob(client.bytes).blob(taken).run()) return false;
    }
    return true;
  }

  Result<void, Error> run(const char* text, const char* what) {
    if (sqlite3_exec(database_.get(), text, nullptr, nullptr, nullptr) != SQLITE_OK) {
      return failed(what);
    }
    return success();
  }
  Result<std::int64_t, Error> meta(const char* name) {
    const std::string text = std::string("SELECT value FROM meta WHERE name = '") + name + "'";
    Statement row(database_.get(), text.c_str());
    if (!row.ready() || row.step() != SQLITE_ROW) return failed("read");
    return row.number_at(0);
  }
  Error failed(const char* what) const {
    const int code = sqlite3_errcode(database_.get());
    const std::string why = printable(sqlite3_errmsg(database_.get()));
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
      return {ErrorKind::kVerificationFailed, path_ + " is no queue of ours, or damaged: " + why +
                                                  "; move it away to start with an empty queue"};
    }
    return {ErrorKind::kFailed, std::string("cannot ") + what + ' ' + path_ + ": " + why +
                                    (code == SQLITE_FULL ? "; free some space" : "")};
  }
  Error damaged(const char* table) const {
    return {ErrorKind::kVerificationFailed,
            path_ + " is damaged: its table " + table +
                " holds what no hub writes; move it away to start with an empty queue"};
  }

  SqliteFiles vfs_;
  std::string path_;
  Database database_;
  std::optional<Statement> insert_, remove_, window_, forget_;  // end before the database
  std::uint64_t starts_ = 0;
};

}  // namespace

Result<std::unique_ptr<MailboxStore>, Error> MailboxStore::open(FileSystem& files,
                                                                const std::string& path) {
  auto store = std::make_unique<SqliteMailboxStore>(files, path);
  SEALANE_TRY(store->start());
  return std::unique_ptr<MailboxStore>(std::move(store));
}

}  // namespace sealane::store
