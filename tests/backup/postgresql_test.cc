// Goal: what a PostgreSQL dump holds comes back, is proven equal by the fingerprint of its own
// moment, and nothing that went wrong ends well. Method: real servers, started privately by our own
// throw-away code; fake tools in PATH where a real one cannot be made to misbehave.
#include "backup/postgresql.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <thread>

#include "backup/pg_archive.h"
#include "backup/pg_client.h"
#include "backup/pg_globals.h"
#include "backup/pg_loader.h"
#include "backup/pg_rows.h"
#include "backup/process.h"
#include "backup/source.h"
#include "sealane/store/system.h"
#include "tests/support/data_path.h"

namespace sealane::backup {
namespace {

const std::vector<std::string> kTools = {"psql", "pg_dump", "pg_dumpall", "pg_restore"};

bool installed() {
  for (const auto& tool : kTools) {
    if (!find_program(tool)) return false;
  }
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (find_program(entry.path().string() + "/bin/initdb")) return true;
  }
  return false;
}

std::string message(const Result<void, Error>& result) {
  return result.has_value() ? "" : result.error().message;
}

// The folder in which a private server listens: the only place its socket can be.
std::string socket_below(const std::string& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(
           folder, std::filesystem::directory_options::skip_permission_denied)) {
    if (entry.path().filename() == ".s.PGSQL.5432") return entry.path().parent_path().string();
  }
  return {};
}

std::string percent_slashes(const std::string& path) {
  std::string out;
  for (const char c : path) out += c == '/' ? "%2F" : std::string(1, c);
  return out;
}

// One server for all tests: a second or two to start under sanitizers.
class PostgreSql : public ::testing::Test {
 protected:
  struct Server {
    TemporaryFolder folder;
    flow::Cancellation cancel;
    DriverContext context{system_files(), system_clock(), system_random(), cancel};
    std::unique_ptr<ThrowAway> server;
    std::string sockets;
    explicit Server(TemporaryFolder f) : folder(std::move(f)) {}
  };

  static std::unique_ptr<Server> start(const std::map<std::string, std::string>& properties = {}) {
    auto folder = TemporaryFolder::create("sealane-test-", "/tmp");
    if (!folder.has_value()) return nullptr;
    auto made = std::make_unique<Server>(std::move(folder).value());
    auto server = make_postgresql_throw_away(properties, made->folder.path(), made->context);
    EXPECT_TRUE(server.has_value()) << (server.has_value() ? "" : server.error().message);
    if (!server.has_value()) return nullptr;
    made->server = std::move(server).value();
    made->sockets = socket_below(made->folder.path());
    return made;
  }

  static void SetUpTestSuite() {
    if (installed()) shared = start().release();
  }
  static void TearDownTestSuite() {
    delete shared;
    shared = nullptr;
  }
  void SetUp() override {
    if (!installed()) GTEST_SKIP() << "PostgreSQL's server or client is not installed";
    ASSERT_NE(shared, nullptr);
  }

  static std::string url(const std::string& database, const std::string& user = "postgres") {
    return "postgresql://" + user + "@" + percent_slashes(shared->sockets) + "/" + database;
  }
  // Runs SQL as the superuser.
  static std::string sql(const std::string& database, const std::string& script) {
    ToolCommand command;
    command.program = "psql";
    command.arguments = {
        "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", shared->sockets, "-U", "postgres", "-d", database,
        "-f",    "-"};
    command.pipe_input = true;
    command.pipe_output = true;
    auto tool = Tool::start(command, nullptr);
    EXPECT_TRUE(tool.has_value());
    EXPECT_TRUE(tool.value()->write(as_bytes(script + "\n\\q\n")).has_value());
    std::string text;
    std::array<std::byte, 4096> buffer{};
    for (;;) {
      auto got = tool.value()->read(buffer);
      EXPECT_TRUE(got.has_value()) << (got.has_value() ? "" : got.error().message);
      if (!got.has_value() || got.value() == 0) break;
      text += as_text(ByteSpan(buffer).first(got.value()));
    }
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  static std::string fresh_database(const std::string& name) {
    sql("postgres", "DROP DATABASE IF EXISTS " + name + " WITH (FORCE); CREATE DATABASE " + name +
                        " TEMPLATE template0;");
    return name;
  }
  static DriverContext& context() { return shared->context; }

  struct Taken {
    std::vector<StreamDescription> streams;
    std::vector<std::string> contents;
    Fingerprint fingerprint;
    std::map<std::string, std::string> properties;
  };
  // `between`: runs after the moment was taken, before the dump is read.
  static Result<Taken, Error> take(
      const std::string& source, const std::function<void()>& between = [] {}) {
    SEALANE_TRY(auto snapshot, open_postgresql_source(source, context()));
    between();
    Taken taken;
    taken.streams = snapshot->streams();
    Bytes buffer(64 * 1024);
    for (std::size_t i = 0; i < taken.streams.size(); ++i) {
      SEALANE_TRY(auto stream, snapshot->open_stream(i));
      std::string content;
      for (;;) {
        SEALANE_TRY(const std::size_t got, stream->read(buffer));
        if (got == 0) break;
        content += as_text(ByteSpan(buffer).first(got));
      }
      taken.contents.push_back(std::move(content));
    }
    SEALANE_TRY(auto fingerprint, snapshot->fingerprint());
    taken.fingerprint = *fingerprint;
    taken.properties = snapshot->properties();
    return taken;
  }
  static Result<void, Error> restore(const Taken& taken, Target& target) {
    for (std::size_t i = 0; i < taken.streams.size(); ++i) {
      SEALANE_TRY(auto stream, target.open_stream(taken.streams[i]));
      ByteSpan rest = as_bytes(taken.contents[i]);
      while (!rest.empty()) {
        const std::size_t size = std::min<std::size_t>(rest.size(), 100'000);
        SEALANE_TRY(stream->write(rest.first(size)));
        rest = rest.subspan(size);
      }
      SEALANE_TRY(stream->finish());
    }
    return target.finish();
  }
  static std::string round_trip(const Taken& taken, Target& target) {
    target.expect_fingerprint(FingerprintLevel::kContent);
    const auto done = restore(taken, target);
    if (!done.has_value()) return done.error().message;
    auto found = target.fingerprint();
    if (!found.has_value()) return found.error().message;
    return difference(taken.fingerprint, *found.value()).value_or("");
  }

  static Server* shared;
};
PostgreSql::Server* PostgreSql::shared = nullptr;

constexpr const char* kEverything = R"(
CREATE SCHEMA "Shop ö";
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE place AS (street text, number int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE types (id bigserial PRIMARY KEY, i2 smallint, i4 int, i8 bigint, n numeric(20,5), nn
  numeric,
  r real, d double precision, m money, c char(5), v varchar(20), t text, b bytea, ts timestamp,
  tz timestamptz, dt date, ti time, tiz timetz, iv interval, bo boolean, e mood, p point, l line,
  ls lseg, bx box, pa path, po polygon, ci circle, cd cidr, ine inet, ma macaddr, bi bit(3),
  vb varbit, tv tsvector, tq tsquery, u uuid, x xml, j json, jb jsonb, ai int[], at text[][],
  pl place, po2 positive, r4 int4range, mr int8multirange, ob oid, rg regclass, nu text);
INSERT INTO types (i2, i4, i8, n, nn, r, d, m, c, v, t, b, ts, tz, dt, ti, tiz, iv, bo, e, p, l,
  ls, bx,
  pa, po, ci, cd, ine, ma, bi, vb, tv, tq, u, x, j, jb, ai, at, pl, po2, r4, mr, ob, rg) VALUES
 (-1, 2, 9223372036854775807, 12345.67891, 'NaN', 0.1, 1e-300, '12.34', 'ab', 'x',
  E'tab\tline\n"\\q''',
  '\x00ff10', 'infinity', '2026-11-20 14:00:00+05', '0044-03-15 BC', '23:59:59.999999',
  '12:00:00+02',
  '1 year 2 days 03:04:05.6', true, 'ok', '(1,2)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(1,1))',
  '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '<(0,0),1>', '10.0.0.0/8', '::1', '08:00:2b:01:02:03',
  B'101', B'11', 'a:1 b:2', 'a & b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a>ü</a>', '{"a": 1}',
  '{"b": [1, 2]}', '{1,NULL,3}', '{{a,b},{c,d}}', '("Main St",5)', 7, '[1,5)', '{[1,2),[5,9)}', 42,
  'pg_catalog.pg_class'),
 (NULL, NULL, NULL, NULL, NULL, 'NaN', '-Infinity', NULL, NULL, '', '日本語 emoji 🚢', '', NULL, NULL,
  NULL, NULL, NULL, NULL, false, 'happy', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{}', NULL, NULL, NULL, 'empty', NULL, NULL,
  NULL);
CREATE TABLE "Shop ö"."we.ird ""name""" (":a" int, "b\c" text);
INSERT INTO "Shop ö"."we.ird ""name""" VALUES (1, 'x'), (2, NULL), (2, NULL);
CREATE TABLE empty_table (a int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE t (t text, dropped int, "T" int); ALTER TABLE t DROP COLUMN dropped;
INSERT INTO t VALUES ('t', 1);
CREATE TABLE parent (a int); CREATE TABLE child (own text) INHERITS (parent);
ALTER TABLE parent ADD COLUMN late int;
INSERT INTO parent VALUES (1, 2); INSERT INTO child VALUES (1, 'own', 3);
CREATE TABLE parts (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (1000) PARTITION BY LIST (v);
CREATE TABLE parts_high_x PARTITION OF parts_high FOR VALUES IN ('x');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
INSERT INTO parts SELECT g, 'x' FROM generate_series(0, 1500, 7) g;
CREATE SEQUENCE counter START -5 MINVALUE -100; SELECT nextval('counter'); SELECT
  nextval('counter');
CREATE SEQUENCE untouched;
CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY, sq int GENERATED ALWAYS AS (id_in *
  id_in) STORED, id_in int);
INSERT INTO ident (id_in) SELECT generate_series(1, 50);
CREATE MATERIALIZED VIEW stale AS SELECT count(*) AS n FROM ident;
INSERT INTO ident (id_in) VALUES (99);
CREATE VIEW a_view AS SELECT * FROM parts;
CREATE UNLOGGED TABLE unlogged (a int); INSERT INTO unlogged VALUES (1);
CREATE INDEX ON types (i4); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true);
SELECT lo_from_bytea(4711, '\x0102030405'); SELECT lo_from_bytea(0, '');
SELECT lo_from_bytea(4712, decode(repeat('ab', 2500000), 'hex'));
)";

TEST_F(PostgreSql, EveryTypeAndObjectComesBackEqual) {
  const std::string db = fresh_database("everything");
  sql(db, kEverything);
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  ASSERT_EQ(taken.value().streams.size(), 2u);
  EXPECT_EQ(taken.value().streams[0].name, "globals");
  EXPECT_TRUE(taken.value().contents[1].starts_with("PGDMP"));
  const auto& items = taken.value().fingerprint.items;
  const auto find = [&](const std::string& name) {
    const auto it = std::ranges::find(items, name, &Fingerprint::Item::name);
    return it == items.end() ? Fingerprint::Item{} : *it;
  };
  EXPECT_EQ(find("public.types").count, 2u);
  EXPECT_EQ(find("public.parts_high_x").count + find("public.parts_low").count +
                find("public.parts_rest").count,
            215u);
  EXPECT_EQ(find("public.child").count, 1u);
  EXPECT_EQ(find("(large objects)").count, 3u);
  EXPECT_EQ(find("public.parent").count, 1u) << "the children's rows are not the parent's";
  EXPECT_FALSE(find("public.counter").digest.empty());
  EXPECT_EQ(taken.value().properties.at("encoding"), "UTF8");
  EXPECT_EQ(taken.value().properties.at("role_passwords"), "included");

  auto server = start(taken.value().properties);
  ASSERT_NE(server, nullptr);
  auto empty = server->server->target().is_empty();
  ASSERT_TRUE(empty.has_value());
  EXPECT_TRUE(empty.value());
  EXPECT_EQ(round_trip(taken.value(), server->server->target()), "");
  EXPECT_FALSE(server->server->target().is_empty().value());
}

// Two computations of the same sums: ours of the archive's rows, the server's of its own.
TEST_F(PostgreSql, RowsOfTheArchiveGiveTheServersSums) {
  const std::string db = fresh_database("sums");
  sql(db, kEverything);
  sql(db, R"(
    CREATE TABLE simple (i4 int, i2 smallint, i8 bigint, t text, v varchar, c char(7), b boolean, u
      uuid, "Co,l ""q" int);
    INSERT INTO simple SELECT (random() * 4e9 - 2e9)::int, (random() * 6e4 - 3e4)::int,
      ((random() - 0.5) * 1.8e19)::bigint, md5(g::text) || E'\t\\\n' || repeat(chr(g % 500 + 1), g %
      40), substr(md5(g::text), 1, g % 30), chr(g % 90 + 33), g % 3 = 0, md5(g::text)::uuid, g
      FROM generate_series(1, 5000) g;
    INSERT INTO simple VALUES (NULL); INSERT INTO simple VALUES (-2147483648, -32768, -9223372036854775808, '', '', '', true,
      '00000000-0000-0000-0000-000000000000', 0);
    CREATE TABLE texts (bytes bytea, at timestamptz, n numeric, d float8, r real, day date, iv
      interval, e mood, js jsonb, names text[], net inet, bits varbit, "Up" xml, period daterange);
    INSERT INTO texts SELECT decode(md5(g::text), 'hex'), 'epoch'::timestamptz + g * interval
      '3 days 7 hours 0.25 seconds', g / 7.0, random() * 1e20, random(), current_date - g, g * interval
      '1 month 2.5 seconds', (ARRAY['sad', 'ok', 'happy'])[g % 3 + 1]::mood,
      json_build_object('a', g, 'b"', '(x, y\z)'), ARRAY[g::text, NULL, 'a "b", {c}', ''],
      '10.0.0.0/8'::inet + g, g::bit(20)::varbit, NULL, daterange(current_date, current_date + g)
      FROM generate_series(1, 3000) g;
    INSERT INTO texts (bytes, at) VALUES ('', 'infinity'), ('\x00', '0044-03-15 12:00:00 BC'),
      (NULL, NULL);
    CREATE TABLE money (m money);
    CREATE TABLE none_left (a int, b int GENERATED ALWAYS AS (a) STORED);
  )");
  for (const auto level : {FingerprintLevel::kContent, FingerprintLevel::kStructure}) {
    auto connection = PgConnection::from_url(url(db));
    ASSERT_TRUE(connection.has_value());
    auto session = PgSession::open(connection.value(), context().cancel);
    ASSERT_TRUE(session.has_value()) << session.error().message;
    auto relations = pg_relations(*session.value());
    ASSERT_TRUE(relations.has_value());
    const auto cannot = [&](const PgRelation& relation) {
      return relation.kind != 'r' ||
             (level == FingerprintLevel::kContent && !CopyRows::can_hash(relation));
    };
    std::erase_if(relations.value(), cannot);
    ArchiveRows rows(relations.value(), level);
    ToolCommand dump = connection.value().command("pg_dump");
    dump.arguments = {"--format=custom", "--compress=0"};
    dump.environment.emplace_back("PGTZ", "UTC");
    const auto archive = run_tool(dump, nullptr, 64 * 1024 * 1024);
    ASSERT_TRUE(archive.has_value()) << archive.error().message;
    // In odd pieces, so that rows are cut anywhere.
    ArchiveReader reader(&rows);
    for (std::size_t at = 0; at < archive.value().size(); at += 997) {
      ASSERT_TRUE(reader.feed(as_bytes(std::string_view(archive.value()).substr(at, 997))));
    }
    ASSERT_TRUE(reader.finish().has_value());
    std::set<std::string> known;
    for (std::size_t i = 0; i < rows.tables().size(); ++i) {
      if (!rows.sums(i)) continue;
      const PgRelation& table = rows.tables()[i];
      known.insert(table.name);
      const auto sums = session.value()->value(level == FingerprintLevel::kContent
                                                   ? row_digest_query(table)
                                                   : "SELECT count(*) FROM ONLY " + table.quoted);
      ASSERT_TRUE(sums.has_value());
      EXPECT_EQ(*rows.sums(i), sums.value()) << table.name;
    }
    std::set<std::string> expected = {"simple",          "texts",     "t",          "parent",
                                      "child",           "parts_low", "parts_rest", "parts_high_x",
                                      "we.ird \"name\"", "unlogged",  "empty_table"};
    if (level == FingerprintLevel::kStructure) {
      for (const char* name : {"types", "ident", "money", "none_left", "no_columns"}) {
        expected.insert(name);
      }
    }
    EXPECT_EQ(known, expected) << "what is not known here is asked of the server";
  }
}

// A server whose tables cannot be hashed here gives the same fingerprint.
TEST_F(PostgreSql, AnswersAreBoundedAndReadLineByLine) {
  auto connection = PgConnection::from_url(url("postgres"));
  ASSERT_TRUE(connection.has_value());
  const auto ask = [&](std::size_t limit, std::size_t taken) {
    auto session = PgSession::open(connection.value(), context().cancel).value();
    std::size_t lines = 0;
    const auto asked = session->each_line(
        "SELECT pg_catalog.repeat('x', 99) FROM pg_catalog.generate_series(1, 1000)", limit,
        [&](std::string_view line) {
          EXPECT_EQ(line, std::string(99, 'x'));
          return ++lines <= taken;
        });
    EXPECT_LE(lines, taken + 1);
    if (!asked.has_value()) return asked.error().message;
    EXPECT_EQ(session->value("SELECT 'next'").value(), "next");
    return std::to_string(lines);
  };
  EXPECT_EQ(ask(200'000, 1000), "1000");
  EXPECT_NE(ask(50'000, 1000).find("more names than can be handled"), std::string::npos);
  EXPECT_NE(ask(200'000, 500).find("cannot be read"), std::string::npos);
}

TEST_F(PostgreSql, ServerIsAskedWhereTheArchiveDoesNotTell) {
  const std::string db = fresh_database("asked");
  sql(db,
      "CREATE TABLE a (i int, b bytea, at timestamptz); INSERT INTO a SELECT g, "
      "decode(md5(g::text), 'hex'), now() FROM generate_series(1, 100) g;"
      "CREATE TABLE wide (t text); INSERT INTO wide SELECT repeat('x', 2000000);");
  const auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  // bytea in a form that the text of a fingerprint does not have; another time zone.
  const auto other =
      take(url(db) + "?options=-c%20bytea_output%3Descape%20-c%20timezone%3DAsia/Tokyo");
  ASSERT_TRUE(other.has_value()) << other.error().message;
  EXPECT_NE(taken.value().contents[1], other.value().contents[1]);
  EXPECT_EQ(difference(taken.value().fingerprint, other.value().fingerprint), std::nullopt);
  auto server = start(taken.value().properties);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(round_trip(taken.value(), server->server->target()), "");
}

TEST_F(PostgreSql, SettingsAndRightsOfTheDatabaseComeBack) {
  const std::string db = fresh_database("settings_source");
  sql("postgres", R"(
    DROP ROLE IF EXISTS settings_app, settings_owner;
    CREATE ROLE settings_app; CREATE ROLE settings_owner;
    ALTER DATABASE settings_source OWNER TO settings_owner;
    ALTER DATABASE settings_source SET work_mem = '7MB';
    ALTER DATABASE settings_source SET application_name = E'a''b\\c;d';
    ALTER DATABASE settings_source SET default_transaction_read_only = on;
    ALTER ROLE settings_app IN DATABASE settings_source SET search_path = 'a b', public;
    ALTER DATABASE settings_source CONNECTION LIMIT 50;
    COMMENT ON DATABASE settings_source IS 'it''s';
    REVOKE ALL ON DATABASE settings_source FROM PUBLIC;
    GRANT CONNECT ON DATABASE settings_source TO settings_app WITH GRANT OPTION;)");
  sql(db,
      "SET default_transaction_read_only = off; CREATE TABLE t AS SELECT generate_series(1, 1000) "
      "AS a");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  const auto settings_of = [](const std::string& name) {
    return sql(
        "postgres",
        "SELECT s.setrole::regrole, s.setconfig FROM pg_db_role_setting s JOIN pg_database d "
        "ON d.oid = s.setdatabase WHERE d.datname = '" +
            name +
            "' ORDER BY 1; SELECT d.datconnlimit, shobj_description(d.oid, 'pg_database'), "
            "(SELECT string_agg(a.privilege_type || ' ' || a.grantee::regrole || "
            "a.is_grantable, ', ' ORDER BY a.privilege_type) FROM aclexplode(d.datacl) a "
            "WHERE a.grantee <> d.datdba) FROM pg_database d WHERE d.datname = '" +
            name + "'");
  };
  const std::string settings = settings_of(db);
  EXPECT_NE(settings.find("settings_app|{\"search_path=\\\"a b\\\", public\"}"), std::string::npos)
      << settings;

  const std::string copy = fresh_database("settings_target");
  auto target = open_postgresql_target(url(copy), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
  EXPECT_EQ(settings_of(copy), settings);
  ASSERT_EQ(target.value()->warnings().size(), 1u);
  EXPECT_NE(target.value()->warnings()[0].find(
                "belonged to the role settings_owner and belongs to postgres here"),
            std::string::npos)
      << target.value()->warnings()[0];

  // What the server does not know costs nothing else.
  std::string& archive = taken.value().contents[1];
  const auto at = archive.find("SET work_mem");
  ASSERT_NE(at, std::string::npos);
  archive[at + 4] = 'q';
  fresh_database(copy);
  target = open_postgresql_target(url(copy), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
  ASSERT_EQ(target.value()->warnings().size(), 2u);
  EXPECT_NE(target.value()->warnings()[1].find("qork_mem"), std::string::npos)
      << target.value()->warnings()[1];
  EXPECT_EQ(settings_of(copy), "-1||");
  fresh_database(db);
  fresh_database(copy);
  sql("postgres", "DROP ROLE settings_app, settings_owner");
}

TEST_F(PostgreSql, OneChangedValueIsSeen) {
  const std::string db = fresh_database("changed");
  sql(db,
      "CREATE TABLE a (i int, s text); INSERT INTO a SELECT g, g FROM generate_series(1,1000) g;"
      "CREATE SEQUENCE s; SELECT lo_from_bytea(7, '\\x00')");
  const auto print = [&] { return take(url(db)).value().fingerprint; };
  const auto before = print();
  EXPECT_EQ(difference(before, print()), std::nullopt);
  sql(db,
      "BEGIN; CREATE TABLE b AS TABLE a; TRUNCATE a; INSERT INTO a SELECT * FROM b ORDER BY i "
      "DESC; DROP TABLE b; COMMIT");
  EXPECT_EQ(difference(before, print()), std::nullopt) << "the order of rows means nothing";
  for (const auto& [change, undo] : std::vector<std::pair<std::string, std::string>>{
           {"UPDATE a SET s = 'x' WHERE i = 500", "UPDATE a SET s = '500' WHERE i = 500"},
           {"UPDATE a SET s = NULL WHERE i = 5", "UPDATE a SET s = '5' WHERE i = 5"},
           {"DELETE FROM a WHERE i = 1", "INSERT INTO a VALUES (1, '1')"},
           {"SELECT nextval('s')", "SELECT setval('s', 1, false)"},
           {"SELECT lo_put(7, 0, '\\x01')", "SELECT lo_put(7, 0, '\\x00')"},
           {"ALTER TABLE a ALTER i TYPE bigint", "ALTER TABLE a ALTER i TYPE int"},
           {"CREATE INDEX changed ON a (i)", "DROP INDEX changed"}}) {
    sql(db, change);
    EXPECT_NE(difference(before, print()), std::nullopt) << change;
    sql(db, undo);
    EXPECT_EQ(difference(before, print()), std::nullopt) << undo;
  }
}

// Each type whose hash is taken of the value itself, and those where only the text tells.
TEST_F(PostgreSql, OneChangedValueOfEachTypeIsSeen) {
  const std::string db = fresh_database("changed_types");
  sql(db,
      "CREATE TABLE a (id int, i2 smallint, i4 int, i8 bigint, t text, v varchar, c char(5), c0 "
      "bpchar, f bool, u uuid, n numeric, d float8);"
      "INSERT INTO a SELECT g, g, g, 0, g, g, g, 'x', true, md5(g::text)::uuid, g, 0 FROM "
      "generate_series(1, 9) g");
  const auto print = [&] { return take(url(db)).value().fingerprint; };
  const auto before = print();
  for (const std::string change : {"i2 = -1",
                                   "i4 = -1",
                                   "i8 = -1",
                                   "i8 = 4294967297",
                                   "i8 = 4294967296",
                                   "t = '5 '",
                                   "v = '5 '",
                                   "c = ''",
                                   "c0 = 'x '",
                                   "f = false",
                                   "u = '00000000-0000-0000-0000-000000000000'",
                                   "n = 5.0",
                                   "d = '-0'",
                                   "i2 = NULL",
                                   "i4 = NULL",
                                   "i8 = NULL",
                                   "t = NULL",
                                   "v = NULL",
                                   "c = NULL",
                                   "c0 = NULL",
                                   "f = NULL",
                                   "u = NULL",
                                   "n = NULL",
                                   "d = NULL"}) {
    sql(db, "CREATE TABLE kept AS TABLE a; UPDATE a SET " + change + " WHERE id = 5");
    EXPECT_NE(difference(before, print()), std::nullopt) << change;
    sql(db, "TRUNCATE a; INSERT INTO a TABLE kept; DROP TABLE kept");
  }
  EXPECT_EQ(difference(before, print()), std::nullopt);
  for (const std::string column : {"i2", "i4", "t", "v", "c", "u", "n"}) {
    sql(db, "CREATE TABLE kept AS TABLE a; UPDATE a SET " + column + " = kept." + column +
                " FROM kept WHERE kept.id = 11 - a.id AND a.id IN (5, 6)");
    EXPECT_NE(difference(before, print()), std::nullopt) << column << " of two rows exchanged";
    sql(db, "TRUNCATE a; INSERT INTO a TABLE kept; DROP TABLE kept");
  }
}

TEST_F(PostgreSql, MomentHoldsWhileOthersWrite) {
  const std::string db = fresh_database("busy");
  sql(db,
      "CREATE TABLE w (id serial, v text); INSERT INTO w (v) SELECT md5(g::text) FROM "
      "generate_series(1,20000) g;"
      "CREATE TABLE cleared AS SELECT * FROM w");
  std::atomic<bool> stop{false};
  std::thread writer;
  auto taken = take(url(db), [&] {
    // Rows, sequences, new tables and a TRUNCATE that waits for our lock.
    writer = std::thread([&] {
      for (int i = 0; !stop; ++i) {
        sql(db,
            "INSERT INTO w (v) SELECT 'new' FROM generate_series(1,100); DELETE FROM w WHERE id % "
            "7 = " +
                std::to_string(i % 7) + "; CREATE TABLE new" + std::to_string(i) + " (a int)");
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  });
  stop = true;
  writer.join();
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  sql(db, "TRUNCATE cleared");
  const auto& items = taken.value().fingerprint.items;
  EXPECT_EQ(std::ranges::find(items, "public.w", &Fingerprint::Item::name)->count, 20000u);
  auto server = start(taken.value().properties);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(round_trip(taken.value(), server->server->target()), "");
}

TEST_F(PostgreSql, RestoresIntoADatabaseAfterClearing) {
  const std::string db = fresh_database("original");
  sql(db,
      "CREATE EXTENSION hstore; CREATE TABLE a (h hstore); INSERT INTO a VALUES ('k=>v'); CREATE "
      "SCHEMA x");
  sql("postgres", "DROP ROLE IF EXISTS shop_owner; CREATE ROLE shop_owner LOGIN PASSWORD 'first'");
  sql(db, "ALTER TABLE a OWNER TO shop_owner");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  EXPECT_NE(taken.value().contents[0].find("shop_owner"), std::string::npos);
  // Somebody changed the role's password since; a restore must not bring back the old one.
  sql("postgres", "ALTER ROLE shop_owner PASSWORD 'second' VALID UNTIL '2030-01-01'");
  const std::string password =
      sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_owner'");

  const std::string to = fresh_database("copy");
  auto target = open_postgresql_target(url(to), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_TRUE(target.value()->is_empty().value());
  sql(to,
      "CREATE EXTENSION hstore; CREATE SCHEMA other; CREATE TABLE other.z (h public.hstore);"
      "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_from_bytea(9, "
      "'\\x00');"
      "CREATE PUBLICATION pub FOR ALL TABLES");
  EXPECT_FALSE(target.value()->is_empty().value());
  const auto cleared = target.value()->clear();
  ASSERT_TRUE(cleared.has_value()) << message(cleared);
  EXPECT_TRUE(target.value()->is_empty().value());
  EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
  EXPECT_EQ(sql(to, "SELECT tableowner FROM pg_tables WHERE tablename = 'a'"), "shop_owner");
  EXPECT_EQ(sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_owner'"),
            password);
  // Where it is missing, it comes back.
  auto server = start(taken.value().properties);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(round_trip(taken.value(), server->server->target()), "");
}

// How many transactions put the rows there.
constexpr const char* kLoads = "SELECT count(DISTINCT xmin::text) FROM ";
// How many tables somebody asked to be analyzed; the server's own doing does not count.
constexpr const char* kAnalyzed =
    "SELECT count(*) FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL";

TEST_F(PostgreSql, LargeTablesAreLoadedOverTwoConnections) {
  const std::string db = fresh_database("large");
  sql(db,
      "CREATE TABLE small AS SELECT g AS i FROM generate_series(1,10000) g;"
      // Rows of all sizes, also larger than what goes one way at once, with each escape in them.
      "CREATE TABLE large AS SELECT g AS i, repeat(E'a\\\\.\\n\\\\.\\t' || g, CASE WHEN g % 9973 = "
      "0 "
      "  THEN 30000 ELSE 15 END) AS t FROM generate_series(1,120000) g;"
      "ALTER TABLE large ADD PRIMARY KEY (i);"
      "CREATE TABLE z_checked (i int, t text, CHECK (i > 0));"
      "INSERT INTO z_checked SELECT g, repeat('c', 300) FROM generate_series(1,60000) g");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  ASSERT_GT(taken.value().contents[1].size(), 5 * PgLoader::kLargeTable);
  // The second one may come too late on a busy machine, with all rows gone the first way.
  std::string to;
  for (int tries = 0; tries < 5; ++tries) {
    to = fresh_database("large_copy");
    auto target = open_postgresql_target(url(to), context());
    ASSERT_TRUE(target.has_value());
    ASSERT_EQ(round_trip(taken.value(), *target.value()), "");
    if (sql(to, std::string(kLoads) + "large") == "2") break;
  }
  EXPECT_EQ(sql(to, std::string(kLoads) + "large"), "2");
  // A check may look at rows that another transaction has not shown yet.
  EXPECT_EQ(sql(to, std::string(kLoads) + "z_checked"), "1");
  EXPECT_EQ(sql(to, std::string(kLoads) + "small"), "1");

  // A row that cannot be read fails the restore, whichever way it went; so does an end too early.
  auto& archive = taken.value().contents[1];
  const Taken whole = taken.value();
  for (std::size_t back = 1; back < 4; back += 2) {
    taken.value() = whole;
    const auto row = archive.find("\tccc") - 500'000 * back;
    archive[archive.find('\t', row) - 1] = '?';
    auto again = open_postgresql_target(url(fresh_database("large_bad")), context());
    ASSERT_TRUE(again.has_value());
    const auto refused = restore(taken.value(), *again.value());
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("pg_restore failed"), std::string::npos)
        << refused.error().message;
  }
  archive = whole.contents[1].substr(0, whole.contents[1].find("\tccc") - 1'000'000);
  auto again = open_postgresql_target(url(fresh_database("large_bad")), context());
  ASSERT_TRUE(again.has_value());
  EXPECT_FALSE(restore(taken.value(), *again.value()).has_value());
}

TEST_F(PostgreSql, ADomainThatChecksKeepsRowsInOneTransaction) {
  const std::string db = fresh_database("domains");
  sql(db,
      "CREATE DOMAIN positive AS int CONSTRAINT above CHECK (VALUE > 0);"
      "CREATE TABLE a AS SELECT g::positive AS i, repeat('x', 300) AS t "
      "FROM generate_series(1,60000) g");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  ASSERT_GT(taken.value().contents[1].size(), 2 * PgLoader::kLargeTable);
  const std::string to = fresh_database("domains_copy");
  auto target = open_postgresql_target(url(to), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
  EXPECT_EQ(sql(to, std::string(kLoads) + "a"), "1");
}

TEST_F(PostgreSql, OneConnectionIsEnough) {
  const std::string db = fresh_database("one");
  sql("postgres",
      "DROP ROLE IF EXISTS one_only; CREATE ROLE one_only LOGIN CONNECTION LIMIT 1;"
      "ALTER DATABASE one OWNER TO one_only");
  sql(db,
      "CREATE TABLE a AS SELECT g AS i, repeat('x', 300) AS t FROM generate_series(1,60000) g;"
      "ALTER TABLE a OWNER TO one_only");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  const std::string to = fresh_database("one_copy");
  sql("postgres", "ALTER DATABASE one_copy OWNER TO one_only");
  auto target = open_postgresql_target(url(to, "one_only"), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
  EXPECT_EQ(sql(to, std::string(kLoads) + "a"), "1");
  EXPECT_EQ(sql(to, kAnalyzed), "1");
}

TEST_F(PostgreSql, ThePlannerKnowsTheRowsAfterARestore) {
  const std::string db = fresh_database("known");
  // Read only for all who come later, too: the session that collects is there before.
  sql(db,
      "CREATE TABLE a AS SELECT g AS i FROM generate_series(1,5000) g;"
      "ALTER DATABASE known SET default_transaction_read_only = on");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  for (const bool compare : {true, false}) {
    const std::string to = fresh_database(compare ? "known_compared" : "known_copy");
    auto target = open_postgresql_target(url(to), context());
    ASSERT_TRUE(target.has_value()) << target.error().message;
    if (compare) {
      EXPECT_EQ(round_trip(taken.value(), *target.value()), "");
    } else {
      ASSERT_TRUE(restore(taken.value(), *target.value()).has_value());
    }
    EXPECT_EQ(sql(to, kAnalyzed), "1") << compare;
    EXPECT_EQ(sql(to, "SHOW default_transaction_read_only"), "on");
  }
}

TEST_F(PostgreSql, AComparisonThatNobodyAsksForLeavesNoSessionBehind) {
  const std::string db = fresh_database("unknown");
  sql(db, "CREATE TABLE a AS SELECT g AS i FROM generate_series(1,5000) g");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  const std::string to = fresh_database("unknown_copy");
  auto target = open_postgresql_target(url(to), context());
  ASSERT_TRUE(target.has_value()) << target.error().message;
  target.value()->expect_fingerprint(FingerprintLevel::kContent);
  ASSERT_TRUE(restore(taken.value(), *target.value()).has_value());
  target.value().reset();  // nobody asked for the fingerprint, or waited for the other session
  for (int i = 0;; ++i) {
    if (sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'unknown_copy'") ==
        "0")
      break;
    ASSERT_LT(i, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST_F(PostgreSql, CancellationEndsBothWaysOfARestore) {
  const std::string db = fresh_database("stop");
  sql(db, "CREATE TABLE a AS SELECT g AS i, repeat('x', 300) AS t FROM generate_series(1,90000) g");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  flow::Cancellation cancel;
  DriverContext mine{system_files(), system_clock(), system_random(), cancel};
  auto target = open_postgresql_target(url(fresh_database("stop_copy")), mine);
  ASSERT_TRUE(target.has_value());
  auto stream = target.value()->open_stream(taken.value().streams[1]);
  ASSERT_TRUE(stream.has_value());
  ByteSpan rest = as_bytes(taken.value().contents[1]);
  Result<void, Error> written = success();
  while (written.has_value() && !rest.empty()) {
    const std::size_t size = std::min<std::size_t>(rest.size(), 100'000);
    written = stream.value()->write(rest.first(size));
    rest = rest.subspan(size);
    if (rest.size() < 5'000'000) cancel.cancel();
  }
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().kind, ErrorKind::kInterrupted) << written.error().message;
  stream.value().reset();
  target.value().reset();
  for (int i = 0;; ++i) {
    if (sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'stop_copy'") == "0")
      break;
    ASSERT_LT(i, 100);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST_F(PostgreSql, RestoringOverExistingTablesFails) {
  const std::string db = fresh_database("twice");
  sql(db, "CREATE TABLE a (i int)");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value());
  auto target = open_postgresql_target(url(db), context());
  ASSERT_TRUE(target.has_value());
  const auto again = restore(taken.value(), *target.value());
  ASSERT_FALSE(again.has_value());
  EXPECT_NE(again.error().message.find("already exists"), std::string::npos)
      << again.error().message;
}

TEST_F(PostgreSql, DamagedArchiveIsAnError) {
  const std::string db = fresh_database("cut");
  sql(db, "CREATE TABLE a AS SELECT g AS i FROM generate_series(1,10000) g");
  auto taken = take(url(db));
  ASSERT_TRUE(taken.has_value());
  taken.value().contents[1].resize(taken.value().contents[1].size() / 2);
  const std::string to = fresh_database("cut_copy");
  auto target = open_postgresql_target(url(to), context());
  ASSERT_TRUE(target.has_value());
  EXPECT_FALSE(restore(taken.value(), *target.value()).has_value());
}

TEST_F(PostgreSql, WhatCannotBeReachedSaysSo) {
  const auto down = open_postgresql_source("postgresql://x@127.0.0.1:1/db", context());
  ASSERT_FALSE(down.has_value());
  EXPECT_NE(down.error().message.find("Connection refused"), std::string::npos)
      << down.error().message;
  const auto folder = open_postgresql_source("postgresql:///db?host=/nonexistent", context());
  ASSERT_FALSE(folder.has_value());
  EXPECT_NE(folder.error().message.find("No such file"), std::string::npos)
      << folder.error().message;
  const auto database = open_postgresql_source(url("no_such_database"), context());
  ASSERT_FALSE(database.has_value());
  EXPECT_NE(database.error().message.find("\"no_such_database\" does not exist"), std::string::npos)
      << database.error().message;
  const auto parameter = open_postgresql_source("postgresql:///db?sslmod=require", context());
  ASSERT_FALSE(parameter.has_value());
  EXPECT_EQ(parameter.error().kind, ErrorKind::kUsage);
  const auto password = open_postgresql_source("postgresql:///db?password=x", context());
  ASSERT_FALSE(password.has_value());
  EXPECT_EQ(password.error().kind, ErrorKind::kUsage);
}

// A second way in, with passwords: the private server trusts everybody else.
class PostgreSqlPasswords : public PostgreSql {
 protected:
  void SetUp() override {
    PostgreSql::SetUp();
    if (IsSkipped()) return;
    sql("postgres",
        "DO $$ BEGIN CREATE ROLE guarded; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "ALTER ROLE guarded LOGIN PASSWORD 'pa:ss\\wo rd'");
    std::ifstream in(shared->sockets + "/data/pg_hba.conf");
    std::stringstream old;
    old << in.rdbuf();
    if (old.str().find("guarded") == std::string::npos) {
      std::ofstream out(shared->sockets + "/data/pg_hba.conf");
      out << "local all guarded scram-sha-256\n" << old.str();
    }
    const std::string loaded = "SELECT pg_conf_load_time()";
    const std::string before = sql("postgres", loaded);
    sql("postgres", "SELECT pg_reload_conf()");
    while (sql("postgres", loaded) == before) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
};

TEST_F(PostgreSqlPasswords, RightOneWorksAndIsNeverVisible) {
  const std::string db = fresh_database("guarded_db");
  sql(db, "CREATE TABLE a (i int); ALTER TABLE a OWNER TO guarded; INSERT INTO a VALUES (1)");
  std::string seen;
  auto taken = take(url(db, "guarded:pa%3Ass%5Cwo%20rd"), [&] {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      std::ifstream file(entry.path() / "cmdline");
      std::stringstream text;
      text << file.rdbuf();
      seen += text.str();
    }
  });
  ASSERT_TRUE(taken.has_value()) << taken.error().message;
  EXPECT_NE(seen.find("psql"), std::string::npos) << "the session was not running when we looked";
  EXPECT_EQ(seen.find("wo rd"), std::string::npos);
  EXPECT_TRUE(taken.value().properties.at("role_passwords").starts_with("left out"));
  EXPECT_EQ(taken.value().contents[0].find("SCRAM"), std::string::npos);
  auto server = start(taken.value().properties);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(round_trip(taken.value(), server->server->target()), "");
}

TEST_F(PostgreSqlPasswords, WrongOneIsRefusedWithoutBeingRepeated) {
  const std::string db = fresh_database("guarded_db");
  const auto refused = open_postgresql_source(url(db, "guarded:hunter2"), context());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("password authentication failed"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(refused.error().message.find("hunter2"), std::string::npos);
  const auto missing = open_postgresql_source(url(db, "guarded"), context());
  ASSERT_FALSE(missing.has_value());
  EXPECT_NE(missing.error().message.find("give it by ~/.pgpass"), std::string::npos)
      << missing.error().message;
}

TEST_F(PostgreSqlPasswords, TablesThatMayNotBeReadAreAnError) {
  const std::string db = fresh_database("guarded_db");
  sql(db, "CREATE TABLE mine (i int)");
  const auto refused = open_postgresql_source(url(db, "guarded:pa%3Ass%5Cwo%20rd"), context());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("permission denied"), std::string::npos)
      << refused.error().message;
}

// Puts fake tools before the real ones.
class FakeTools {
 public:
  FakeTools() : folder_(TemporaryFolder::create("sealane-test-").value()) {
    const char* path = std::getenv("PATH");
    old_path_ = path != nullptr ? path : "";
    ::setenv("PATH", (folder_.path() + ":" + old_path_).c_str(), 1);
  }
  ~FakeTools() { ::setenv("PATH", old_path_.c_str(), 1); }
  void add(const std::string& name, const std::string& script) {
    const auto file = folder_.write_file(name, as_bytes("#!/bin/sh\n" + script + "\n"));
    ASSERT_TRUE(file.has_value());
    ASSERT_EQ(::chmod(file.value().c_str(), 0755), 0);
  }
  // As Debian does it: a command is a link to one program for all.
  void add_link(const std::string& name, const std::string& target) {
    std::filesystem::create_symlink(folder_.path() + "/" + target, folder_.path() + "/" + name);
  }
  void only_these() { ::setenv("PATH", folder_.path().c_str(), 1); }
  const std::string& real_path() const { return old_path_; }

 private:
  TemporaryFolder folder_;
  std::string old_path_;
};

TEST_F(PostgreSql, OlderClientIsRefused) {
  const std::string db = fresh_database("older");
  FakeTools tools;
  tools.add("pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'");
  const auto refused = open_postgresql_source(url(db), context());
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(
      refused.error().message.find("\"pg_dump (PostgreSQL) 9.6.24\" is older than the server"),
      std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("postgresql-client-"), std::string::npos);
}

TEST_F(PostgreSql, MissingToolNamesThePackage) {
  FakeTools tools;
  tools.only_these();
  const auto refused = open_postgresql_source(url("postgres"), context());
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message,
            "pg_dump is not installed: install the Debian package postgresql-client");
  const auto target = open_postgresql_target(url("postgres"), context());
  ASSERT_FALSE(target.has_value());
  EXPECT_EQ(target.error().message,
            "psql is not installed: install the Debian package postgresql-client");
}

// Debian's wrapper chooses by the host, and takes its time: where the host is known it is not run.
TEST_F(PostgreSql, WrapperIsLeftOutWhereTheHostIsKnown) {
  const std::string db = fresh_database("unwrapped");
  FakeTools tools;
  tools.add("pg_wrapper", "echo 'the wrapper was run' >&2; exit 9");
  for (const auto& tool : kTools) tools.add_link(tool, "pg_wrapper");
  const auto taken = take(url(db));
  EXPECT_TRUE(taken.has_value()) << taken.error().message;
  const auto no_host = open_postgresql_source("postgresql:///" + db, context());
  ASSERT_FALSE(no_host.has_value());
  EXPECT_NE(no_host.error().message.find("the wrapper was run"), std::string::npos)
      << no_host.error().message;
}

TEST_F(PostgreSql, DumpThatDiesInTheMiddleNeverEnds) {
  const std::string db = fresh_database("dying");
  sql(db, "CREATE TABLE a AS SELECT g AS i FROM generate_series(1,100000) g");
  const std::string real = *find_program("pg_dump");
  for (const std::string& script :
       {"'" + real + "' \"$@\" | head -c 100000; kill -9 $$",  // killed
        "'" + real + "' \"$@\" | head -c 100000; exit 1",      // failed
        std::string("echo this is no archive"), std::string("exit 0")}) {
    FakeTools tools;
    tools.add("pg_dump",
              "case \"$1\" in --version) exec '" + real + "' --version;; esac\n" + script);
    const auto taken = take(url(db));
    EXPECT_FALSE(taken.has_value()) << script;
  }
}

// A wrapper ends well although the real tool lost its reader, or was killed.
TEST_F(PostgreSql, OutputThatIsCutShortIsRefusedThoughTheToolEndedWell) {
  const std::string db = fresh_database("cut_short");
  sql(db,
      "CREATE TABLE a AS SELECT g AS i, repeat('x', 1000) AS s FROM generate_series(1,2000) g; "
      "SELECT lo_from_bytea(0, repeat('y', 100000)::bytea)");
  for (const std::string tool : {"pg_dump", "pg_dumpall"}) {
    const std::string real = *find_program(tool);
    const auto run = [&](const std::string& filter) {
      FakeTools tools;
      tools.add(tool, "case \"$*\" in --version) exec '" + real + "' --version;; esac\n'" + real +
                          "' \"$@\" | " + filter);
      return take(url(db));
    };
    const auto whole = run("cat");
    EXPECT_TRUE(whole.has_value()) << whole.error().message;
    for (const std::string filter : {"head -c 200", "head -c -200", "head -c -1000000"}) {
      const auto taken = run(filter);
      ASSERT_FALSE(taken.has_value()) << tool << " | " << filter;
      EXPECT_TRUE(taken.error().message.starts_with(tool + " said that it succeeded, but what it "
                                                           "wrote is cut short"))
          << taken.error().message;
    }
  }
}

TEST_F(PostgreSql, CancellationEndsEverything) {
  const std::string db = fresh_database("cancelled");
  sql(db,
      "CREATE TABLE a AS SELECT g AS i, repeat('x', 1000) AS s FROM generate_series(1,20000) g");
  flow::Cancellation cancel;
  DriverContext mine{system_files(), system_clock(), system_random(), cancel};
  auto snapshot = open_postgresql_source(url(db), mine);
  ASSERT_TRUE(snapshot.has_value());
  auto stream = snapshot.value()->open_stream(1);
  ASSERT_TRUE(stream.has_value());
  Bytes buffer(1000);
  ASSERT_TRUE(stream.value()->read(buffer).has_value());
  cancel.cancel();
  const auto read = stream.value()->read(buffer);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().kind, ErrorKind::kInterrupted);
  stream.value().reset();
  snapshot.value().reset();
  for (int i = 0; i < 100; ++i) {
    if (sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE datname = 'cancelled'") == "0")
      break;
    ASSERT_LT(i, 99);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST_F(PostgreSql, DrillNeedsWhatTheDatabaseNeeds) {
  const auto newer = make_postgresql_throw_away({{"server_version_num", "990001"}},
                                                shared->folder.path(), context());
  ASSERT_FALSE(newer.has_value());
  EXPECT_NE(newer.error().message.find("postgresql-99"), std::string::npos)
      << newer.error().message;
  const auto extension = make_postgresql_throw_away(
      {{"extensions", "no_such_thing 1.0, plpgsql 1.0"}}, shared->folder.path(), context());
  ASSERT_FALSE(extension.has_value());
  EXPECT_NE(extension.error().message.find("the extension no_such_thing,"), std::string::npos)
      << extension.error().message;
}

TEST_F(PostgreSql, ThrowAwayLeavesNothing) {
  auto server =
      start({{"encoding", "LATIN1"}, {"locale", "no_SUCH.locale"}, {"superuser", "Chief"}});
  ASSERT_NE(server, nullptr);
  EXPECT_TRUE(server->server->description().starts_with("PostgreSQL 1"))
      << server->server->description();
  const std::string sockets = server->sockets;
  ASSERT_FALSE(sockets.empty());
  struct stat status {};
  ASSERT_EQ(::stat(sockets.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  std::ifstream pid_file(sockets + "/data/postmaster.pid");
  pid_t pid = 0;
  pid_file >> pid;
  ASSERT_GT(pid, 0);
  server->server.reset();
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_TRUE(std::filesystem::is_empty(server->folder.path()));
}

// The reader of archives and roles need no server.

std::string make_archive(const std::vector<std::array<std::string, 4>>& entries,
                         bool with_data = false) {
  std::string out = "PGDMP";
  out += std::string("\x01\x0e\x00\x04\x08\x01", 6);
  const auto integer = [&](std::int32_t value) {
    out += static_cast<char>(value < 0 ? 1 : 0);
    const auto magnitude = static_cast<std::uint32_t>(value < 0 ? -value : value);
    for (int i = 0; i < 4; ++i) out += static_cast<char>(magnitude >> (8 * i));
  };
  const auto text = [&](const std::string& value) {
    integer(static_cast<std::int32_t>(value.size()));
    out += value;
  };
  for (int i = 0; i < 8; ++i) integer(0);
  for (const char* word : {"db", "15", "15"}) text(word);
  integer(static_cast<std::int32_t>(entries.size()));
  for (const auto& [description, schema, name, definition] : entries) {
    integer(1);
    integer(with_data ? 1 : 0);
    text("0");
    text("0");
    text(name);
    text(description);
    integer(2);
    text(definition);
    text("");
    integer(-1);
    text(schema);
    integer(-1);
    integer(-1);
    text("owner");
    text("false");
    text("12");
    integer(-1);
    out += std::string(9, '\0');
  }
  return out;
}

TEST(PgArchive, AnyCutGivesTheSameSequences) {
  const std::string archive = make_archive(
      // Read as a number, a piece of this name would be larger than any.
      {{"TABLE", "public", "a", "CREATE TABLE a (\"größe äöüäöüäöüäöü\" int);"},
       {"SEQUENCE SET", "public", "s", "SELECT pg_catalog.setval('public.s', 42, true);\n"},
       {"SEQUENCE SET", "x", "t, true",
        "SELECT pg_catalog.setval('x.\"t, true\"', -7, false);\n"}});
  for (std::size_t cut = 0; cut <= archive.size(); ++cut) {
    ArchiveReader reader;
    ASSERT_TRUE(reader.feed(as_bytes(archive.substr(0, cut))).has_value());
    ASSERT_EQ(reader.complete(), cut == archive.size()) << cut;
    ASSERT_TRUE(reader.feed(as_bytes(archive.substr(cut))).has_value());
    ASSERT_TRUE(reader.understood());
    EXPECT_TRUE(reader.finish().has_value());
    ASSERT_EQ(reader.sequences().size(), 2u);
    EXPECT_EQ(reader.sequences().at({"public", "s"}), (ArchiveReader::SequenceValue{42, true}));
    EXPECT_EQ(reader.sequences().at({"x", "t, true"}), (ArchiveReader::SequenceValue{-7, false}));
  }
}

TEST(PgArchive, RefusesWhatItIsNot) {
  const auto feed = [](const std::string& text) { return ArchiveReader().feed(as_bytes(text)); };
  EXPECT_EQ(feed("-- PostgreSQL database dump").error(), ArchiveError::kNotAnArchive);
  EXPECT_EQ(feed("P-").error(), ArchiveError::kNotAnArchive);
  EXPECT_EQ(feed(std::string("PGDMP\x01\x0e\x00\x04\x08\x03", 11)).error(),
            ArchiveError::kNotAnArchive);
  EXPECT_EQ(feed(std::string("PGDMP\x01\x0e\x00\x09\x08\x01", 11)).error(),
            ArchiveError::kMalformed);
  EXPECT_EQ(feed(make_archive({{"SEQUENCE SET", "a", "b", "DROP TABLE x;"}})).error(),
            ArchiveError::kMalformed);
  ArchiveReader newer;
  ASSERT_TRUE(
      newer.feed(as_bytes(std::string_view("PGDMP\x01\x63\x00\x04\x08\x01", 11))).has_value());
  EXPECT_TRUE(newer.complete());
  EXPECT_FALSE(newer.understood());
  EXPECT_TRUE(newer.finish().has_value());
}

// With tables, a large object and a sequence, as PostgreSQL 15 wrote it.
std::string real_archive() {
  std::ifstream file(testing::data_path("postgresql/dump-15.bin"), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Keeps what goes by.
class Passing final : public ArchiveReader::RowReader {
 public:
  explicit Passing(bool wants) : wants_(wants) {}
  std::optional<std::size_t> want(std::string_view, std::string_view, std::string_view) override {
    return wants_ ? std::optional<std::size_t>(0) : std::nullopt;
  }
  void begin(std::size_t) override {}
  void rows(ByteSpan data) override { rows_size += data.size(); }
  void end(std::size_t) override { ++tables; }
  void other(ByteSpan data) override { all += as_text(data); }
  void header(ByteSpan data, std::uint8_t) override { contents += as_text(data); }
  void entry(const Entry& entry) override {
    if (entries++ == 0) contents += std::string(5, '#');  // their number
    contents += as_text(entry.data);
    if (entry.description == "TABLE") made.insert(std::to_string(entry.dump_id));
    if (entry.description == "TABLE DATA") needed.emplace_back(entry.dependency);
  }
  std::string all;
  std::string contents;
  std::set<std::string> made;
  std::vector<std::string> needed;
  std::size_t entries = 0;
  std::size_t tables = 0;
  std::size_t rows_size = 0;

 private:
  bool wants_;
};

TEST(PgArchive, IsPassedOnWholeButForTheRowsThatAreWanted) {
  const std::string archive = real_archive();
  for (std::size_t cut = 0; cut <= archive.size(); cut += 7) {
    Passing none(false);
    Passing rows(true);
    for (Passing* passing : {&none, &rows}) {
      ArchiveReader reader(passing);
      ASSERT_TRUE(reader.feed(as_bytes(archive.substr(0, cut))).has_value()) << cut;
      ASSERT_TRUE(reader.feed(as_bytes(archive.substr(cut))).has_value()) << cut;
      ASSERT_TRUE(reader.finish().has_value()) << cut;
    }
    ASSERT_EQ(none.all, archive) << cut;
    EXPECT_EQ(none.tables, 0u);
    ASSERT_GT(rows.tables, 0u);
    EXPECT_LT(rows.all.size() + rows.rows_size, archive.size());
    // Header and entries are what the archive begins with.
    std::string start = archive.substr(0, rows.contents.size());
    const auto number = rows.contents.find("#####");
    ASSERT_NE(number, std::string::npos);
    start.replace(number, 5, 5, '#');
    ASSERT_EQ(rows.contents, start) << cut;
    for (const std::string& table : rows.needed) EXPECT_TRUE(rows.made.contains(table)) << table;
  }
}

TEST(PgArchive, IsWholeAtItsLastByteAndNowhereBefore) {
  const std::string archive = real_archive();
  ASSERT_GT(archive.size(), 1000u);
  for (std::size_t cut = 0; cut <= archive.size(); ++cut) {
    ArchiveReader reader;
    ASSERT_TRUE(reader.feed(as_bytes(archive.substr(0, cut))).has_value()) << cut;
    if (cut == archive.size()) {
      EXPECT_TRUE(reader.finish().has_value());
      break;
    }
    const auto end = reader.finish();
    ASSERT_FALSE(end.has_value()) << cut;
    EXPECT_EQ(end.error(), ArchiveError::kTruncated) << cut;
    ASSERT_TRUE(reader.feed(as_bytes(archive.substr(cut))).has_value()) << cut;
    EXPECT_TRUE(reader.finish().has_value()) << cut;
  }
  // More than the table of contents promises, or a piece twice.
  ArchiveReader more;
  ASSERT_TRUE(more.feed(as_bytes(archive)).has_value());
  EXPECT_EQ(more.feed(as_bytes(archive.substr(archive.size() - 40))).error(),
            ArchiveError::kMalformed);
  EXPECT_EQ(more.finish().error(), ArchiveError::kMalformed);
}

PgRelation table_of(std::vector<PgColumn> columns) {
  PgRelation table;
  table.schema = "public";
  table.name = table.quoted = "a";
  table.columns = std::move(columns);
  return table;
}
constexpr unsigned kInteger = 23;
constexpr unsigned kText = 25;
constexpr unsigned kNumeric = 1700;

std::optional<std::string> sums_of(const std::string& rows, std::size_t cut = 0) {
  CopyRows reader(table_of({{"i", kInteger}, {"n", kNumeric}, {"t", kText}}), {0, 1, 2});
  reader.feed(as_bytes(std::string_view(rows).substr(0, cut)));
  reader.feed(as_bytes(std::string_view(rows).substr(cut)));
  return reader.finish();
}

TEST(PgRows, AnyCutGivesTheSameSums) {
  const std::string rows = "1\t2.50\ta\\tb\n-7\t\\N\t\\N\n\\N\t0\t\n\\.\n\n\n";
  const auto whole = sums_of(rows);
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->starts_with("3 ")) << *whole;
  for (std::size_t cut = 0; cut <= rows.size(); ++cut) EXPECT_EQ(sums_of(rows, cut), whole) << cut;
  CopyRows counting;
  counting.feed(as_bytes(rows));
  EXPECT_EQ(counting.finish(), "3");
  EXPECT_EQ(sums_of("\\.\n\n\n"), "0 0");
}

TEST(PgRows, WhatIsNotExpectedIsNotGuessed) {
  const std::string end = "\\.\n\n\n";
  for (const std::string& bad : std::initializer_list<std::string>{
           "1\t2\n" + end, "1\t2\ta\tb\n" + end, "x\t2\ta\n" + end, "4294967296\t2\ta\n" + end,
           "1 \t2\ta\n" + end, "1\t2\ta\\x41\n" + end, "1\t2\ta\\\n" + end, "1\t2\ta\n",
           std::string("1\t2\ta"), end.substr(0, 3), end + "\n", end + "1\t2\ta\n", end + "x",
           "\n" + end, std::string()}) {
    EXPECT_EQ(sums_of(bad), std::nullopt) << bad;
  }
  // A row has a limit, wherever it is cut.
  const std::string head = "1\t2\t";
  std::string row = head + std::string(CopyRows::kMaxRowSize - head.size(), 'x');
  EXPECT_NE(sums_of(row + "\n" + end), std::nullopt);
  EXPECT_EQ(sums_of(row + "\n" + end), sums_of(row + "\n" + end, row.size()));
  row += 'x';
  for (const std::size_t cut : {std::size_t{0}, row.size() - 1, row.size(), row.size() + 1}) {
    EXPECT_EQ(sums_of(row + "\n" + end, cut), std::nullopt) << cut;
  }
  EXPECT_FALSE(CopyRows::can_hash(table_of({})));
  EXPECT_FALSE(CopyRows::can_hash(table_of({{"m", 790}})));
}

TEST(PgRows, ColumnsAreThoseOfTheStatement) {
  const PgRelation table = table_of({{"\"a, b\"", kText}, {"c", kInteger}});
  const auto wanted = [&](const std::string& statement) {
    return ArchiveRows({table}, FingerprintLevel::kContent)
        .want("public", "a", statement)
        .has_value();
  };
  EXPECT_TRUE(wanted("COPY a (c, \"a, b\") FROM stdin;\n"));
  EXPECT_TRUE(wanted("COPY a (\"a, b\", c) FROM stdin;\n"));
  for (const std::string other :
       {"COPY a (c) FROM stdin;\n", "COPY a (c, c) FROM stdin;\n",
        "COPY b (c, \"a, b\") FROM stdin;\n", "COPY a (c, \"a, b\", d) FROM stdin;\n",
        "COPY a (c, \"a, b\") FROM stdin;", "COPY a  FROM stdin;\n", "",
        "COPY a (c, \"a, b) FROM stdin;\n", "COPY a (c, \"a, b\") WITH OIDS FROM stdin;\n"}) {
    EXPECT_FALSE(wanted(other)) << other;
  }
  EXPECT_FALSE(ArchiveRows({table}, FingerprintLevel::kContent)
                   .want("private", "a", "COPY a (c, \"a, b\") FROM stdin;\n"));
}

// Of PostgreSQL 15: SELECT hashtextextended(…), hashint4extended(…).
TEST(PgRows, HashIsThatOfPostgreSql) {
  const std::vector<std::tuple<std::string, std::int64_t, std::int64_t>> texts = {
      {"", 0, -6939563903564495251},
      {"a", 0, 3591986179850072241},
      {"abc", 0, -6747756470228489321},
      {"abcd", 0, -1038429303365892052},
      {"abcdefgh", 0, -8882191227074733005},
      {"abcdefghijk", 0, 3112909444737856467},
      {"abcdefghijkl", 0, -7556637188122330412},
      {"abcdefghijklm", 0, 8871624171452417744},
      {"the quick brown fox jumps", 1, 8920554697330676502},
      {"", 1, -150071773020461347},
      {"abcdefghijk", -3, -2280828136685053099},
      {"the quick brown fox jumps", -3, -6388772843124383363},
      {"abcdefgh", 1311768467463790320, 7701601426657224409},
  };
  for (const auto& [text, seed, hash] : texts) {
    EXPECT_EQ(static_cast<std::int64_t>(pg_hash(as_bytes(text), static_cast<std::uint64_t>(seed))),
              hash)
        << text;
  }
  const std::vector<std::tuple<std::int32_t, std::int64_t, std::int64_t>> integers = {
      {0, 0, 4154612158245552303},   {1, 0, -3670598878359251130},
      {-1, 0, -1888257769727981238}, {2147483647, 7, -1839609485720848170},
      {-1, -1, 6481520839006961279},
  };
  for (const auto& [value, seed, hash] : integers) {
    EXPECT_EQ(static_cast<std::int64_t>(
                  pg_hash(static_cast<std::uint32_t>(value), static_cast<std::uint64_t>(seed))),
              hash)
        << value;
  }
}

TEST(PgArchive, DataFollowsTheTableOfContents) {
  const auto integer = [](std::uint32_t value, char sign = 0) {
    std::string out(1, sign);
    for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i));
    return out;
  };
  const std::string contents = make_archive({{"TABLE DATA", "public", "a", ""}}, true);
  const auto read = [&](const std::string& data) -> Result<void, ArchiveError> {
    ArchiveReader reader;
    SEALANE_TRY(reader.feed(as_bytes(contents + data)));
    return reader.finish();
  };
  const std::string rows = std::string(1, '\x01') + integer(1) + integer(3) + "row" + integer(0);
  EXPECT_TRUE(read(rows).has_value());
  EXPECT_TRUE(read(std::string(1, '\x01') + integer(1) + integer(0)).has_value());
  // Any 32 bits name a large object, also those that have the sign of a number.
  const std::string objects = std::string(1, '\x03') + integer(1) + integer(7) + integer(2) + "ab" +
                              integer(0) + integer(0x80000000U, 1) + integer(0) + integer(0);
  EXPECT_TRUE(read(objects).has_value());
  EXPECT_EQ(read("").error(), ArchiveError::kTruncated);
  EXPECT_EQ(read(rows + rows).error(), ArchiveError::kMalformed);
  EXPECT_EQ(read('\x02' + rows.substr(1)).error(), ArchiveError::kMalformed);
  EXPECT_EQ(read(std::string(1, '\x01') + integer(2)).error(), ArchiveError::kMalformed);
  EXPECT_EQ(read(std::string(1, '\x01') + integer(1) + integer(3, 1)).error(),
            ArchiveError::kMalformed);
  EXPECT_EQ(read(std::string(1, '\x01') + integer(1) + integer(0xffffffffU)).error(),
            ArchiveError::kMalformed);
}

TEST(PgGlobals, AddsWhatIsMissingAndChangesNobody) {
  const std::string dump = R"(--
-- cluster dump; not a statement
\restrict abc
SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
CREATE ROLE there;
ALTER ROLE there WITH NOSUPERUSER PASSWORD 'old';
CREATE ROLE "New; ""one""";
ALTER ROLE "New; ""one""" WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:a;b\c''d';
COMMENT ON ROLE "New; ""one""" IS 'two
lines; and -- no comment';
ALTER ROLE there SET search_path TO 'x';
ALTER ROLE "New; ""one""" SET x.y TO E'a\'b;c';
ALTER ROLE "New; ""one""" IN DATABASE gone SET a TO '1';
ALTER ROLE "New; ""one""" IN DATABASE here SET a TO '2';
GRANT there TO "New; ""one""" GRANTED BY postgres;
GRANT there TO other GRANTED BY postgres;
\unrestrict abc
)";
  const auto globals = select_globals(dump, {"there", "other", "postgres"}, {"here"});
  ASSERT_TRUE(globals.has_value());
  EXPECT_EQ(globals.value().missing, std::vector<std::string>{"New; \"one\""});
  EXPECT_EQ(globals.value().skipped, 5u);
  EXPECT_EQ(globals.value().changes, 6u);
  const auto again = select_globals(dump, {"there", "other", "postgres", "New; \"one\""}, {"here"});
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again.value().changes, 0u) << "only settings are left: " << again.value().script;
  EXPECT_EQ(globals.value().script, R"(SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
CREATE ROLE "New; ""one""";
ALTER ROLE "New; ""one""" WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:a;b\c''d';
COMMENT ON ROLE "New; ""one""" IS 'two
lines; and -- no comment';
ALTER ROLE "New; ""one""" SET x.y TO E'a\'b;c';
ALTER ROLE "New; ""one""" IN DATABASE here SET a TO '2';
GRANT there TO "New; ""one""" GRANTED BY postgres;
)");
}

TEST(PgGlobals, RefusesWhatIsNoRole) {
  for (const char* dump :
       {"DROP TABLE x;", "CREATE ROLE a", "CREATE ROLE a \\! touch /tmp/x\n;", "CREATE ROLE 'a';",
        "SET standard_conforming_strings = off;", "SET client_encoding = 'SJIS';",
        "CREATE ROLE \"a;", "ALTER ROLE a WITH PASSWORD 'x;", "GRANT;", "CREATE ROLE a /* ; */;",
        "CREATE ROLE :x;", "DO $$ BEGIN END $$;"}) {
    EXPECT_FALSE(select_globals(dump, {}, {}).has_value()) << dump;
  }
}

TEST(PgGlobals, SettingsOfOneDatabaseGoToAnother) {
  const auto settings = settings_for_database(
      "SET client_encoding = 'UTF8';\n\\! touch /tmp/x\nSET standard_conforming_strings = 'on';\n"
      "ALTER DATABASE \"ug; \"\"ly\" CONNECTION LIMIT = 5;\n"
      "ALTER DATABASE \"ug; \"\"ly\" IS_TEMPLATE = true;\n"
      "ALTER DATABASE \"ug; \"\"ly\" SET work_mem TO '7MB';\n"
      "ALTER ROLE \"database\" IN DATABASE ugly SET search_path TO 'a; b', 'DATABASE ugly';\n"
      "COMMENT ON DATABASE ugly IS 'on database ugly; -- no comment';\n"
      "REVOKE CONNECT,TEMPORARY ON DATABASE ugly FROM PUBLIC;\n"
      "SET SESSION AUTHORIZATION grp;\n"
      "GRANT CONNECT ON DATABASE ugly TO \"on\";\n"
      "RESET SESSION AUTHORIZATION;\n",
      "\"new\"");
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(settings.value(),
            "SET client_encoding = 'UTF8';\n"
            "SET standard_conforming_strings = 'on';\n"
            "ALTER DATABASE \"new\" CONNECTION LIMIT = 5;\n"
            "ALTER DATABASE \"new\" SET work_mem TO '7MB';\n"
            "ALTER ROLE \"database\" IN DATABASE \"new\" SET search_path TO 'a; b', 'DATABASE "
            "ugly';\n"
            "COMMENT ON DATABASE \"new\" IS 'on database ugly; -- no comment';\n"
            "REVOKE CONNECT,TEMPORARY ON DATABASE \"new\" FROM PUBLIC;\n"
            "SET SESSION AUTHORIZATION grp;\n"
            "GRANT CONNECT ON DATABASE \"new\" TO \"on\";\n"
            "RESET SESSION AUTHORIZATION;\n");
  for (const char* other :
       {"DROP DATABASE ugly;", "ALTER ROLE a SET x TO 1;", "GRANT a TO b;", "GRANT ON DATABASE;",
        "SET work_mem TO 1;", "ALTER DATABASE 'ugly' SET a TO 1;", "ALTER DATABASE ugly SET a",
        "GRANT CONNECT ON DATABASE ugly TO a \\! touch /tmp/x\n;", "SET client_encoding = 'SJIS';",
        "SET client_encoding = 'BIG5';", "SET client_encoding = 'UTF8' \\! touch /tmp/x\n;",
        "SET standard_conforming_strings = 'off';", "SET standard_conforming_strings = 'on'",
        "GRANT CONNECT ON DATABASE ugly\"x\" TO a;", "GRANT CONNECT ON DATABASE\"ugly\" TO a;",
        "COMMENT ON DATABASE ugly'x';"}) {
    EXPECT_FALSE(settings_for_database(other, "x").has_value()) << other;
  }
}

TEST(PgVersions, OfToolsAndServersCompare) {
  EXPECT_EQ(pg_version_of_tool("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), 1500);
  EXPECT_EQ(pg_version_of_tool("pg_dump (PostgreSQL) 9.6.24"), 906);
  EXPECT_EQ(pg_version_of_tool("pg_dump (PostgreSQL) 17beta1"), 1700);
  EXPECT_EQ(pg_version_of_tool("mysqldump 8"), std::nullopt);
  EXPECT_EQ(pg_version_of_tool("pg_dump (PostgreSQL) 9"), std::nullopt);
  EXPECT_EQ(pg_version_of_server(150018), 1500);
  EXPECT_EQ(pg_version_of_server(90624), 906);
  EXPECT_EQ(pg_version_text(906), "9.6");
}

}  // namespace
}  // namespace sealane::backup
