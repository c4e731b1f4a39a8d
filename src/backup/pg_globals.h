#pragma once
// The roles of a PostgreSQL server as `pg_dumpall --globals-only` writes them: cut into statements,
// so that a restore adds what is missing and changes nobody who is there.
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

}  // namespace sealane::backup
