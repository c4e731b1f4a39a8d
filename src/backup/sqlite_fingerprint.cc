#include "backup/sqlite_fingerprint.h"

#include "backup/blake3_writer.h"
#include "backup/sql_identifier.h"
#include "backup/sqlite_ranges.h"
#include "backup/sqlite_rows.h"
#include "base/check.h"

namespace sealane::backup {
namespace {

constexpr const char* kHashRow = "sealane_hash_row";

// Hashes rows, one after the other.
class RowHasher {
 public:
  explicit RowHasher(bool utf8) : rows_(hash_, utf8) {}
  void add(sqlite3_value* value) { rows_.add(value); }
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

  std::uint64_t count_ = 0;
  Blake3Writer hash_;  // a third of SHA-256's time
  RowEncoder<Blake3Writer> rows_;
};

// Hashes the rows in the order in which they come out.
Result<Fingerprint::Item, Error> hash_rows(const SqliteConnection& connection, std::string name,
                                           const std::string& sql, bool utf8) {
  SEALANE_TRY(auto statement, SqliteStatement::prepare(connection, sql));
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
Result<Columns, Error> column_list(const SqliteConnection& connection, const std::string& table) {
  SEALANE_TRY(auto statement,
              SqliteStatement::prepare(
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

Result<Fingerprint::Item, Error> hash_table(const SqliteConnection& connection,
                                            const std::string& table, bool utf8,
                                            SqliteRanges* ranges) {
  SEALANE_TRY(const Columns columns, column_list(connection, table));
  if (ranges != nullptr) {
    SEALANE_TRY(auto item, ranges->hash_table(table, columns.list, columns.count, utf8));
    if (item) return *std::move(item);
  }
  // NOT INDEXED: the rows of the table itself, in key order, not those that an index claims.
  const std::string from = " FROM main." + quoted_identifier(table) + " NOT INDEXED";
  // A function takes fewer arguments than a table may have columns.
  if (columns.count >= sqlite3_limit(connection.get(), SQLITE_LIMIT_FUNCTION_ARG, -1)) {
    return hash_rows(connection, table, "SELECT " + columns.list + from, utf8);
  }
  RowHasher hasher(utf8);
  SEALANE_TRY(auto statement,
              SqliteStatement::prepare(connection, std::string("SELECT ") + kHashRow + "(?1, " +
                                                       columns.list + ")" + from));
  SEALANE_CHECK(hasher.bind(statement.get()) == SQLITE_OK);
  for (;;) {
    // One scan without a sorter: a row is hashed when its turn has come.
    SEALANE_TRY(const bool row, statement.step());
    if (!row) return hasher.finish(table);
  }
}

}  // namespace

Result<Fingerprint, Error> sqlite_fingerprint(const SqliteConnection& connection,
                                              FingerprintLevel level, const OpenAnother& another) {
  // Tables with pages of their own: no views, and of virtual tables the shadow tables.
  std::vector<std::string> tables;
  {
    SEALANE_TRY(auto statement,
                SqliteStatement::prepare(connection,
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
  SEALANE_TRY(const std::string encoding, sqlite_value(connection, "PRAGMA main.encoding"));
  const bool utf8 = encoding == "UTF-8";
  std::optional<SqliteRanges> ranges;
  if (another) ranges.emplace(connection, another);
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
      SEALANE_TRY(auto rows, SqliteStatement::prepare(connection, "SELECT count(*) FROM main." +
                                                                      quoted_identifier(table)));
      SEALANE_TRY(const bool row, rows.step());
      SEALANE_CHECK(row);
      items.push_back({table, static_cast<std::uint64_t>(rows.integer(0)), ""});
      continue;
    }
    SEALANE_TRY(auto item, hash_table(connection, table, utf8, ranges ? &*ranges : nullptr));
    items.push_back(std::move(item));
  }
  return at_level(make_fingerprint("sqlite", FingerprintLevel::kContent, std::move(items)), level);
}

Result<std::optional<std::string>, Error> sqlite_soundness(const SqliteConnection& connection) {
  constexpr std::size_t kShown = 200;
  constexpr std::string_view kHead = "*** in database main ***\n";
  const auto answer = sqlite_value(connection, "PRAGMA quick_check(1)");
  if (!answer) {
    if ((sqlite3_errcode(connection.get()) & 0xff) == SQLITE_ERROR) {
      return std::optional<std::string>();
    }
    return answer.error();
  }
  std::string_view verdict = answer.value();
  if (verdict.starts_with(kHead)) verdict.remove_prefix(kHead.size());
  return std::optional(printable(verdict.substr(0, verdict.find('\n')), kShown));
}

}  // namespace sealane::backup
