#include "backup/pg_client.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backup/fingerprint.h"
#include "backup/postgresql.h"
#include "backup/url.h"
#include "crypto/hash.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kMaxAnswerSize = 64 * 1024 * 1024;  // names and numbers, not rows
// Of the list of tables: a hundred thousand of them with forty columns each.
constexpr std::size_t kMaxCatalogSize = 256 * 1024 * 1024;

Error usage(std::string message) { return {ErrorKind::kUsage, std::move(message)}; }
Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

// Parameters of libpq that a URL may name, and the variables that carry them to the tools.
constexpr std::array<std::pair<std::string_view, std::string_view>, 19> kParameters = {{
    {"application_name", "PGAPPNAME"},
    {"channel_binding", "PGCHANNELBINDING"},
    {"connect_timeout", "PGCONNECT_TIMEOUT"},
    {"gssencmode", "PGGSSENCMODE"},
    {"hostaddr", "PGHOSTADDR"},
    {"krbsrvname", "PGKRBSRVNAME"},
    {"options", "PGOPTIONS"},
    {"passfile", "PGPASSFILE"},
    {"requirepeer", "PGREQUIREPEER"},
    {"service", "PGSERVICE"},
    {"ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"},
    {"ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"},
    {"sslcert", "PGSSLCERT"},
    {"sslcrl", "PGSSLCRL"},
    {"sslkey", "PGSSLKEY"},
    {"sslmode", "PGSSLMODE"},
    {"sslrootcert", "PGSSLROOTCERT"},
    {"sslsni", "PGSSLSNI"},
    {"target_session_attrs", "PGTARGETSESSIONATTRS"},
}};

// One line for any host: the folder is ours and lives as long as the connection.
std::string password_line(const SecretBytes& password) {
  std::string line = "*:*:*:*:";
  for (const char c : password.expose_text()) {
    if (c == ':' || c == '\\') line += '\\';
    line += c;
  }
  line += '\n';
  return line;
}

std::string sha256_hex(std::string_view text) { return to_hex(crypto::sha256(as_bytes(text))); }

std::string tool_package(const std::string& tool) {
  return tool == "initdb" || tool == "postgres" ? "postgresql" : "postgresql-client";
}

// The program that Debian's pg_wrapper would run if it is told the host: the newest. It is written
// in Perl and takes 50 ms, which a backup would wait for four times and a restore five.
std::optional<std::string> behind_wrapper(const std::string& tool) {
  const auto found = find_program(tool);
  std::error_code error;
  if (!found || std::filesystem::canonical(*found, error).filename() != "pg_wrapper") return {};
  std::optional<std::string> program;
  int newest = 0;
  for (const auto& [version, folder] : pg_installed_versions()) {
    auto candidate = find_program(folder + "/" + tool);
    if (!candidate || version <= newest) continue;
    newest = version;
    program = std::move(candidate);
  }
  return program;
}

}  // namespace

Result<PgConnection, Error> PgConnection::from_url(const std::string& text) {
  SEALANE_TRY(auto url, parse_url(text));
  if (url.scheme != "postgresql" && url.scheme != "postgres") {
    return usage("the URL of a PostgreSQL database starts with postgresql://");
  }
  PgConnection connection;
  connection.description_ = redacted_url(text);
  auto& environment = connection.environment_;
  std::string host = url.host;
  std::string port = url.port ? std::to_string(*url.port) : "";
  std::string user = url.user;
  if (url.path.starts_with('/')) connection.database_ = url.path.substr(1);
  bool has_service = false;
  for (const auto& [key, value] : url.query) {
    if (key == "host") {
      host = value;
    } else if (key == "port") {
      port = value;
    } else if (key == "user") {
      user = value;
    } else if (key == "dbname") {
      connection.database_ = value;
    } else if (key == "password" || key == "sslpassword") {
      return usage("write the password before the URL's '@', where it is kept out of logs");
    } else {
      const auto* known =
          std::ranges::find(kParameters, key, &decltype(kParameters)::value_type::first);
      if (known == kParameters.end()) {
        return usage("the URL's parameter \"" + printable(key, 60) + "\" is not known");
      }
      has_service = has_service || key == "service";
      environment.emplace_back(known->second, value);
    }
  }
  const auto add = [&](const char* variable, const std::string& value) {
    if (!value.empty()) environment.emplace_back(variable, value);
  };
  add("PGHOST", host);
  add("PGPORT", port);
  add("PGUSER", user);
  add("PGDATABASE", connection.database_);
  environment.emplace_back("PGCLIENTENCODING", "UTF8");
  const auto add_default = [&](std::string_view variable, const char* value) {
    const std::string name(variable);
    const bool given =
        std::ranges::any_of(environment, [&](const auto& entry) { return entry.first == name; });
    if (!given && std::getenv(name.c_str()) == nullptr) environment.emplace_back(name, value);
  };
  add_default("PGCONNECT_TIMEOUT", "20");
  add_default("PGAPPNAME", "sealane");
  // An ambient service or address would win over what the URL says.
  auto& unset = connection.unset_prefixes_;
  if (!has_service) unset.emplace_back("PGSERVICE");
  if (!host.empty()) {
    unset.emplace_back("PGCLUSTER");
    if (!url.parameter("hostaddr")) unset.emplace_back("PGHOSTADDR");
  }
  if (url.password) {
    if (url.password->expose_text().find_first_of("\r\n") != std::string_view::npos) {
      return usage("a password with a line feed cannot be given to PostgreSQL's tools");
    }
    SEALANE_TRY(auto folder, TemporaryFolder::create("sealane-pg-"));
    std::string line = password_line(*url.password);
    auto file = folder.write_file("password", as_bytes(line));
    cleanse(std::as_writable_bytes(std::span(line)));
    if (!file.has_value()) return file.error();
    environment.emplace_back("PGPASSFILE", file.value());
    unset.emplace_back("PGPASSWORD");
    connection.password_folder_ = std::make_shared<TemporaryFolder>(std::move(folder));
    connection.secret_ = std::make_shared<const SecretBytes>(std::move(*url.password));
  }
  return connection;
}

PgConnection PgConnection::local(const std::string& socket_folder, const std::string& user,
                                 const std::string& database, const std::string& tools_folder) {
  PgConnection connection;
  connection.description_ = "the server started for this drill";
  connection.database_ = database;
  connection.tools_folder_ = tools_folder;
  connection.unset_prefixes_ = {"PG"};
  connection.environment_ = {
      {"PGHOST", socket_folder},  {"PGPORT", "5432"},           {"PGUSER", user},
      {"PGDATABASE", database},   {"PGCLIENTENCODING", "UTF8"}, {"PGAPPNAME", "sealane"},
      {"PGPASSFILE", "/dev/null"}};
  return connection;
}

ToolCommand PgConnection::command(const std::string& tool) const {
  ToolCommand command;
  command.program = tools_folder_.empty() ? tool : tools_folder_ + "/" + tool;
  command.package = tool_package(tool);
  command.unset_prefixes = unset_prefixes_;
  command.environment = environment_;
  const bool host_is_known =
      std::ranges::any_of(environment_, [](const auto& entry) { return entry.first == "PGHOST"; });
  if (tools_folder_.empty() && host_is_known) {
    if (auto program = behind_wrapper(tool)) {
      command.program = std::move(*program);
      // As the wrapper does: where pg_service.conf is.
      if (std::getenv("PGSYSCONFDIR") == nullptr) {
        command.environment.emplace_back("PGSYSCONFDIR", "/etc/postgresql-common");
      }
    }
  }
  command.secret = secret_;
  return command;
}

void PgConnection::use_database(const std::string& name) {
  database_ = name;
  std::erase_if(environment_, [](const auto& entry) { return entry.first == "PGDATABASE"; });
  environment_.emplace_back("PGDATABASE", name);
}

std::string PgConnection::database_argument() const {
  std::string out = "dbname='";
  for (const char c : database_) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::optional<int> pg_version_of_tool(std::string_view line) {
  constexpr std::string_view kMark = "(PostgreSQL) ";
  const auto mark = line.find(kMark);
  if (mark == std::string_view::npos) return std::nullopt;
  line.remove_prefix(mark + kMark.size());
  int major = 0;
  const auto [stop, code] = std::from_chars(line.data(), line.data() + line.size(), major);
  if (code != std::errc{} || major > 1000) return std::nullopt;
  if (major >= 10) return major * 100;
  int minor = 0;
  if (stop == line.data() + line.size() || *stop != '.' ||
      std::from_chars(stop + 1, line.data() + line.size(), minor).ec != std::errc{} || minor > 99) {
    return std::nullopt;
  }
  return major * 100 + minor;
}

std::vector<std::pair<int, std::string>> pg_installed_versions() {
  std::vector<std::pair<int, std::string>> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    const auto version = pg_version_of_tool("(PostgreSQL) " + entry.path().filename().string());
    if (version) found.emplace_back(*version, entry.path().string() + "/bin");
  }
  return found;
}

int pg_version_of_server(int number) {
  return number >= 100000 ? number / 10000 * 100 : number / 100;
}

std::string pg_version_text(int version) {
  if (version >= 1000) return std::to_string(version / 100);
  return std::to_string(version / 100) + "." + std::to_string(version % 100);
}

Result<std::unique_ptr<PgSession>, Error> PgSession::open(const PgConnection& connection,
                                                          flow::Cancellation& cancel) {
  ToolCommand command = connection.command("psql");
  command.arguments = {"--no-psqlrc",   "--quiet",       "--no-align",           "--tuples-only",
                       "--no-password", "--no-readline", "--set=ON_ERROR_STOP=1"};
  command.pipe_input = true;
  command.pipe_output = true;
  SEALANE_TRY(auto tool, Tool::start(command, &cancel));
  std::unique_ptr<PgSession> session(new PgSession(std::move(tool), connection.description()));
  // Output that depends on nothing but the values; no limit that ends us while a dump runs.
  SEALANE_TRY(session->execute(
      "SET standard_conforming_strings = on; SET statement_timeout = 0; SET lock_timeout = 0; "
      "SET idle_in_transaction_session_timeout = 0; SET DateStyle = 'ISO, YMD'; "
      "SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; "
      "SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET xmlbinary = 'base64'; "
      "SET row_security = off; SET search_path = ''; SET client_min_messages = warning"));
  SEALANE_TRY(session->execute(
      "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN "
      "('transaction_timeout', 'idle_session_timeout')"));
  return session;
}

Error PgSession::failure(Error error) const {
  if (error.kind == ErrorKind::kInterrupted) return error;
  std::string message = where_ + ": " + error.message;
  if (message.find("no password supplied") != std::string::npos)
    message += "; give it by ~/.pgpass, PGPASSFILE, PGPASSWORD or in the URL";
  return failed(std::move(message));
}

Result<std::vector<std::string>, Error> PgSession::lines(const std::string& statement) {
  std::vector<std::string> answer;
  SEALANE_TRY(each_line(statement, kMaxAnswerSize, [&](std::string_view line) {
    answer.emplace_back(line);
    return true;
  }));
  return answer;
}

Result<void, Error> PgSession::each_line(const std::string& statement, std::size_t limit,
                                         const std::function<bool(std::string_view)>& take) {
  const std::string mark = "--sealane-" + std::to_string(++statements_);
  if (auto sent = tool_->write(as_bytes(statement + ";\n\\echo " + mark + "\n"));
      !sent.has_value()) {
    return failure(sent.error());
  }
  std::size_t size = 0;
  const auto too_long = [&] {
    return failed(where_ + ": the catalog has more names than can be handled");
  };
  std::array<std::byte, 64 * 1024> chunk{};
  for (;;) {
    std::size_t start = 0;
    for (;;) {
      const auto end = buffer_.find('\n', start);
      if (end == std::string::npos) break;
      const std::string_view line = std::string_view(buffer_).substr(start, end - start);
      start = end + 1;
      if (line == mark) {
        buffer_.erase(0, start);
        return success();
      }
      size += line.size();
      if (size > limit) return too_long();
      if (!take(line)) return failed(where_ + ": psql gave an answer that cannot be read");
    }
    buffer_.erase(0, start);
    if (size + buffer_.size() > limit) return too_long();
    auto got = tool_->read(chunk);
    if (!got.has_value()) return failure(got.error());
    if (got.value() == 0) return failure(tool_->failure());  // status 0, but no answer
    buffer_ += as_text(ByteSpan(chunk).first(got.value()));
  }
}

Result<std::string, Error> PgSession::value(const std::string& statement) {
  SEALANE_TRY(auto answer, lines(statement));
  if (answer.size() != 1) return failed(where_ + ": psql gave an answer that is not one line");
  return std::move(answer.front());
}

Result<void, Error> PgSession::execute(const std::string& statement) {
  SEALANE_TRY(lines(statement));
  return success();
}

Result<int, Error> pg_server_version(PgSession& session) {
  SEALANE_TRY(const auto version,
              session.value("SELECT pg_catalog.current_setting('server_version_num')"));
  int number = 0;
  if (std::from_chars(version.data(), version.data() + version.size(), number).ec != std::errc{}) {
    return failed("the server's version cannot be read");
  }
  return number;
}

Result<std::vector<PgRelation>, Error> pg_relations(PgSession& session) {
  // Columns by name: a dump may restore inherited ones in another order.
  std::vector<PgRelation> relations;
  const auto take = [&](std::string_view line) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_array() || json.size() != 5 || !json[4].is_array()) return false;
    for (std::size_t i = 0; i < 4; ++i) {
      if (!json[i].is_string()) return false;
    }
    PgRelation relation;
    const std::string kind = json[0].get<std::string>();
    if (kind.size() != 1) return false;
    relation.kind = kind[0];
    relation.schema = json[1].get<std::string>();
    relation.name = json[2].get<std::string>();
    relation.quoted = json[3].get<std::string>();
    relation.columns.reserve(json[4].size());
    for (const auto& column : json[4]) {
      if (!column.is_array() || column.size() != 4 || !column[0].is_string() ||
          !column[1].is_string() || !column[2].is_number_unsigned() || !column[3].is_boolean()) {
        return false;
      }
      relation.columns.push_back(
          {column[0].get<std::string>(), column[2].get<unsigned>(), column[3].get<bool>()});
      relation.signature +=
          relation.columns.back().quoted + ' ' + column[1].get<std::string>() + '\n';
    }
    relation.signature.shrink_to_fit();
    relations.push_back(std::move(relation));
    return true;
  };
  // Line by line: the answer is as large as what is made of it.
  SEALANE_TRY(session.each_line(R"(
    SELECT pg_catalog.json_build_array(c.relkind, n.nspname, c.relname,
             pg_catalog.format('%I.%I', n.nspname, c.relname),
             COALESCE((SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                                pg_catalog.quote_ident(a.attname),
                                pg_catalog.format_type(a.atttypid, a.atttypmod),
                                a.atttypid::pg_catalog.int8,
                                EXISTS (SELECT FROM pg_catalog.pg_type y
                                        WHERE y.oid = a.atttypid AND y.typtype = 'e'))
                              ORDER BY a.attname COLLATE "C")
                       FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                         AND c.relkind <> 'S'), '[]'))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C")",
                                kMaxCatalogSize, take));
  return relations;
}

namespace {

// "count sum" of a 64-bit hash of each row: independent of the order of rows, flat in memory, and
// on all cores of a server that has parallel queries. Its hash is the one of hash partitions, which
// a dump relies on, so it is the same in all versions. `text`: an expression over `rows`, a FROM
// clause's content; `seed`: one that gives a bigint.
std::string digest_query(const std::string& text, const std::string& rows,
                         const std::string& seed = "0") {
  return "SELECT pg_catalog.concat_ws(' ', pg_catalog.count(*), "
         "COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(" +
         text + " COLLATE pg_catalog.\"C\", " + seed + ")), 0)) FROM " + rows;
}

// The 64-bit hash of one value under a seed, for the types whose hash sees every bit of it and
// costs a fraction of its text form. Nothing for all others: numeric forgets its scale, floats the
// sign of zero, an enum hashes a number that a restore changes.
std::string value_hash(const PgColumn& column, const std::string& seed) {
  constexpr unsigned kBool = 16;
  constexpr unsigned kInt8 = 20;
  constexpr unsigned kInt2 = 21;
  constexpr unsigned kInt4 = 23;
  constexpr unsigned kText = 25;
  constexpr unsigned kBpchar = 1042;
  constexpr unsigned kVarchar = 1043;
  constexpr unsigned kUuid = 2950;
  const std::string value = "t." + column.quoted;
  const auto call = [&](const std::string& function, const std::string& argument,
                        const std::string& with) {
    return "pg_catalog." + function + "(" + argument + ", " + with + ")";
  };
  switch (column.type) {
    case kInt4:
      return call("hashint4extended", value, seed);
    case kInt2:
    case kBool:
      return call("hashint4extended", "pg_catalog.int4(" + value + ")", seed);
    case kInt8:
      // Its own hash folds the halves together; the upper one goes in once more.
      return call("hashint4extended", "pg_catalog.int4(" + value + " OPERATOR(pg_catalog.>>) 32)",
                  call("hashint8extended", value, seed));
    case kText:
    case kVarchar:
      return call("hashtextextended", value + " COLLATE pg_catalog.\"C\"", seed);
    case kBpchar:  // a cast would drop the blanks at its end
      return call("hashtextextended",
                  "pg_catalog.textin(pg_catalog.bpcharout(" + value + ")) COLLATE pg_catalog.\"C\"",
                  seed);
    case kUuid:
      return call("uuid_hash_extended", value, seed);
    default:
      return {};
  }
}

// docs/protocol/postgresql.md, "Fingerprint": the hashes of simple columns, each under the number
// of its column, seed the hash of the others' text. That last hash is taken of every row, so that
// values that change rows cannot cancel out in the sum.
}  // namespace

std::string row_digest_query(const PgRelation& relation) {
  std::string seed = "0";
  std::string others;
  for (std::size_t i = 0; i < relation.columns.size(); ++i) {
    const std::string number = std::to_string(i + 1) + "::pg_catalog.int8";
    const std::string hash = value_hash(relation.columns[i], number);
    if (hash.empty()) {
      others += (others.empty() ? "t." : ", t.") + relation.columns[i].quoted;
    } else {
      seed += " OPERATOR(pg_catalog.#) COALESCE(" + hash + ", -" + number + ")";
    }
  }
  // record_out and not a cast to text: a user may have made one that runs code.
  const std::string text =
      others.empty() ? "''" : "pg_catalog.textin(pg_catalog.record_out(ROW(" + others + ")))";
  return digest_query(text, "ONLY " + relation.quoted + " AS t", seed);
}

namespace {

// `sums` starts with the count.
Result<Fingerprint::Item, Error> digest_item(const std::string& name, const std::string& signature,
                                             const std::string& sums) {
  Fingerprint::Item item;
  item.name = name;
  const auto [stop, code] = std::from_chars(sums.data(), sums.data() + sums.size(), item.count);
  if (code != std::errc{} || stop == sums.data()) {
    return failed("psql gave a sum that cannot be read for " + printable(name));
  }
  item.digest = sha256_hex(signature + sums);
  return item;
}

// Names that a dump must carry besides rows. Members of extensions come with the extension.
constexpr std::string_view kObjectCounts = R"(
  WITH e AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
       s AS (SELECT oid, nspname FROM pg_catalog.pg_namespace
             WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
       c AS (SELECT c.oid FROM pg_catalog.pg_class c JOIN s ON s.oid = c.relnamespace
             WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM e
               WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid))
  SELECT pg_catalog.concat_ws(' ', name, count) FROM (
    SELECT 'indexes', count(*) FROM pg_catalog.pg_index i WHERE i.indrelid IN (SELECT oid FROM c)
    UNION ALL SELECT 'constraints', count(*) FROM pg_catalog.pg_constraint k
      WHERE k.conrelid IN (SELECT oid FROM c) AND k.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL SELECT 'triggers', count(*) FROM pg_catalog.pg_trigger t
      WHERE t.tgrelid IN (SELECT oid FROM c) AND NOT t.tgisinternal
    UNION ALL SELECT 'policies', count(*) FROM pg_catalog.pg_policy p
      WHERE p.polrelid IN (SELECT oid FROM c)
    UNION ALL SELECT 'functions', count(*) FROM pg_catalog.pg_proc f
      WHERE f.pronamespace IN (SELECT oid FROM s) AND NOT EXISTS (SELECT FROM e
        WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = f.oid)
    UNION ALL SELECT 'types', count(*) FROM pg_catalog.pg_type t
      WHERE t.typnamespace IN (SELECT oid FROM s) AND t.typrelid = 0 AND t.typelem = 0
        AND NOT EXISTS (SELECT FROM e
          WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)
    UNION ALL SELECT 'extensions', count(*) FROM pg_catalog.pg_extension
    UNION ALL SELECT 'schemas', count(*) FROM s
  ) AS counts(name, count))";

}  // namespace

FingerprintLevel pg_fingerprint_level(FingerprintLevel level, int server_version) {
  return server_version >= kPgVersionWithContent ? level : FingerprintLevel::kStructure;
}

Result<Fingerprint::Item, Error> pg_relation_item(PgSession& session, const PgRelation& relation,
                                                  FingerprintLevel level,
                                                  std::optional<std::string> sums) {
  const std::string name = relation.schema + "." + relation.name;
  if (relation.kind == 'r') {
    if (!sums) {
      SEALANE_TRY(sums,
                  session.value(level == FingerprintLevel::kContent
                                    ? row_digest_query(relation)
                                    : "SELECT pg_catalog.count(*) FROM ONLY " + relation.quoted));
    }
    return digest_item(name, relation.signature, *sums);
  }
  // Views hold no rows; a materialized view is computed anew by a restore, so that a stale one
  // would differ; a partitioned table's rows are its partitions'; a foreign table's are elsewhere.
  return Fingerprint::Item{name, 0,
                           sha256_hex(std::string(1, relation.kind) + ' ' + relation.signature)};
}

Result<std::vector<Fingerprint::Item>, Error> pg_object_items(PgSession& session,
                                                              FingerprintLevel level) {
  const bool content = level == FingerprintLevel::kContent;
  std::vector<Fingerprint::Item> items;
  SEALANE_TRY(const auto counts, session.lines(std::string(kObjectCounts)));
  for (const auto& line : counts) {
    const auto space = line.find(' ');
    std::uint64_t count = 0;
    if (space == std::string::npos ||
        std::from_chars(line.data() + space + 1, line.data() + line.size(), count).ec !=
            std::errc{}) {
      return failed("psql gave a count that cannot be read");
    }
    items.push_back({"(" + line.substr(0, space) + ")", count, ""});
  }
  SEALANE_TRY(const auto objects,
              session.value("SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"));
  Fingerprint::Item pieces;
  if (content) {
    // In pieces, so that neither their number nor their size needs memory.
    SEALANE_TRY(const auto sums,
                session.value(digest_query("pg_catalog.concat_ws(' ', p.o, p.n, p.h)", R"((
      WITH RECURSIVE pieces(o, n, h, size) AS (
        SELECT m.oid, 0::bigint, pg_catalog.md5(d.data), pg_catalog.length(d.data)
        FROM pg_catalog.pg_largeobject_metadata m,
             LATERAL (SELECT pg_catalog.lo_get(m.oid, 0, 1048576) OFFSET 0) AS d(data)
        UNION ALL
        SELECT p.o, p.n + 1, pg_catalog.md5(d.data), pg_catalog.length(d.data)
        FROM pieces p,
             LATERAL (SELECT pg_catalog.lo_get(p.o, (p.n + 1) * 1048576, 1048576)
                      OFFSET 0) AS d(data)
        WHERE p.size = 1048576)
      SELECT o, n, h FROM pieces) AS p)")));
    SEALANE_TRY(pieces, digest_item("(large objects)", "", sums));
  }
  pieces.name = "(large objects)";
  if (std::from_chars(objects.data(), objects.data() + objects.size(), pieces.count).ec !=
      std::errc{}) {
    return failed("psql gave a count that cannot be read");
  }
  items.push_back(std::move(pieces));
  return items;
}

Result<Fingerprint::Item, Error> pg_sequence_item(PgSession& session, const PgRelation& sequence,
                                                  const ArchiveReader* archive) {
  std::string value;
  const auto* dumped = static_cast<const ArchiveReader::SequenceValue*>(nullptr);
  if (archive != nullptr && archive->understood()) {
    const auto found = archive->sequences().find({sequence.schema, sequence.name});
    if (found != archive->sequences().end()) dumped = &found->second;
  }
  if (dumped != nullptr) {
    value = std::to_string(dumped->last_value) + (dumped->is_called ? " t" : " f");
  } else {
    SEALANE_TRY(value, session.value("SELECT pg_catalog.concat_ws(' ', last_value, is_called) "
                                     "FROM " +
                                     sequence.quoted));
  }
  return Fingerprint::Item{sequence.schema + "." + sequence.name, 0,
                           sha256_hex("sequence " + value)};
}

}  // namespace sealane::backup
