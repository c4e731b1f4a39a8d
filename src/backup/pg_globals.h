#pragma once
// What belongs to a PostgreSQL server or to a database as a whole, in the words of its tools: the
// roles as `pg_dumpall --globals-only` writes them, cut into statements, so that a restore adds
// what is missing and changes nobody who is there; and a database's settings and rights.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sealane/base/result.h"

namespace sealane::backup {

enum class GlobalsError : std::uint8_t {
  kMalformed = 1,     // a quote or comment without its end
  kUnknownStatement,  // nothing that a list of roles holds
};

struct Globals {
  std::string script;                // statements to run, one after the other; no psql command
  std::size_t skipped = 0;           // statements about roles that exist
  std::size_t changes = 0;           // of `script`: statements that are no settings of the session
  std::vector<std::string> missing;  // roles that it creates
};

// `roles` and `databases`: those of the server to restore to. Drops statements that would change a
// role that exists, and settings of roles in databases that do not. psql's own commands (lines like
// "\restrict") are dropped between statements and refused inside of them.
Result<Globals, GlobalsError> select_globals(std::string_view dump,
                                             const std::set<std::string>& roles,
                                             const std::set<std::string>& databases);

// Settings, rights and comment of a database, as the entries of an archive hold them that only
// `pg_restore --create` runs, behind the archive's settings of a session: the same statements for
// `database`, the name of another one as SQL has it. None of them is a psql command, whoever made
// the archive. What cannot be changed from within, or is no such thing (being a template), is left
// out. kUnknownStatement for anything that no such entry holds.
Result<std::string, GlobalsError> settings_for_database(std::string_view entries,
                                                        std::string_view database);

}  // namespace sealane::backup
