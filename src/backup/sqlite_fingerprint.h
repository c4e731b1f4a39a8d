#pragma once
// What is said of a SQLite database: docs/protocol/fingerprint.md, section 3.
#include <optional>
#include <string>

#include "backup/fingerprint.h"
#include "backup/sqlite_connection.h"

namespace sealane::backup {

// In the connection's transaction. With `another` large tables are read by several threads.
Result<Fingerprint, Error> sqlite_fingerprint(const SqliteConnection& connection,
                                              FingerprintLevel level,
                                              const OpenAnother& another = {});

// Of every page, and of what columns promise of their values; not whether an index has what its
// table has. The first thing that is wrong, else kSound. Nothing where SQLite cannot check it: a
// schema may use functions that only its application has.
Result<std::optional<std::string>, Error> sqlite_soundness(const SqliteConnection& connection);

}  // namespace sealane::backup
