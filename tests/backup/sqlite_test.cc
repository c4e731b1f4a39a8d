// Goal: a copy is one moment of the database, byte for byte a valid database, and its fingerprint
// sees every value. Method: real databases of every shape, real writers, real crashes.
#include "backup/sqlite.h"

#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <thread>

#include "backup/sqlite_vfs.h"
#include "base/byte_reader.h"
#include "crypto/hash.h"
#include "driver_support.h"

namespace sealane::backup {
namespace {

using std::chrono::milliseconds;

struct Close {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Db = std::unique_ptr<sqlite3, Close>;

Db open_db(const std::string& path) {
  sqlite3* raw = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &raw), SQLITE_OK);
  // Tests wait for no disk; what they check does not depend on it. Who opens the log first recovers
  // it, and others wait for that alone.
  sqlite3_busy_timeout(raw, 10'000);
  EXPECT_EQ(sqlite3_exec(raw, "PRAGMA synchronous = OFF", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_busy_timeout(raw, 0);
  return Db(raw);
}
int try_sql(const Db& db, const std::string& sql) {
  return sqlite3_exec(db.get(), sql.c_str(), nullptr, nullptr, nullptr);
}
void sql(const Db& db, const std::string& text) {
  ASSERT_EQ(try_sql(db, text), SQLITE_OK) << text << ": " << sqlite3_errmsg(db.get());
}
std::string value(const Db& db, const std::string& query) {
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(db.get(), query.c_str(), -1, &statement, nullptr), SQLITE_OK)
      << query << ": " << sqlite3_errmsg(db.get());
  std::string out;
  if (sqlite3_step(statement) == SQLITE_ROW) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
    out = text == nullptr ? "NULL" : text;
  }
  sqlite3_finalize(statement);
  return out;
}

// Tables of every kind: rowid, WITHOUT ROWID, generated columns, FTS5, AUTOINCREMENT, a view.
constexpr const char* kSchema = R"sql(
  CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, price REAL, data BLOB,
                      twice AS (id * 2) VIRTUAL, thrice AS (id * 3) STORED);
  CREATE INDEX orders_name ON orders(name);
  CREATE TABLE pairs(a TEXT, b INTEGER, PRIMARY KEY(a, b)) WITHOUT ROWID;
  CREATE TABLE "odd ""name"""("a ""column""" ANY, rowid TEXT, oid, _rowid_);
  CREATE VIRTUAL TABLE notes USING fts5(body);
  CREATE VIEW cheap AS SELECT * FROM orders WHERE price < 1;
  PRAGMA user_version = 7; PRAGMA application_id = 1234;
)sql";
constexpr const char* kRows = R"sql(
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)
    INSERT INTO orders(name, price, data) SELECT 'name ' || i, i / 7.0, randomblob(i % 900) FROM n;
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO pairs SELECT 'ä' || i, -i FROM n;
  INSERT INTO "odd ""name""" VALUES (NULL, 'x', 1.5, x'00ff'), (1, '1', 1.0, x'');
  INSERT INTO notes SELECT name FROM orders;
  DELETE FROM orders WHERE id % 5 = 0;
)sql";

class Sqlite : public DriverTest {
 protected:
  void make(const std::string& where, const std::string& pragmas = "") const {
    const Db db = open_db(where);
    sql(db, pragmas);
    sql(db, kSchema);
    sql(db, kRows);
  }
  // Backs up `from`, restores to `to`, compares; returns the bytes.
  Bytes round_trip(const std::string& from, const std::string& to) {
    auto source = open_sqlite_source(from, context_);
    EXPECT_TRUE(source) << source.error().message;
    auto bytes = dump(*source.value());
    EXPECT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(source.value()->estimated_size(), bytes.value().size());
    const auto expected = source.value()->fingerprint();
    EXPECT_TRUE(expected) << expected.error().message;
    auto target = open_sqlite_target(to, context_);
    EXPECT_TRUE(target.value()->is_empty().value());
    target.value()->expect_fingerprint(FingerprintLevel::kContent);
    const auto restored = restore(*source.value(), bytes.value(), *target.value());
    EXPECT_TRUE(restored) << restored.error().message;
    // As it was before it appeared, and as it is now.
    for (int i = 0; i < 2; ++i) {
      const auto found = target.value()->fingerprint();
      EXPECT_TRUE(found) << found.error().message;
      EXPECT_EQ(difference(*expected.value(), *found.value()).value_or("equal"), "equal");
    }
    return bytes.value();
  }
  Fingerprint fingerprint(const std::string& where) {
    auto source = open_sqlite_source(where, context_);
    EXPECT_TRUE(source) << source.error().message;
    auto result = source.value()->fingerprint();
    EXPECT_TRUE(result) << result.error().message;
    return *result.value();
  }
};

TEST_F(Sqlite, AtTheLevelOfStructureRowsAreCountedOnly) {
  make(path("a.db"));
  const auto print = [&] {
    auto source = open_sqlite_source(path("a.db"), context_);
    EXPECT_TRUE(source) << source.error().message;
    source.value()->set_fingerprint_level(FingerprintLevel::kStructure);
    return *source.value()->fingerprint().value();
  };
  sql(open_db(path("a.db")), "CREATE TABLE level (n); INSERT INTO level VALUES (1)");
  const Fingerprint before = print();
  EXPECT_EQ(before.level, FingerprintLevel::kStructure);
  sql(open_db(path("a.db")), "UPDATE level SET n = 2");
  EXPECT_FALSE(difference(before, print()));
  sql(open_db(path("a.db")), "INSERT INTO level VALUES (3)");
  EXPECT_EQ(difference(before, print()).value_or(""), "table level has 2 rows, not 1");
}

TEST_F(Sqlite, CopiesEveryShapeOfDatabase) {
  int number = 0;
  for (const char* pages : {"512", "1024", "4096", "32768", "65536"}) {
    for (const char* shape :
         {"", "PRAGMA journal_mode = WAL;", "PRAGMA auto_vacuum = FULL;",
          "PRAGMA auto_vacuum = INCREMENTAL;", "PRAGMA encoding = 'UTF-16le';"}) {
      SCOPED_TRACE(std::string(pages) + ' ' + shape);
      const std::string from = path("from" + std::to_string(number));
      const std::string to = path("to" + std::to_string(number++));
      make(from, "PRAGMA page_size = " + std::string(pages) + ';' + shape);
      const Bytes bytes = round_trip(from, to);
      EXPECT_EQ(bytes.size() % std::stoul(pages), 0u);
      const Db copy = open_db(to);
      EXPECT_EQ(value(copy, "PRAGMA integrity_check"), "ok");
      EXPECT_EQ(value(copy, "PRAGMA page_size"), pages);
      EXPECT_EQ(value(copy, "SELECT count(*) FROM notes WHERE notes MATCH '77'"), "1");
      EXPECT_EQ(value(copy, "PRAGMA journal_mode"),
                std::string(shape).find("WAL") == std::string::npos ? "delete" : "wal");
    }
  }
}

TEST_F(Sqlite, KeepsReservedBytesAndPagesInTheLog) {
  {
    const Db db = open_db(path("from"));
    int reserved = 48;
    sqlite3_file_control(db.get(), "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    sql(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;");
    sql(db, kSchema);
    sql(db, kRows);
    ASSERT_GT(std::filesystem::file_size(path("from-wal")), 100'000u);  // all of it is in the log
    const Bytes bytes = round_trip(path("from"), path("to"));
    EXPECT_EQ(std::to_integer<int>(bytes[20]), 48);
  }
  EXPECT_EQ(value(open_db(path("to")), "PRAGMA integrity_check"), "ok");
}

TEST_F(Sqlite, LeavesNoLogBesideADatabaseThatNobodyUses) {
  make(path("from"), "PRAGMA journal_mode = WAL;");
  ASSERT_EQ(names(folder_), (std::vector<std::string>{"from"}));
  fingerprint(path("from"));
  EXPECT_EQ(names(folder_), (std::vector<std::string>{"from"}));
}

TEST_F(Sqlite, AnUnchangedDatabaseIsCopiedByteForByte) {
  make(path("from"));
  const Bytes bytes = round_trip(path("from"), path("to"));
  EXPECT_EQ(to_text(bytes), read_file(path("from")));
}

TEST_F(Sqlite, SmallestDatabases) {
  write_file(path("empty"), "");
  EXPECT_TRUE(round_trip(path("empty"), path("empty-copy")).empty());
  sql(open_db(path("one")), "PRAGMA user_version = 1");  // one page
  EXPECT_EQ(round_trip(path("one"), path("one-copy")).size(), 4096u);
}

// Page 16 385 of 64 KiB lies at 1 GiB: the one that SQLite never uses and its copy leaves out. The
// source is sparse, so this costs reading only.
TEST_F(Sqlite, PassesTheLockPageInFlatMemory) {
  constexpr std::uint32_t kPages = 16'385 + 3;
  {
    const Db db = open_db(path("big"));
    sql(db, "PRAGMA page_size = 65536; CREATE TABLE t(x); INSERT INTO t VALUES (1)");
  }
  std::filesystem::resize_file(path("big"), std::uintmax_t{kPages} * 65536);
  {
    std::fstream file(path("big"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(28);
    for (const int shift : {24, 16, 8, 0}) file.put(static_cast<char>(kPages >> shift));
    file.seekp(std::streamoff{65536} * (kPages - 1) + 5);
    file.put('e');
  }
  sqlite3_memory_highwater(1);
  const auto before = sqlite3_memory_used();
  auto source = open_sqlite_source(path("big"), context_);
  ASSERT_TRUE(source) << source.error().message;
  auto stream = source.value()->open_stream(0);
  ASSERT_TRUE(stream) << stream.error().message;
  std::ifstream original(path("big"), std::ios::binary);
  Bytes got(1 << 20);
  std::string want(1 << 20, '\0');
  std::uint64_t total = 0;
  for (;;) {
    const auto size = stream.value()->read(got);
    ASSERT_TRUE(size) << size.error().message;
    if (size.value() == 0) break;
    original.read(want.data(), static_cast<std::streamsize>(size.value()));
    if (total > 0) {  // the header's counters are renewed
      ASSERT_TRUE(as_text(ByteSpan(got).first(size.value())) ==
                  std::string_view(want).substr(0, size.value()))
          << "at " << total;
    }
    total += size.value();
  }
  EXPECT_EQ(total, std::uint64_t{kPages} * 65536);
  EXPECT_LT(sqlite3_memory_highwater(0) - before, 8 << 20);
}

TEST_F(Sqlite, IsOneMomentWhileAWriterGoesOn) {
  {
    const Db db = open_db(path("shop"));
    sql(db,
        "PRAGMA journal_mode = WAL; CREATE TABLE debit(n INTEGER, fill BLOB);"
        "CREATE TABLE credit(n INTEGER, fill BLOB);"
        "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 5000)"
        "  INSERT INTO debit SELECT i, randomblob(200) FROM i;"
        "INSERT INTO credit SELECT n, randomblob(300) FROM debit");
  }
  std::atomic<bool> stop{false};
  std::atomic<int> transactions{0};
  std::thread writer([&] {
    const Db db = open_db(path("shop"));
    sqlite3_busy_timeout(db.get(), 10'000);
    for (int i = 0; !stop; ++i) {
      const std::string n = std::to_string(i % 5000);
      sql(db, "BEGIN; UPDATE debit SET n = n + 1, fill = randomblob(250) WHERE rowid = " + n +
                  "; UPDATE credit SET n = n + 1, fill = randomblob(350) WHERE rowid = " + n +
                  "; INSERT INTO debit VALUES (1, ''); INSERT INTO credit VALUES (1, ''); COMMIT");
      ++transactions;
    }
  });
  for (int round = 0; round < 3; ++round) {
    auto source = open_sqlite_source(path("shop"), context_);
    ASSERT_TRUE(source) << source.error().message;
    const int before = transactions;
    while (transactions < before + 5) std::this_thread::yield();  // it is not held up
    auto stream = source.value()->open_stream(0);
    Bytes bytes;
    for (Bytes piece(200'000);;) {
      const auto got = stream.value()->read(piece);
      ASSERT_TRUE(got) << got.error().message;
      if (got.value() == 0) break;
      bytes.insert(bytes.end(), piece.begin(), piece.begin() + static_cast<long>(got.value()));
      const int now = transactions;
      while (transactions < now + 1) std::this_thread::yield();
    }
    const auto expected = source.value()->fingerprint();
    ASSERT_TRUE(expected) << expected.error().message;
    auto target = open_sqlite_target(path("copy" + std::to_string(round)), context_);
    const auto restored = restore(*source.value(), bytes, *target.value());
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_FALSE(difference(*expected.value(), *target.value()->fingerprint().value()));
    const Db copy = open_db(path("copy" + std::to_string(round)));
    EXPECT_EQ(value(copy, "PRAGMA integrity_check"), "ok");
    EXPECT_EQ(value(copy, "SELECT (SELECT sum(n) FROM debit) - (SELECT sum(n) FROM credit)"), "0");
  }
  stop = true;
  writer.join();
}

TEST_F(Sqlite, AWriterWithARollbackJournalWaits) {
  make(path("from"));
  const Db writer = open_db(path("from"));
  {
    auto source = open_sqlite_source(path("from"), context_);
    ASSERT_TRUE(source);
    EXPECT_EQ(try_sql(writer, "DELETE FROM pairs"), SQLITE_BUSY);
    const auto bytes = dump(*source.value());
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(to_text(bytes.value()), read_file(path("from")));
  }
  sql(writer, "DELETE FROM pairs");
}

// A program dies in the middle of a transaction whose pages already reached the file.
TEST_F(Sqlite, RollsBackWhatACrashedWriterLeft) {
  make(path("from"));
  const Fingerprint before = fingerprint(path("from"));
  const pid_t child = fork();
  if (child == 0) {
    sqlite3* db = nullptr;
    sqlite3_open(path("from").c_str(), &db);
    sqlite3_exec(db,
                 "PRAGMA cache_size = 1; BEGIN; UPDATE orders SET name = name || 'x', data = "
                 "randomblob(999);"
                 "INSERT INTO pairs SELECT a || 'y', b FROM pairs",
                 nullptr, nullptr, nullptr);
    _exit(sqlite3_get_autocommit(db) == 0 ? 0 : 1);  // the connection is never closed
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_GT(std::filesystem::file_size(path("from-journal")), 10'000u);
  EXPECT_FALSE(difference(before, fingerprint(path("from"))));
  round_trip(path("from"), path("to"));
}

TEST_F(Sqlite, FingerprintSeesEveryKindOfChange) {
  make(path("a"));
  const Fingerprint original = fingerprint(path("a"));
  EXPECT_EQ(original.kind, "sqlite");
  EXPECT_EQ(original.level, FingerprintLevel::kContent);
  std::vector<std::string> names;
  for (const auto& item : original.items) names.push_back(item.name);
  EXPECT_EQ(names, (std::vector<std::string>{"notes_config", "notes_content", "notes_data",
                                             "notes_docsize", "notes_idx", "odd \"name\"", "orders",
                                             "pairs", "sqlite_header", "sqlite_schema",
                                             "sqlite_sequence"}));
  const std::pair<const char*, const char*> changes[] = {
      {"UPDATE orders SET price = price + 1e-9 WHERE id = 6",
       "table orders has other content in its 560 rows"},
      {"UPDATE orders SET data = x'' WHERE id = 6",
       "table orders has other content in its 560 rows"},
      {"UPDATE orders SET name = NULL WHERE id = 6",
       "table orders has other content in its 560 rows"},
      {"UPDATE \"odd \"\"name\"\"\" SET oid = 1 WHERE rowid = '1'",  // 1.0 becomes 1
       "table odd \"name\" has other content in its 2 rows"},
      {"UPDATE \"odd \"\"name\"\"\" SET _rowid_ = '' WHERE rowid = '1'",  // x'' becomes ''
       "table odd \"name\" has other content in its 2 rows"},
      {"DELETE FROM pairs WHERE b = -7", "table pairs has 299 rows, not 300"},
      {"DROP VIEW cheap", "table sqlite_schema has 11 rows, not 12"},
      {"CREATE TABLE extra(x)", "table sqlite_schema has 13 rows, not 12"},
      {"PRAGMA user_version = 8", "table sqlite_header has other content in its 1 rows"},
      {"PRAGMA application_id = 8", "table sqlite_header has other content in its 1 rows"}};
  for (const auto& [change, expected] : changes) {
    std::filesystem::copy_file(path("a"), path("b"),
                               std::filesystem::copy_options::overwrite_existing);
    sql(open_db(path("b")), change);
    EXPECT_EQ(difference(original, fingerprint(path("b"))).value_or("equal"), expected) << change;
  }
  // The same content laid out anew.
  std::filesystem::copy_file(path("a"), path("b"),
                             std::filesystem::copy_options::overwrite_existing);
  sql(open_db(path("b")),
      "DROP INDEX orders_name; VACUUM; CREATE INDEX orders_name ON orders(name)");
  EXPECT_FALSE(difference(original, fingerprint(path("b"))));
}

TEST_F(Sqlite, DigestIsOverTheValuesInOneEncoding) {
  // Larger than what is hashed at once, and cut anywhere by it.
  ByteWriter expected;
  std::string rows;
  std::uint64_t count = 0;
  const auto text = [&](std::uint64_t size) {
    expected.u8(3).u64(size).bytes(as_bytes(std::string(size, 'x')));
    return "replace(hex(zeroblob(" + std::to_string(size) + ")), '00', 'x')";
  };
  constexpr std::uint64_t kSizes[] = {0, 1, 55, 32'000, 32'768, 65'536, 100'000, 700, 3};
  for (const std::uint64_t size : kSizes) {
    for (int i = 0; i < 3; ++i) {
      expected.u8(1).u64(++count);
      expected.u8(2).u64(std::bit_cast<std::uint64_t>(-0.25));
      rows += "INSERT INTO t VALUES (" + std::to_string(count) + ", -0.25, " + text(size) +
              ", CAST('ü' AS TEXT), zeroblob(" + std::to_string(size) + "), NULL);";
      expected.u8(3).u64(2).bytes(as_bytes("ü"));
      expected.u8(4).u64(size).bytes(Bytes(size));
      expected.u8(0);
    }
  }
  const std::string digest = to_hex(crypto::blake3(expected.view()));
  for (const char* encoding : {"UTF-8", "UTF-16le", "UTF-16be"}) {
    const std::string db = path(encoding);
    sql(open_db(db), std::string("PRAGMA encoding = '") + encoding +
                         "'; CREATE TABLE t (i, r, a, b, c, d);" + rows);
    const Fingerprint found = fingerprint(db);
    const auto item = std::ranges::find(found.items, "t", &Fingerprint::Item::name);
    ASSERT_NE(item, found.items.end());
    EXPECT_EQ(item->count, count) << encoding;
    EXPECT_EQ(item->digest, digest) << encoding;
  }
}

// The digest by the plain way: each value asked for by itself, all hashed at once.
std::string digest_of(const std::string& where, const std::string& query) {
  const Db db = open_db(where);
  sqlite3_stmt* rows = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(db.get(), query.c_str(), -1, &rows, nullptr), SQLITE_OK)
      << query << ": " << sqlite3_errmsg(db.get());
  ByteWriter out;
  while (sqlite3_step(rows) == SQLITE_ROW) {
    for (int i = 0; i < sqlite3_column_count(rows); ++i) {
      switch (sqlite3_column_type(rows, i)) {
        case SQLITE_NULL:
          out.u8(0);
          break;
        case SQLITE_INTEGER:
          out.u8(1).u64(static_cast<std::uint64_t>(sqlite3_column_int64(rows, i)));
          break;
        case SQLITE_FLOAT:
          out.u8(2).u64(std::bit_cast<std::uint64_t>(sqlite3_column_double(rows, i)));
          break;
        default: {
          out.u8(sqlite3_column_type(rows, i) == SQLITE_TEXT ? 3 : 4);
          const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(rows, i));
          const auto size = static_cast<std::size_t>(sqlite3_column_bytes(rows, i));
          out.u64(size).bytes(ByteSpan(data, size));
        }
      }
    }
  }
  sqlite3_finalize(rows);
  return to_hex(crypto::blake3(out.view()));
}

TEST_F(Sqlite, DigestOfEveryShapeOfTableIsOverItsRowsInKeyOrder) {
  // A function of SQL takes 127 arguments at most, one of which is not a column.
  const auto wide = [](int columns) {
    std::string names;
    std::string values;
    for (int i = 0; i < columns; ++i) {
      names += (i > 0 ? ", c" : "c") + std::to_string(i);
      values += (i > 0 ? ", n + " : "n + ") + std::to_string(i);
    }
    const std::string table = "wide" + std::to_string(columns);
    return "CREATE TABLE " + table + "(" + names +
           "); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL "
           "SELECT n + 1 FROM c WHERE n < 50) INSERT INTO " +
           table + " SELECT " + values + " FROM c;";
  };
  const std::string rows =
      "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) ";
  const std::string db = path("from");
  sql(open_db(db),
      "CREATE TABLE none(a, b);"
      "CREATE TABLE extreme(id INTEGER PRIMARY KEY, v TEXT);"
      "INSERT INTO extreme VALUES (9223372036854775807, 'last'), (0, NULL), (-1, 'x'),"
      "  (-9223372036854775808, 'first'), (1, x'00');"
      // Its rows lie in the order of the text; an index over all of it has another.
      "CREATE TABLE keyed(k TEXT PRIMARY KEY, v) WITHOUT ROWID;" +
          rows +
          "INSERT INTO keyed SELECT 'k' || (n * 7919 % 3001), randomblob(900) FROM c;"
          "CREATE TABLE covered(v REAL, w); CREATE INDEX all_of_it ON covered(v, w);" +
          rows +
          "INSERT INTO covered SELECT 3000 - n, n FROM c;"
          // Columns that came later, with rows that have none of them.
          "CREATE TABLE grown(a); INSERT INTO grown VALUES (1), (2);"
          "ALTER TABLE grown ADD COLUMN b REAL DEFAULT 5; ALTER TABLE grown ADD COLUMN c;"
          "INSERT INTO grown VALUES (3, 4, 'text');"
          "CREATE TABLE made(a, b AS (a + 1) VIRTUAL, c AS (a + 2) STORED, d TEXT);"
          "INSERT INTO made(a, d) VALUES (1, 'x'), (2.5, '');" +
          wide(126) + wide(127) + wide(300));
  const Fingerprint found = fingerprint(db);
  const std::pair<const char*, const char*> queries[] = {
      {"none", "SELECT * FROM none"},
      {"extreme", "SELECT * FROM extreme ORDER BY id"},
      {"keyed", "SELECT * FROM keyed ORDER BY k"},
      {"covered", "SELECT * FROM covered ORDER BY rowid"},
      {"grown", "SELECT * FROM grown ORDER BY rowid"},
      {"made", "SELECT a, c, d FROM made ORDER BY rowid"},
      {"wide126", "SELECT * FROM wide126 ORDER BY rowid"},
      {"wide127", "SELECT * FROM wide127 ORDER BY rowid"},
      {"wide300", "SELECT * FROM wide300 ORDER BY rowid"}};
  for (const auto& [table, query] : queries) {
    const auto item = std::ranges::find(found.items, table, &Fingerprint::Item::name);
    ASSERT_NE(item, found.items.end()) << table;
    EXPECT_EQ(item->digest, digest_of(db, query)) << table;
  }
  round_trip(db, path("to"));
}

// 4000 rows of 2000 bytes: hashed by a second thread when it ends early.
constexpr const char* kManyRows =
    "CREATE TABLE t(k INTEGER PRIMARY KEY, v);"
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 4000)"
    "  INSERT INTO t SELECT n * 10, randomblob(2000) FROM c";

TEST_F(Sqlite, ADamagedPageFarInEndsTheFingerprint) {
  sql(open_db(path("from")), kManyRows);
  auto sound = open_sqlite_source(path("from"), context_);
  const auto bytes = dump(*sound.value());
  ASSERT_TRUE(bytes);
  const auto size = std::filesystem::file_size(path("from"));
  {
    std::fstream file(path("from"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(size * 3 / 4 / 4096 * 4096));
    file << std::string(4096, '\x7f');
  }
  auto source = open_sqlite_source(path("from"), context_);
  ASSERT_TRUE(source) << source.error().message;
  const auto print = source.value()->fingerprint();
  ASSERT_FALSE(print);
  EXPECT_NE(print.error().message.find("is damaged"), std::string::npos) << print.error().message;

  // The copy of a damaged one does not appear.
  const auto damaged = read_file(path("from"));
  auto target = open_sqlite_target(path("to"), context_);
  target.value()->expect_fingerprint(FingerprintLevel::kContent);
  const auto restored = restore(*source.value(), to_bytes(as_bytes(damaged)), *target.value());
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().kind, ErrorKind::kVerificationFailed) << restored.error().message;
  EXPECT_FALSE(std::filesystem::exists(path("to")));
}

TEST_F(Sqlite, SaysWhatItsOwnCheckFound) {
  make(path("from"));
  {
    auto source = open_sqlite_source(path("from"), context_);
    source.value()->set_fingerprint_level(FingerprintLevel::kStructure);
    ASSERT_TRUE(source.value()->fingerprint());
    EXPECT_FALSE(source.value()->properties().contains(kSoundness));
  }
  {
    auto source = open_sqlite_source(path("from"), context_);
    ASSERT_TRUE(source.value()->fingerprint());
    EXPECT_EQ(source.value()->properties().at(kSoundness), kSound);
    EXPECT_TRUE(source.value()->warnings().empty());
  }
  // No row is read from an index, so only the check finds what is wrong with it.
  const Db db = open_db(path("from"));
  const auto root = std::stoul(value(db,
                                     "SELECT rootpage FROM sqlite_schema WHERE name = "
                                     "'orders_name'"));
  {
    std::fstream file(path("from"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>((root - 1) * 4096));
    file << std::string(4096, '\x7f');
  }
  auto source = open_sqlite_source(path("from"), context_);
  const auto bytes = dump(*source.value());
  ASSERT_TRUE(bytes) << bytes.error().message;
  const auto print = source.value()->fingerprint();
  ASSERT_TRUE(print) << print.error().message;
  EXPECT_TRUE(source.value()->properties().at(kSoundness).starts_with("Page "))
      << source.value()->properties().at(kSoundness);
  ASSERT_EQ(source.value()->warnings().size(), 1U);
  EXPECT_NE(source.value()->warnings()[0].find("damaged"), std::string::npos);
  // Where it is compared, it is checked, unless the source is known to have been sound.
  for (const bool known : {false, true}) {
    auto target = open_sqlite_target(path(known ? "known" : "unknown"), context_);
    target.value()->expect_fingerprint(FingerprintLevel::kContent);
    if (known) target.value()->expect_sound();
    const auto restored = restore(*source.value(), bytes.value(), *target.value());
    EXPECT_EQ(restored.has_value(), known);
    if (!restored) {
      EXPECT_EQ(restored.error().kind, ErrorKind::kVerificationFailed);
      EXPECT_NE(restored.error().message.find("--no-compare"), std::string::npos);
    }
  }
  EXPECT_FALSE(std::filesystem::exists(path("unknown")));
  EXPECT_TRUE(std::filesystem::exists(path("known")));
}

TEST_F(Sqlite, WhatOnlyTheApplicationCanCheckIsNotChecked) {
  {
    const Db db = open_db(path("from"));
    const auto one = [](sqlite3_context* context, int, sqlite3_value**) {
      sqlite3_result_int(context, 1);
    };
    sqlite3_create_function(db.get(), "shopwise", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
                            one, nullptr, nullptr);
    sql(db,
        "CREATE TABLE t(a TEXT CHECK (shopwise(a)), b AS (shopwise(a)) VIRTUAL, c AS (shopwise(a)) "
        "STORED); CREATE INDEX i ON t(shopwise(a)); INSERT INTO t VALUES ('b'), ('a')");
  }
  round_trip(path("from"), path("to"));
  auto source = open_sqlite_source(path("from"), context_);
  ASSERT_TRUE(source.value()->fingerprint());
  EXPECT_FALSE(source.value()->properties().contains(kSoundness));
  EXPECT_TRUE(source.value()->warnings().empty());
}

TEST_F(Sqlite, ReadsTheShadowTablesOfAModuleThatItDoesNotHave) {
  {
    const Db db = open_db(path("from"));
    sql(db,
        "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('hello');"
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE f USING shopwise(x)' WHERE name = "
        "'f'");
  }
  round_trip(path("from"), path("to"));
}

TEST_F(Sqlite, CancellationStopsTheFingerprintOfALargeTable) {
  sql(open_db(path("from")), kManyRows);
  auto source = open_sqlite_source(path("from"), context_);
  ASSERT_TRUE(source) << source.error().message;
  cancel_.cancel();
  const auto print = source.value()->fingerprint();
  ASSERT_FALSE(print);
  EXPECT_EQ(print.error().kind, ErrorKind::kInterrupted) << print.error().message;
}

TEST_F(Sqlite, ReadsAheadOfPagesInAnyOrder) {
  // In order, against it, and all over the file; and the last pages fill no whole window.
  const char* const orders[] = {"n", "-n", "n * 7919 % 4001", "abs(n / 5 - 400) * 10 + n % 5"};
  for (const char* order : orders) {
    SCOPED_TRACE(order);
    for (const char* page : {"512", "4096", "65536"}) {
      const std::string from = path("from");
      std::filesystem::remove(from);
      std::filesystem::remove(path("to"));
      sql(open_db(from), std::string("PRAGMA page_size = ") + page +
                             "; CREATE TABLE t (k INTEGER PRIMARY KEY, v);"
                             "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
                             "WHERE n < 4000) INSERT OR IGNORE INTO t SELECT " +
                             order + ", randomblob(50 + n % 900) FROM c");
      round_trip(from, path("to"));
    }
  }
}

// The source's rows are read one after the other, the target's by threads.
TEST_F(Sqlite, LargeTablesAreReadByThreadsInTheirOrder) {
  const std::string counting =
      "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ";
  const std::vector<std::string> tables = {
      "CREATE TABLE a(v); " + counting + "30000) INSERT INTO a SELECT 'row ' || n FROM c",
      // All that can be a row id; near each other, and with the widest gaps.
      "CREATE TABLE a(k INTEGER PRIMARY KEY, v); " + counting +
          "3000) INSERT INTO a SELECT n, randomblob(300) FROM c; " + counting +
          "3000) INSERT INTO a SELECT n - 9223372036854775807, n FROM c; " + counting +
          "3000) INSERT INTO a SELECT n - 1 + 4611686018427387904, randomblob(300) FROM c; "
          "INSERT INTO a VALUES(-9223372036854775807 - 1, 'first'), (9223372036854775807, 'last')",
      // Rows that fit nowhere, beside those that do.
      "CREATE TABLE a(k INTEGER PRIMARY KEY, v, w); " + counting +
          "40) INSERT INTO a SELECT n * 1000, randomblob(n % 7 * 90000), randomblob(n % 5 * 70000) "
          "FROM c",
      "CREATE TABLE a(rowid, v); " + counting + "20000) INSERT INTO a SELECT -n, n FROM c",
      "CREATE TABLE a(OID TEXT, \"RowId\" AS (v * 2) VIRTUAL, v); " + counting +
          "20000) INSERT INTO a SELECT n, -n FROM c",
      "CREATE TABLE a(rowid, oid, _rowid_); " + counting +
          "20000) INSERT INTO a SELECT n, -n, n FROM c",
      "CREATE TABLE a(k PRIMARY KEY, v) WITHOUT ROWID; " + counting +
          "20000) INSERT INTO a SELECT n * 7919 % 20011, n FROM c",
      "CREATE TABLE a(\"a \"\"column\"\"\" TEXT); CREATE INDEX i ON a(\"a \"\"column\"\"\"); " +
          counting +
          "20000) INSERT INTO a SELECT n || ' \u00e4' FROM c; CREATE TABLE \"b \"\"\"(v); " +
          counting + "15000) INSERT INTO \"b \"\"\" SELECT n FROM c"};
  for (const std::string& table : tables) {
    for (const char* encoding : {"UTF-8", "UTF-16"}) {
      SCOPED_TRACE(table + ", " + encoding);
      std::filesystem::remove(path("from"));
      std::filesystem::remove(path("to"));
      sql(open_db(path("from")), std::string("PRAGMA encoding = '") + encoding + "'; " + table);
      round_trip(path("from"), path("to"));
    }
  }
}

TEST_F(Sqlite, CancellationStopsThreadsThatRead) {
  sql(open_db(path("from")), kManyRows);
  auto source = open_sqlite_source(path("from"), context_);
  const auto bytes = dump(*source.value());
  auto target = open_sqlite_target(path("to"), context_);
  target.value()->expect_fingerprint(FingerprintLevel::kContent);
  target.value()->expect_sound();
  cancel_.cancel();
  const auto restored = restore(*source.value(), bytes.value(), *target.value());
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().kind, ErrorKind::kInterrupted) << restored.error().message;
  EXPECT_FALSE(std::filesystem::exists(path("to")));
}

// What was read ahead of a database is not what it is once somebody else has written to it.
TEST_F(Sqlite, NothingReadAheadOutlivesItsTransaction) {
  const std::string sums = "SELECT count(*) || ' ' || sum(k) || ' ' || sum(v) FROM t";
  for (const char* mode : {"DELETE", "WAL"}) {
    for (const char* lent : {"0", "1000000000"}) {
      SCOPED_TRACE(std::string(mode) + ", mmap_size " + lent);
      std::filesystem::remove(path("from"));
      const Db writer = open_db(path("from"));
      sql(writer, std::string("PRAGMA journal_mode = ") + mode +
                      "; CREATE TABLE t(k INTEGER PRIMARY KEY, v, filler);"
                      "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < "
                      "2000) INSERT INTO t SELECT n, n, zeroblob(500) FROM c");
      const PageTap tap;
      sqlite3* raw = nullptr;
      ASSERT_EQ(sqlite3_open_v2(path("from").c_str(), &raw, SQLITE_OPEN_READWRITE, tap.name()),
                SQLITE_OK);
      const Db reader(raw);
      sql(reader, std::string("PRAGMA cache_size = 2; PRAGMA mmap_size = ") + lent);
      for (const char* change :
           {"UPDATE t SET v = v + 1 WHERE k % 100 = 0", "DELETE FROM t WHERE k % 3 = 0",
            "PRAGMA wal_checkpoint(TRUNCATE)", "UPDATE t SET v = -v", "VACUUM",
            "INSERT INTO t SELECT k + 5000, v, filler FROM t"}) {
        SCOPED_TRACE(change);
        const std::string before = value(reader, sums);
        EXPECT_EQ(before, value(writer, sums));
        // With a log both go on at once, and it may be brought into the file meanwhile.
        const bool at_once =
            std::string_view(mode) == "WAL" && !std::string(change).starts_with("P");
        if (at_once) {
          sql(reader, "BEGIN");
          EXPECT_EQ(value(reader, sums), before);
        }
        sql(writer, change);
        if (at_once) {
          sql(writer, "PRAGMA wal_checkpoint(PASSIVE)");
          EXPECT_EQ(value(reader, sums), before);
          sql(reader, "COMMIT");
        }
        EXPECT_EQ(value(reader, sums), value(writer, sums));
      }
      EXPECT_EQ(value(reader, "PRAGMA integrity_check"), "ok");
    }
  }
}

TEST_F(Sqlite, ReadsTablesWhoseCollationOnlyTheApplicationKnows) {
  {
    const Db db = open_db(path("from"));
    sqlite3_create_collation(db.get(), "shopwise", SQLITE_UTF8, nullptr,
                             [](void*, int, const void*, int, const void*) { return 0; });
    sql(db,
        "CREATE TABLE t(a TEXT COLLATE shopwise); CREATE INDEX i ON t(a);"
        "INSERT INTO t VALUES ('b'), ('a')");
  }
  round_trip(path("from"), path("to"));
}

TEST_F(Sqlite, BadSourcesGetOneClearSentence) {
  const auto failure = [&](const std::string& name) {
    auto source = open_sqlite_source(path(name), context_, {.busy_timeout = milliseconds(60)});
    if (!source) return source.error();
    auto bytes = dump(*source.value());
    if (!bytes) return bytes.error();
    auto print = source.value()->fingerprint();
    return print ? Error{ErrorKind::kFailed, "no error"} : print.error();
  };
  EXPECT_NE(failure("missing").message.find("No such file"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path("missing")));
  EXPECT_EQ(failure(".").kind, ErrorKind::kUsage);
  write_file(path("text"), std::string(5000, 'x'));
  EXPECT_NE(failure("text").message.find("is not a SQLite database"), std::string::npos);
  make(path("cut"));
  std::filesystem::resize_file(path("cut"), std::filesystem::file_size(path("cut")) / 2);
  EXPECT_NE(failure("cut").message.find("is damaged"), std::string::npos) << failure("cut").message;
  make(path("bent"));
  {
    std::fstream file(path("bent"), std::ios::in | std::ios::out | std::ios::binary);
    for (int page = 1; page < 40; ++page) {
      file.seekp(page * 4096);
      file << std::string(200, '\x7f');
    }
  }
  EXPECT_NE(failure("bent").message.find("is damaged"), std::string::npos)
      << failure("bent").message;
  make(path("locked"));
  const Db holder = open_db(path("locked"));
  sql(holder, "BEGIN EXCLUSIVE");
  EXPECT_EQ(failure("locked").kind, ErrorKind::kLocked);
  cancel_.cancel();
  EXPECT_EQ(failure("locked").kind, ErrorKind::kInterrupted);
}

TEST_F(Sqlite, CancellationStopsTheCopyAndTheFingerprint) {
  make(path("from"));
  auto source = open_sqlite_source(path("from"), context_);
  auto stream = source.value()->open_stream(0);
  Bytes piece(100);
  ASSERT_TRUE(stream.value()->read(piece));
  cancel_.cancel();
  const auto rest = drain(*stream.value());
  ASSERT_FALSE(rest);
  EXPECT_EQ(rest.error().kind, ErrorKind::kInterrupted);
}

TEST_F(Sqlite, TargetKeepsTheOldDatabaseUntilTheNewOneIsWhole) {
  make(path("from"));
  auto source = open_sqlite_source(path("from"), context_);
  const Bytes bytes = dump(*source.value()).value();

  std::filesystem::create_directory(path("live"));
  const std::string live = path("live/shop.db");
  Db user = open_db(live);
  sql(user, "PRAGMA journal_mode = WAL; CREATE TABLE old(x); INSERT INTO old VALUES (1)");
  std::filesystem::permissions(live, std::filesystem::perms(0640));
  const Fingerprint old = fingerprint(live);

  auto refused = open_sqlite_target(live, context_);
  EXPECT_FALSE(refused.value()->is_empty().value());
  EXPECT_EQ(refused.value()->open_stream(source.value()->streams()[0]).error().kind,
            ErrorKind::kUsage);

  // Damaged on the way: nothing changed, nothing left.
  Bytes damaged = bytes;
  std::fill(damaged.begin() + 4096, damaged.begin() + 8192, std::byte{0x55});
  {
    auto target = open_sqlite_target(live, context_);
    ASSERT_TRUE(target.value()->clear());
    target.value()->expect_fingerprint(FingerprintLevel::kContent);
    const auto result = restore(*source.value(), damaged, *target.value());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::kVerificationFailed);
  }
  EXPECT_FALSE(difference(old, fingerprint(live)));

  // In use: somebody is in a transaction.
  sql(user, "BEGIN; INSERT INTO old VALUES (2)");
  {
    auto target = open_sqlite_target(live, context_, {.busy_timeout = milliseconds(60)});
    ASSERT_TRUE(target.value()->clear());
    const auto result = restore(*source.value(), bytes, *target.value());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().kind, ErrorKind::kLocked);
  }
  sql(user, "COMMIT");
  EXPECT_EQ(value(user, "SELECT count(*) FROM old"), "2");
  EXPECT_EQ(names(path("live")),
            (std::vector<std::string>{"shop.db", "shop.db-shm", "shop.db-wal"}));
  user.reset();

  // A program that died left a log behind; it must not be played back into the new database.
  const pid_t child = fork();
  if (child == 0) {
    sqlite3* db = nullptr;
    sqlite3_open(live.c_str(), &db);
    sqlite3_exec(db, "INSERT INTO old VALUES (3)", nullptr, nullptr, nullptr);
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(std::filesystem::exists(live + "-wal"));
  {
    auto target = open_sqlite_target(live, context_);
    ASSERT_TRUE(target.value()->clear());
    const auto result = restore(*source.value(), bytes, *target.value());
    ASSERT_TRUE(result) << result.error().message;
  }
  EXPECT_FALSE(difference(fingerprint(path("from")), fingerprint(live)));
  EXPECT_EQ(names(path("live")), (std::vector<std::string>{"shop.db"}));
  EXPECT_EQ(std::filesystem::status(live).permissions(), std::filesystem::perms(0640));
}

// The real files, where one call of the seam fails.
class FailingFiles final : public FileSystem {
 public:
  explicit FailingFiles(int call) : left_(call) {}
  bool failed() const { return left_ < 0; }

  FileResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                         std::uint32_t permissions) override {
    if (fails()) return FileError{EIO, "open", path};
    SEALANE_TRY(auto file, real_.open(path, mode, permissions));
    return std::unique_ptr<File>(std::make_unique<FailingFile>(*this, std::move(file)));
  }
  FileResult<FileStatus> status(const std::string& path) override {
    if (fails()) return FileError{EIO, "stat", path};
    return real_.status(path);
  }
  FileResult<std::vector<DirectoryEntry>> list(const std::string& path) override {
    return real_.list(path);
  }
  FileResult<void> create_directory(const std::string& path, std::uint32_t permissions) override {
    return real_.create_directory(path, permissions);
  }
  FileResult<void> rename(const std::string& from, const std::string& to,
                          RenameMode mode) override {
    if (fails()) return FileError{EIO, "rename", to};
    return real_.rename(from, to, mode);
  }
  FileResult<void> remove(const std::string& path) override {
    if (fails()) return FileError{EIO, "remove", path};
    return real_.remove(path);
  }
  FileResult<void> remove_directory(const std::string& path) override {
    return real_.remove_directory(path);
  }
  FileResult<void> sync_directory(const std::string& path) override {
    if (fails()) return FileError{EIO, "fsync", path};
    return real_.sync_directory(path);
  }
  FileResult<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    return real_.lock(path);
  }

 private:
  class FailingFile final : public File {
   public:
    FailingFile(FailingFiles& owner, std::unique_ptr<File> file)
        : owner_(owner), file_(std::move(file)) {}
    FileResult<std::size_t> read(MutableByteSpan out) override { return file_->read(out); }
    FileResult<std::size_t> read_at(std::uint64_t offset, MutableByteSpan out) override {
      return file_->read_at(offset, out);
    }
    FileResult<void> write(ByteSpan data) override {
      if (owner_.fails()) return FileError{ENOSPC, "write", "the file"};
      return file_->write(data);
    }
    FileResult<void> write_at(std::uint64_t offset, ByteSpan data) override {
      return file_->write_at(offset, data);
    }
    FileResult<void> truncate(std::uint64_t size) override { return file_->truncate(size); }
    FileResult<void> sync() override {
      if (owner_.fails()) return FileError{EIO, "fsync", "the file"};
      return file_->sync();
    }
    FileResult<FileStatus> status() override { return file_->status(); }

   private:
    FailingFiles& owner_;
    std::unique_ptr<File> file_;
  };
  bool fails() { return left_-- == 0; }

  FileSystem& real_ = system_files();
  int left_;
};

TEST_F(Sqlite, WhicheverCallFailsOldOrNewIsWhole) {
  make(path("from"));
  auto source = open_sqlite_source(path("from"), context_);
  const Bytes bytes = dump(*source.value()).value();
  const Fingerprint fresh = fingerprint(path("from"));
  std::filesystem::create_directory(path("live"));
  const std::string live = path("live/shop.db");
  int kept = 0;
  for (int call = 0;; ++call) {
    ASSERT_LT(call, 100);
    std::filesystem::remove(live);
    sql(open_db(live),
        "PRAGMA journal_mode = WAL; CREATE TABLE old(x); INSERT INTO old VALUES (1)");
    const Fingerprint old = fingerprint(live);
    FailingFiles files(call);
    DriverContext context{files, system_clock(), system_random(), cancel_};
    const auto result = [&] {
      auto target = open_sqlite_target(live, context).value();
      const auto cleared = target->clear();
      return cleared ? restore(*source.value(), bytes, *target) : cleared;
    }();
    const Fingerprint now = fingerprint(live);
    if (!files.failed()) {
      ASSERT_TRUE(result) << result.error().message;
      ASSERT_FALSE(difference(fresh, now));
      break;
    }
    const bool is_new = !difference(fresh, now);
    ASSERT_TRUE(is_new || !difference(old, now)) << "call " << call;
    EXPECT_TRUE(is_new || !result) << "call " << call;  // what was acknowledged is there
    EXPECT_EQ(names(path("live")), (std::vector<std::string>{"shop.db"})) << "call " << call;
    if (!is_new) ++kept;
  }
  EXPECT_GT(kept, 5);
}

TEST_F(Sqlite, TargetReplacesAFileThatIsNoDatabase) {
  make(path("from"));
  auto source = open_sqlite_source(path("from"), context_);
  const Bytes bytes = dump(*source.value()).value();
  write_file(path("x"), "not a database");
  write_file(path("x-wal"), "not a log");
  auto target = open_sqlite_target(path("x"), context_);
  EXPECT_FALSE(target.value()->is_empty().value());
  ASSERT_TRUE(target.value()->clear());
  const auto result = restore(*source.value(), bytes, *target.value());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(std::filesystem::exists(path("x-wal")));
  EXPECT_FALSE(difference(fingerprint(path("from")), fingerprint(path("x"))));
}

TEST_F(Sqlite, TargetDroppedHalfWayLeavesNothing) {
  make(path("from"));
  std::filesystem::create_directory(path("to"));
  auto source = open_sqlite_source(path("from"), context_);
  const Bytes bytes = dump(*source.value()).value();
  {
    auto target = open_sqlite_target(path("to/x.db"), context_);
    auto stream = target.value()->open_stream(source.value()->streams()[0]);
    ASSERT_TRUE(stream.value()->write(ByteSpan(bytes).first(5000)));
    EXPECT_EQ(names(path("to")).size(), 1u);
  }
  EXPECT_TRUE(names(path("to")).empty());
}

TEST_F(Sqlite, ThrowAwayRestoresComparesAndDisappears) {
  make(path("from"), "PRAGMA journal_mode = WAL;");
  std::filesystem::create_directory(path("drills"));
  auto source = open_source("sqlite:" + path("from"), context_);
  ASSERT_TRUE(source) << source.error().message;
  const Bytes bytes = dump(*source.value()).value();
  const auto expected = source.value()->fingerprint();
  {
    auto drill = make_throw_away("sqlite", {}, path("drills"), context_);
    ASSERT_TRUE(drill) << drill.error().message;
    ASSERT_TRUE(restore(*source.value(), bytes, drill.value()->target()));
    EXPECT_FALSE(difference(*expected.value(), *drill.value()->target().fingerprint().value()));
    EXPECT_EQ(names(path("drills")).size(), 1u);
  }
  EXPECT_TRUE(names(path("drills")).empty());
}

TEST(PageSink, FillsInTheLockPageInTheMiddleAndAtTheEnd) {
  const Bytes page(512, std::byte{1});
  for (const std::uint32_t lock_page : {3u, 4u}) {
    PageSink sink(page, 4, lock_page);
    for (const std::uint32_t number : {2u, 3u, 4u}) {
      ASSERT_TRUE(number == lock_page || sink.write((number - 1) * 512, page));
    }
    ASSERT_TRUE(sink.write(0, page));
    ASSERT_TRUE(sink.complete());
    Bytes expected(4 * 512, std::byte{1});
    std::fill_n(expected.begin() + (lock_page - 1) * 512, 512, std::byte{0});
    EXPECT_EQ(to_bytes(sink.ready()), expected);
  }
}

TEST(PageSink, RefusesPagesOutOfOrderAndPartsOfPages) {
  const Bytes page(512, std::byte{1});
  {
    PageSink sink(page, 5, 0);
    EXPECT_TRUE(sink.write(512, page));
    EXPECT_FALSE(sink.complete());  // pages are missing
    EXPECT_FALSE(sink.write(3 * 512, page));
    EXPECT_EQ(sink.fault(), PageSink::Fault::kOrder);
  }
  {
    PageSink sink(page, 5, 0);
    EXPECT_FALSE(sink.write(100, page));
    EXPECT_EQ(sink.fault(), PageSink::Fault::kNotAPage);
  }
  PageSink sink(page, 2, 0);
  EXPECT_TRUE(sink.write(512, page));
  EXPECT_FALSE(sink.complete());  // page 1 was never committed
  Bytes other = page;
  other[24] = std::byte{9};  // a counter
  EXPECT_TRUE(sink.write(0, other));
  EXPECT_TRUE(sink.complete());
  other[100] = std::byte{9};  // content
  EXPECT_TRUE(sink.write(0, other));
  EXPECT_FALSE(sink.complete());
  EXPECT_FALSE(sink.write(1024, page));  // one too many
}

}  // namespace
}  // namespace sealane::backup
