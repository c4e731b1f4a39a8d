#pragma once
// What source, target and throw-away server of PostgreSQL share: the connection, one psql that
// stays open, and the fingerprint that it computes.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backup/pg_archive.h"
#include "backup/process.h"
#include "backup/source.h"

namespace sealane::backup {

// Where and as whom. Secrets lie in a 0600 file of libpq's format, never in arguments.
class PgConnection {
 public:
  // kUsage for a URL that cannot be one, or a parameter that libpq's environment does not know.
  static Result<PgConnection, Error> from_url(const std::string& url);
  // A private server; all ambient settings of libpq are ignored.
  static PgConnection local(const std::string& socket_folder, const std::string& user,
                            const std::string& database, const std::string& tools_folder);

  // A tool of the client package, ready for this server and database.
  ToolCommand command(const std::string& tool) const;
  void use_database(const std::string& name);  // when the URL left it to libpq
  const std::string& database() const { return database_; }
  // As an argument of the tools that take no environment for it: dbname='…'.
  std::string database_argument() const;
  const std::string& description() const { return description_; }  // without secrets

 private:
  PgConnection() = default;
  std::string description_;
  std::string database_;
  std::string tools_folder_;  // empty: PATH
  std::vector<std::pair<std::string, std::string>> environment_;
  std::vector<std::string> unset_prefixes_;
  std::shared_ptr<const SecretBytes> secret_;
  std::shared_ptr<TemporaryFolder> password_folder_;
};

// Versions as one number: 1500 for 15.x, 906 for 9.6.x.
std::optional<int> pg_version_of_tool(std::string_view version_line);
int pg_version_of_server(int server_version_num);
// What Debian's packages have installed: versions, and the folder with the programs of each.
std::vector<std::pair<int, std::string>> pg_installed_versions();
std::string pg_version_text(int version);  // "15", "9.6"

// One psql, spoken to by its input. An error ends it: the server's transaction is over, too.
class PgSession {
 public:
  static Result<std::unique_ptr<PgSession>, Error> open(const PgConnection& connection,
                                                        flow::Cancellation& cancel);
  // Lines of one statement's answer. REQUIRES: the answer's values hold no line feed (use JSON or
  // hex).
  Result<std::vector<std::string>, Error> lines(const std::string& statement);
  // The same, one line at a time and of at most `limit` bytes in all; `take` says whether it could
  // be read. An error ends the session.
  Result<void, Error> each_line(const std::string& statement, std::size_t limit,
                                const std::function<bool(std::string_view)>& take);
  Result<std::string, Error> value(const std::string& statement);  // exactly one line
  Result<void, Error> execute(const std::string& statement);
  // From any thread: a statement under way fails, and the session is over.
  void interrupt() noexcept { tool_->interrupt(); }

 private:
  PgSession(std::unique_ptr<Tool> tool, std::string where)
      : tool_(std::move(tool)), where_(std::move(where)) {}
  Error failure(Error error) const;
  std::unique_ptr<Tool> tool_;
  std::string where_;
  std::string buffer_;
  std::uint64_t statements_ = 0;
};

// server_version_num
Result<int, Error> pg_server_version(PgSession& session);

struct PgColumn {
  std::string quoted;  // name for SQL
  unsigned type = 0;   // object id; those of built-in types are the same everywhere
  bool is_enum = false;
};

// A table, view, sequence … of the user's, as the catalog knows it.
struct PgRelation {
  char kind = 'r';
  std::string schema;
  std::string name;
  std::string quoted;             // schema and name for SQL
  std::string signature;          // columns and types, by name
  std::vector<PgColumn> columns;  // by name
};
// All that a dump carries: no system schema, no member of an extension, nothing temporary.
Result<std::vector<PgRelation>, Error> pg_relations(PgSession& session);

// The older servers have no hash function that we could sum.
inline constexpr int kPgVersionWithContent = 1100;

// What a fingerprint of `level` can hold, of a server of this version.
FingerprintLevel pg_fingerprint_level(FingerprintLevel level, int server_version);

// Of anything but a sequence. `sums`: what is known of the rows of a table of kind 'r': "count
// sum", or "count" for the level kStructure; else the server is asked, in the transaction that
// `session` is in.
Result<Fingerprint::Item, Error> pg_relation_item(PgSession& session, const PgRelation& relation,
                                                  FingerprintLevel level,
                                                  std::optional<std::string> sums = {});
// The query for "count sum" of a table.
std::string row_digest_query(const PgRelation& table);
// Objects that are no relations.
Result<std::vector<Fingerprint::Item>, Error> pg_object_items(PgSession& session,
                                                              FingerprintLevel level);
// In the same transaction. `archive`: says which values of sequences were dumped; may be null.
Result<Fingerprint::Item, Error> pg_sequence_item(PgSession& session, const PgRelation& sequence,
                                                  const ArchiveReader* archive);

}  // namespace sealane::backup
