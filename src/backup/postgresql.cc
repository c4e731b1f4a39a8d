#include "backup/postgresql.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "backup/fingerprint.h"
#include "backup/pg_client.h"
#include "backup/pg_globals.h"
#include "backup/pg_loader.h"
#include "backup/pg_rows.h"
#include "backup/pg_target.h"
#include "backup/sql_identifier.h"
#include "flow/thread.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kMaxGlobalsSize =
    64 * 1024 * 1024;             // a hundred thousand roles; held in memory
constexpr int kLockAttempts = 5;  // tables may be dropped between the list and the lock

// pg_dump writes each row for itself, and 4096 bytes at a time where nobody tells it otherwise.
constexpr std::size_t kDumpBuffer = 256 * 1024;

constexpr std::string_view kRolesFormat = "sql";
constexpr std::string_view kArchiveFormat = "pg_dump-custom";

// Of a restore's sessions. Indexes are built at its end; the default of 64 MiB sorts larger ones on
// disk. Each of its statements is a transaction, and none of them waits for the disk: finish()
// does.
constexpr std::string_view kRestoreSettings =
    "-c maintenance_work_mem=256MB -c synchronous_commit=off";
// Writes a little and leaves nothing; its commit, as safe as the server is set up for, makes all
// before it as safe.
constexpr std::string_view kWaitForDisk = "SELECT pg_catalog.lo_unlink(pg_catalog.lo_create(0))";

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

// For the sessions of this command, in front of what the user or the URL sets, which so has the
// last word.
void add_server_settings(ToolCommand& command, std::string_view settings) {
  std::string options(settings);
  const auto given = std::ranges::find(command.environment, "PGOPTIONS",
                                       &std::pair<std::string, std::string>::first);
  if (given != command.environment.end()) {
    given->second = options + ' ' + given->second;
    return;
  }
  const bool inherited =
      std::ranges::find(command.unset_prefixes, "PG") == command.unset_prefixes.end();
  if (const char* ambient = inherited ? ::getenv("PGOPTIONS") : nullptr; ambient != nullptr) {
    options += std::string(" ") + ambient;
  }
  command.environment.emplace_back("PGOPTIONS", options);
}

std::string first_line(std::string text) {
  text.resize(std::min(text.find('\n'), text.size()));
  return printable(text);
}

Result<std::string, Error> tool_version(const PgConnection& connection, const std::string& tool,
                                        flow::Cancellation& cancel) {
  ToolCommand command = connection.command(tool);
  command.arguments = {"--version"};
  SEALANE_TRY(auto text, run_tool(std::move(command), &cancel));
  return first_line(std::move(text));
}

// A program between us and the real one (a wrapper with a pipe) may lose how that ended.
Error cut_short(const std::string& tool) {
  return failed(tool + " said that it succeeded, but what it wrote is cut short; if " + tool +
                " is a wrapper here, let it fail when the real one does (set -o pipefail)");
}

// The roles as pg_dumpall writes them: the last comment of each version says that it is complete.
class GlobalsSource final : public DumpStream {
 public:
  explicit GlobalsSource(std::unique_ptr<Tool> tool) : tool_(std::move(tool)) {}

  Result<std::size_t, Error> read(MutableByteSpan out) override {
    SEALANE_TRY(const std::size_t got, tool_->read(out));
    if (got == 0) {
      if (end_.find("-- PostgreSQL database cluster dump complete\n") != std::string::npos)
        return got;
      return cut_short("pg_dumpall");
    }
    end_ += as_text(out.first(got).last(std::min(got, kEndSize)));
    if (end_.size() > kEndSize) end_.erase(0, end_.size() - kEndSize);
    return got;
  }

  void interrupt() noexcept override { tool_->interrupt(); }

 private:
  static constexpr std::size_t kEndSize = 512;  // newer versions may write a line behind it
  std::unique_ptr<Tool> tool_;
  std::string end_;
};

// What a dump says about itself while it goes by.
struct Archive {
  explicit Archive(ArchiveRows wanted) : rows(std::move(wanted)) {}
  ArchiveRows rows;
  ArchiveReader reader{&rows};
};

// The archive as pg_dump writes it, followed by a reader that knows whether it is whole.
class ArchiveSource final : public DumpStream {
 public:
  ArchiveSource(std::unique_ptr<Tool> tool, std::shared_ptr<Archive> archive)
      : tool_(std::move(tool)), archive_(std::move(archive)) {}

  Result<std::size_t, Error> read(MutableByteSpan out) override {
    SEALANE_TRY(const std::size_t got, tool_->read(out));
    if (got == 0) {
      if (archive_->reader.finish().has_value()) return got;
      return cut_short("pg_dump");
    }
    if (auto understood = archive_->reader.feed(out.first(got)); !understood.has_value()) {
      return failed(understood.error() == ArchiveError::kNotAnArchive
                        ? "pg_dump wrote something that is not an archive"
                        : "pg_dump wrote an archive that cannot be read");
    }
    return got;
  }

  void interrupt() noexcept override { tool_->interrupt(); }

 private:
  std::unique_ptr<Tool> tool_;
  std::shared_ptr<Archive> archive_;
};

class PgSnapshot final : public SourceSnapshot {
 public:
  PgSnapshot(PgConnection connection, DriverContext& context)
      : connection_(std::move(connection)), context_(context) {}
  PgSnapshot(const PgSnapshot&) = delete;
  PgSnapshot& operator=(const PgSnapshot&) = delete;
  ~PgSnapshot() override {
    // Nobody waits for rows that no fingerprint will be made of.
    if (counting_) session_->interrupt();
  }

  Result<void, Error> open() {
    // Side by side: Debian's tools are wrapped in Perl, which takes a while to start.
    Result<std::string, Error> dump = std::string();
    Result<std::string, Error> dumpall = std::string();
    Result<std::unique_ptr<PgSession>, Error> session = std::unique_ptr<PgSession>();
    {
      const flow::Thread first(
          [&] { dump = tool_version(connection_, "pg_dump", context_.cancel); });
      const flow::Thread second(
          [&] { dumpall = tool_version(connection_, "pg_dumpall", context_.cancel); });
      session = PgSession::open(connection_, context_.cancel);
    }
    // Before anything is asked of the server: all tools are there.
    SEALANE_TRY(const std::string dump_version, std::move(dump));
    SEALANE_TRY(const std::string dumpall_version, std::move(dumpall));
    SEALANE_TRY(session_, std::move(session));
    properties_["tool"] = dump_version;
    for (int attempt = 1;; ++attempt) {
      if (attempt == 1) {
        SEALANE_TRY(read_properties());
        SEALANE_TRY(check_version(dump_version));
        SEALANE_TRY(check_version(dumpall_version));
      } else {
        SEALANE_TRY(session_, PgSession::open(connection_, context_.cancel));
      }
      auto taken = take_snapshot();
      if (taken.has_value()) return taken;
      if (attempt == kLockAttempts || taken.error().kind == ErrorKind::kInterrupted ||
          taken.error().message.find("does not exist") == std::string::npos) {
        return taken;
      }
    }
  }

  const std::vector<StreamDescription>& streams() const override { return streams_; }

  Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) override {
    if (index >= streams_.size()) return failed("there is no such stream");
    if (streams_[index].name == "database") {
      if (!dump_) {
        SEALANE_TRY(start_dump());
      }
      archive_ = std::make_shared<Archive>(ArchiveRows(dumped_tables_, rows_level()));
      return std::unique_ptr<DumpStream>(
          std::make_unique<ArchiveSource>(std::exchange(dump_, nullptr), archive_));
    }
    // The dump reads the catalog meanwhile, and waits with its first bytes until it is their turn.
    SEALANE_TRY(start_dump());
    ToolCommand command = connection_.command("pg_dumpall");
    command.pipe_output = true;
    command.arguments = {"--globals-only", "--no-tablespaces", "--no-password", "--encoding=UTF8",
                         "--database=" + connection_.database_argument()};
    if (!with_passwords_) command.arguments.emplace_back("--no-role-passwords");
    SEALANE_TRY(auto tool, Tool::start(command, &context_.cancel));
    return std::unique_ptr<DumpStream>(std::make_unique<GlobalsSource>(std::move(tool)));
  }

  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    if (!counting_) count_rows();
    counting_.reset();  // waits
    SEALANE_TRY(auto items, std::move(*items_));
    for (std::size_t i = 0; i < dumped_tables_->size(); ++i) {
      // None if the archive did not show the rows as they are expected.
      auto sums = archive_ != nullptr ? archive_->rows.sums(i) : std::nullopt;
      SEALANE_TRY(auto item,
                  pg_relation_item(*session_, (*dumped_tables_)[i], rows_level(), std::move(sums)));
      items.push_back(std::move(item));
    }
    for (const PgRelation& relation : relations_) {
      if (relation.kind != 'S') continue;
      SEALANE_TRY(auto item,
                  pg_sequence_item(*session_, relation, archive_ ? &archive_->reader : nullptr));
      items.push_back(std::move(item));
    }
    // Else the server's log would tell of a client that vanished.
    SEALANE_TRY(session_->execute("COMMIT"));
    return std::optional(
        at_level(make_fingerprint("postgresql", FingerprintLevel::kContent, std::move(items)),
                 rows_level()));
  }

  bool is_made_by_others() const override { return true; }
  std::optional<std::uint64_t> estimated_size() const override { return size_; }
  std::map<std::string, std::string> properties() const override { return properties_; }

 private:
  Result<void, Error> start_dump() {
    ToolCommand command = connection_.command("pg_dump");
    command.pipe_output = true;
    command.output_buffer = kDumpBuffer;
    command.arguments = {"--format=custom", "--compress=0", "--no-password",
                         "--snapshot=" + snapshot_};
    // Times are the same moments in any zone; CopyRows hashes their text.
    command.environment.emplace_back("PGTZ", "UTC");
    SEALANE_TRY(dump_, Tool::start(command, &context_.cancel));
    count_rows();
    return success();
  }

  FingerprintLevel rows_level() const {
    return pg_fingerprint_level(level_, pg_version_of_server(server_version_));
  }

  // The dump shows the rows of this table as row_digest_query() sees them.
  bool is_dumped_alike(const PgRelation& relation) const {
    if (relation.kind != 'r') return false;
    if (rows_level() == FingerprintLevel::kStructure) return true;
    const auto encoding = properties_.find("encoding");
    return encoding != properties_.end() && encoding->second == "UTF8" &&
           CopyRows::can_hash(relation);
  }

  // What the server has to say is asked beside the dump, in the same moment, so that both take as
  // long as one. From here on the session belongs to that thread until it ends.
  void count_rows() {
    if (!dumped_tables_) {
      const auto dumped = std::stable_partition(
          relations_.begin(), relations_.end(),
          [this](const auto& relation) { return !is_dumped_alike(relation); });
      dumped_tables_ = std::make_shared<const std::vector<PgRelation>>(
          std::move_iterator(dumped), std::move_iterator(relations_.end()));
      relations_.erase(dumped, relations_.end());
    }
    counting_.emplace([this] { items_ = read_items(); });
  }

  Result<std::vector<Fingerprint::Item>, Error> read_items() {
    std::vector<Fingerprint::Item> items;
    for (const PgRelation& relation : relations_) {
      if (relation.kind == 'S') continue;
      SEALANE_TRY(auto item, pg_relation_item(*session_, relation, rows_level()));
      items.push_back(std::move(item));
    }
    SEALANE_TRY(auto objects, pg_object_items(*session_, rows_level()));
    std::ranges::move(objects, std::back_inserter(items));
    return items;
  }

  Result<void, Error> read_properties() {
    const auto read = [&](const std::string& name,
                          const std::string& query) -> Result<void, Error> {
      SEALANE_TRY(auto answer, session_->value(query));
      properties_[name] = std::move(answer);
      return success();
    };
    SEALANE_TRY(read("server", "SELECT pg_catalog.current_setting('server_version')"));
    SEALANE_TRY(
        read("server_version_num", "SELECT pg_catalog.current_setting('server_version_num')"));
    SEALANE_TRY(server_version_, pg_server_version(*session_));
    SEALANE_TRY(read("encoding", "SELECT pg_catalog.current_setting('server_encoding')"));
    SEALANE_TRY(read("locale",
                     "SELECT datcollate FROM pg_catalog.pg_database "
                     "WHERE datname = pg_catalog.current_database()"));
    SEALANE_TRY(read("database", "SELECT pg_catalog.current_database()"));
    SEALANE_TRY(
        read("database_size", "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"));
    SEALANE_TRY(read("superuser", "SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10"));
    SEALANE_TRY(read("extensions",
                     "SELECT COALESCE(pg_catalog.string_agg(extname || ' ' || extversion, ', ' "
                     "ORDER BY extname COLLATE \"C\"), '') FROM pg_catalog.pg_extension"));
    SEALANE_TRY(const auto may_read,
                session_->value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', "
                                "'SELECT')"));
    with_passwords_ = may_read == "t";
    properties_["role_passwords"] =
        with_passwords_ ? "included" : "left out: this user may not read pg_authid";
    connection_.use_database(properties_["database"]);
    const std::string& size = properties_["database_size"];
    std::uint64_t bytes = 0;
    if (std::from_chars(size.data(), size.data() + size.size(), bytes).ec == std::errc{}) {
      size_ = bytes;
    }
    return success();
  }

  Result<void, Error> check_version(const std::string& tool_line) {
    const int server = pg_version_of_server(server_version_);
    const auto tool = pg_version_of_tool(tool_line);
    if (!tool) return failed("\"" + tool_line + "\" is not what PostgreSQL's pg_dump says");
    if (*tool < server) {
      return failed("\"" + tool_line + "\" is older than the server (" + properties_["server"] +
                    "): install the Debian package postgresql-client-" + pg_version_text(server));
    }
    return success();
  }

  // The locks come before the moment: TRUNCATE and rewriting ALTERs do not care about snapshots,
  // and after the dump's own locks are gone the fingerprint still reads. LOCK takes no snapshot
  // itself.
  Result<void, Error> take_snapshot() {
    std::set<std::string> locked;
    {
      SEALANE_TRY(const auto before, pg_relations(*session_));
      SEALANE_TRY(session_->execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
      SEALANE_TRY(lock(before, locked));
    }
    SEALANE_TRY(snapshot_, session_->value("SELECT pg_catalog.pg_export_snapshot()"));
    SEALANE_TRY(relations_, pg_relations(*session_));
    return lock(relations_, locked);
  }
  Result<void, Error> lock(const std::vector<PgRelation>& relations,
                           std::set<std::string>& locked) {
    std::string names;
    for (const auto& relation : relations) {
      if (relation.kind != 'r' && relation.kind != 'p') continue;
      if (!locked.insert(relation.quoted).second) continue;
      names += (names.empty() ? "ONLY " : ", ONLY ") + relation.quoted;
    }
    if (names.empty()) return success();
    return session_->execute("LOCK TABLE " + names + " IN ACCESS SHARE MODE");
  }

  PgConnection connection_;
  DriverContext& context_;
  // Roles first: the database's objects belong to them.
  std::vector<StreamDescription> streams_ = {
      {"globals", std::string(kRolesFormat), "psql -d postgres"},
      {"database", std::string(kArchiveFormat), "pg_restore -d DATABASE"}};
  std::unique_ptr<PgSession> session_;
  std::string snapshot_;
  std::unique_ptr<Tool> dump_;  // started, and not yet read
  std::shared_ptr<Archive> archive_;
  int server_version_ = 0;
  std::vector<PgRelation> relations_;  // of the moment
  // Those whose rows the archive shows; no longer in relations_ then.
  std::shared_ptr<const std::vector<PgRelation>> dumped_tables_;
  std::map<std::string, std::string> properties_;
  std::optional<std::uint64_t> size_;
  bool with_passwords_ = false;
  std::optional<Result<std::vector<Fingerprint::Item>, Error>> items_;
  std::optional<flow::Thread> counting_;  // the last to be made, the first to be waited for
};

class PgTarget final : public Target {
 public:
  PgTarget(PgConnection connection, PgStatistics statistics, DriverContext& context,
           std::unique_ptr<PgSession> session)
      : connection_(std::move(connection)),
        statistics_(statistics),
        context_(context),
        session_(std::move(session)) {}

  bool takes(std::string_view format) const override {
    return format == kRolesFormat || format == kArchiveFormat;
  }
  bool fills_in_place() const override { return true; }
  Result<std::optional<std::string>, Error> misfit(
      const std::map<std::string, std::string>& properties) override {
    const auto known = properties.find("server_version_num");
    int source = 0;
    if (known != properties.end()) {
      const std::string& text = known->second;
      std::from_chars(text.data(), text.data() + text.size(), source);
    }
    SEALANE_TRY(PgSession * session, this->session());
    SEALANE_TRY(const int target, pg_server_version(*session));
    if (pg_version_of_server(target) >= pg_version_of_server(source)) {
      return std::optional<std::string>();
    }
    return std::optional("the target is PostgreSQL " +
                         pg_version_text(pg_version_of_server(target)) + ", older than the " +
                         pg_version_text(pg_version_of_server(source)) + " of the snapshot");
  }
  Result<bool, Error> is_empty() override {
    SEALANE_TRY(PgSession * session, this->session());
    SEALANE_TRY(const auto relations, pg_relations(*session));
    if (!relations.empty()) return false;
    SEALANE_TRY(const auto others, session->value(R"(
      WITH s AS (SELECT oid, nspname FROM pg_catalog.pg_namespace n
                 WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
           e AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e')
      SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata)
           + (SELECT pg_catalog.count(*) FROM s
                WHERE nspname <> 'public' AND NOT EXISTS (SELECT FROM e WHERE e.objid = s.oid
                  AND e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass))
           + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc f
                WHERE f.pronamespace IN (SELECT oid FROM s) AND NOT EXISTS (SELECT FROM e
                  WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = f.oid))
           + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_type t
                WHERE t.typnamespace IN (SELECT oid FROM s) AND NOT EXISTS (SELECT FROM e
                  WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)
                  AND t.typrelid = 0 AND t.typelem = 0))"));
    return others == "0";
  }

  // In one transaction. Roles and other databases stay.
  Result<void, Error> clear() override {
    SEALANE_TRY(PgSession * session, this->session());
    SEALANE_TRY(session->execute("BEGIN"));
    SEALANE_TRY(session->execute(R"(
      DO $sealane$
      DECLARE name text; object oid;
      BEGIN
        FOR name IN SELECT pubname FROM pg_catalog.pg_publication LOOP
          EXECUTE pg_catalog.format('DROP PUBLICATION %I', name);
        END LOOP;
        FOR name IN SELECT evtname FROM pg_catalog.pg_event_trigger LOOP
          EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', name);
        END LOOP;
        FOR name IN SELECT extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' LOOP
          EXECUTE pg_catalog.format('DROP EXTENSION IF EXISTS %I CASCADE', name);
        END LOOP;
        FOR name IN SELECT fdwname FROM pg_catalog.pg_foreign_data_wrapper LOOP
          EXECUTE pg_catalog.format('DROP FOREIGN DATA WRAPPER %I CASCADE', name);
        END LOOP;
        FOR name IN SELECT nspname FROM pg_catalog.pg_namespace
                    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
          EXECUTE pg_catalog.format('DROP SCHEMA %I CASCADE', name);
        END LOOP;
        FOR object IN SELECT oid FROM pg_catalog.pg_largeobject_metadata LOOP
          PERFORM pg_catalog.lo_unlink(object);
        END LOOP;
        -- As CREATE DATABASE leaves it.
        CREATE SCHEMA public;
        COMMENT ON SCHEMA public IS 'standard public schema';
        IF pg_catalog.current_setting('server_version_num')::integer >= 150000 THEN
          GRANT USAGE ON SCHEMA public TO PUBLIC;
          IF pg_catalog.pg_has_role('pg_database_owner', 'MEMBER') OR (SELECT rolsuper
              FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            ALTER SCHEMA public OWNER TO pg_database_owner;
          END IF;
        ELSE
          GRANT ALL ON SCHEMA public TO PUBLIC;
        END IF;
      END $sealane$)"));
    return session->execute("COMMIT");
  }

  Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) override {
    if (stream.format == kRolesFormat) {
      return std::unique_ptr<Stream>(std::make_unique<GlobalsSink>(*this));
    }
    if (!takes(stream.format)) {
      return Error{ErrorKind::kUsage, "the snapshot's stream " + printable(stream.name) + " (" +
                                          printable(stream.format) +
                                          ") cannot be restored into PostgreSQL"};
    }
    session_.reset();  // a role may be allowed one connection only
    ToolCommand command = connection_.command("pg_restore");
    add_server_settings(command, kRestoreSettings);
    database_entries_ = {};
    SEALANE_TRY(auto loader, PgLoader::start(connection_, std::move(command), database_entries_,
                                             context_.cancel));
    return std::unique_ptr<Stream>(std::move(loader));
  }

  Result<void, Error> finish() override {
    SEALANE_TRY(PgSession * session, this->session());
    if (statistics_ == PgStatistics::kCollect) {
      SEALANE_TRY(collect_statistics(*session));
      SEALANE_TRY(session->execute(std::string(kWaitForDisk)));
    }
    return restore_settings(*session);
  }
  std::vector<std::string> warnings() const override { return warnings_; }

  Result<std::optional<Fingerprint>, Error> fingerprint() override {
    SEALANE_TRY(PgSession * session, this->session());
    SEALANE_TRY(session->execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    SEALANE_TRY(const int version, pg_server_version(*session));
    const auto level = pg_fingerprint_level(level_, pg_version_of_server(version));
    SEALANE_TRY(const auto relations, pg_relations(*session));
    SEALANE_TRY(auto items, pg_object_items(*session, level));
    for (const PgRelation& relation : relations) {
      SEALANE_TRY(auto item, relation.kind == 'S' ? pg_sequence_item(*session, relation, nullptr)
                                                  : pg_relation_item(*session, relation, level));
      items.push_back(std::move(item));
    }
    SEALANE_TRY(session->execute("COMMIT"));
    if (collecting_) {
      SEALANE_TRY(collecting_->wait());
    }
    return std::optional(at_level(
        make_fingerprint("postgresql", FingerprintLevel::kContent, std::move(items)), level));
  }

 private:
  // ANALYZE in a session of its own. One that nobody waited for is interrupted.
  class Collecting {
   public:
    explicit Collecting(std::unique_ptr<PgSession> session)
        : session_(std::move(session)),
          thread_([this] { result_ = session_->execute("ANALYZE"); }) {}
    ~Collecting() {
      if (thread_) session_->interrupt();
    }
    Collecting(const Collecting&) = delete;
    Collecting& operator=(const Collecting&) = delete;
    Result<void, Error> wait() {
      thread_.reset();
      return result_;
    }

   private:
    std::unique_ptr<PgSession> session_;
    Result<void, Error> result_ = success();
    std::optional<flow::Thread> thread_;  // the last to be made, the first to be waited for
  };

  // For the server's planner. Nothing is lost without them; warnings about tables of others are no
  // failure. Beside the comparison if there is one, where a second session may be had. It is opened
  // before the database's settings are restored, which would hold for it.
  Result<void, Error> collect_statistics(PgSession& session) {
    if (expected_) {
      auto second = PgSession::open(connection_, context_.cancel);
      if (second.has_value()) {
        collecting_.emplace(std::move(second).value());
        return success();
      }
      if (second.error().kind == ErrorKind::kInterrupted) return std::move(second).error();
    }
    return session.execute("ANALYZE");
  }

  // Opened when it is needed. After an error it is of no more use, and neither is the target.
  Result<PgSession*, Error> session() {
    if (!session_) {
      SEALANE_TRY(session_, PgSession::open(connection_, context_.cancel));
    }
    return session_.get();
  }

  // What the archive says of the database as a whole. Last, and by the session that computes the
  // fingerprint: to others a setting would apply at once. The data is there, so nothing in here is
  // a failure but an interruption.
  Result<void, Error> restore_settings(PgSession& session) {
    const PgDatabaseEntries& entries = database_entries_;
    const std::string database = quoted_identifier(connection_.database());
    SEALANE_TRY(const std::string owner_hex, session.value(R"(
      SELECT pg_catalog.encode(pg_catalog.convert_to(
               pg_catalog.pg_get_userbyid(datdba)::pg_catalog.text, 'UTF8'), 'hex')
      FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"));
    const std::string owner = to_text(from_hex(owner_hex).value_or(Bytes()));
    if (!entries.owner.empty() && owner != entries.owner) {
      warnings_.push_back("the database belonged to the role " + printable(entries.owner) +
                          " and belongs to " + printable(owner) +
                          " here; if that is not meant, run ALTER DATABASE " + printable(database) +
                          " OWNER TO " + printable(quoted_identifier(entries.owner)));
    }
    if (entries.statements.empty() && !entries.too_large) return success();
    const auto statements =
        entries.too_large ? Result<std::string, GlobalsError>(GlobalsError::kUnknownStatement)
                          : settings_for_database(entries.session + entries.statements, database);
    if (!statements.has_value()) {
      not_restored("they cannot be understood");
      return success();
    }
    auto done = session.execute("BEGIN; " + statements.value() +
                                "COMMIT; RESET client_encoding; "
                                "SET standard_conforming_strings = on");
    if (done.has_value()) return done;
    if (done.error().kind == ErrorKind::kInterrupted) return done;
    session_.reset();
    not_restored(done.error().message);
    return success();
  }
  void not_restored(const std::string& why) {
    warnings_.push_back(
        "the settings and rights of the database itself are not restored: " + why +
        "; restore the stream \"database\" to a file, and `pg_restore --create --schema-only -f - "
        "FILE` shows them at its start");
  }
  // Roles: held until complete, then only what is missing is run, in one transaction.
  class GlobalsSink final : public Stream {
   public:
    explicit GlobalsSink(PgTarget& target) : target_(target) {}

    Result<void, Error> write(ByteSpan data) override {
      if (data.size() > kMaxGlobalsSize - script_.size()) {
        return failed("the list of roles is larger than 64 MiB");
      }
      script_ += as_text(data);
      return success();
    }
    Result<void, Error> finish() override {
      SEALANE_TRY(PgSession * session, target_.session());
      SEALANE_TRY(const auto roles, names(*session, "rolname", "pg_catalog.pg_roles"));
      SEALANE_TRY(const auto databases, names(*session, "datname", "pg_catalog.pg_database"));
      target_.session_.reset();
      const auto globals = select_globals(script_, roles, databases);
      if (!globals.has_value()) {
        return failed(
            "the list of roles holds something that is not about roles; nothing of it was run");
      }
      if (globals.value().changes == 0) return success();
      ToolCommand command = target_.connection_.command("psql");
      command.arguments = {"--no-psqlrc",
                           "--quiet",
                           "--no-password",
                           "--no-readline",
                           "--set=ON_ERROR_STOP=1",
                           "--single-transaction",
                           "--file=-"};
      command.pipe_input = true;
      SEALANE_TRY(auto tool, Tool::start(command, &target_.context_.cancel));
      SEALANE_TRY(tool->write(as_bytes(globals.value().script)));
      auto done = tool->finish();
      if (!done.has_value() && done.error().kind == ErrorKind::kFailed) {
        return failed("the roles of the backup cannot be created: " + done.error().message);
      }
      return done;
    }

   private:
    static Result<std::set<std::string>, Error> names(PgSession& session, const std::string& column,
                                                      const std::string& table) {
      // In hex: a name may hold a line feed.
      SEALANE_TRY(const auto lines,
                  session.lines("SELECT pg_catalog.encode(pg_catalog.convert_to(" + column +
                                "::text, 'UTF8'), 'hex') FROM " + table));
      std::set<std::string> result;
      for (const auto& line : lines) {
        const auto name = from_hex(line);
        if (!name) return failed("psql listed names in a form that cannot be read");
        result.insert(to_text(*name));
      }
      return result;
    }
    PgTarget& target_;
    std::string script_;
  };

  PgConnection connection_;
  PgStatistics statistics_;
  DriverContext& context_;
  std::unique_ptr<PgSession> session_;
  PgDatabaseEntries database_entries_;
  std::vector<std::string> warnings_;
  std::optional<Collecting> collecting_;
};

}  // namespace

std::unique_ptr<Target> make_pg_target(PgConnection connection, PgStatistics statistics,
                                       DriverContext& context, std::unique_ptr<PgSession> session) {
  return std::make_unique<PgTarget>(std::move(connection), statistics, context, std::move(session));
}

Result<std::unique_ptr<SourceSnapshot>, Error> open_postgresql_source(const std::string& url,
                                                                      DriverContext& context) {
  SEALANE_TRY(auto connection, PgConnection::from_url(url));
  auto snapshot = std::make_unique<PgSnapshot>(std::move(connection), context);
  SEALANE_TRY(snapshot->open());
  return std::unique_ptr<SourceSnapshot>(std::move(snapshot));
}

Result<std::unique_ptr<Target>, Error> open_postgresql_target(const std::string& url,
                                                              DriverContext& context) {
  SEALANE_TRY(auto connection, PgConnection::from_url(url));
  for (const char* tool : {"psql", "pg_restore"}) {
    const ToolCommand command = connection.command(tool);
    if (!find_program(command.program)) return missing_tool(command.program, command.package);
  }
  SEALANE_TRY(auto session, PgSession::open(connection, context.cancel));
  SEALANE_TRY(const auto database, session->value("SELECT pg_catalog.current_database()"));
  connection.use_database(database);
  return make_pg_target(std::move(connection), PgStatistics::kCollect, context, std::move(session));
}

}  // namespace sealane::backup
