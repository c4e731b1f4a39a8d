#pragma once
// The driver of sqlite:PATH. What is copied and hashed: docs/protocol/fingerprint.md, section 3.
//
// Source: one read transaction, held from open to destruction, so pages and fingerprint are of one
// moment. Pages leave through the backup API without a copy on disk. A database in WAL mode can be
// written meanwhile (its log grows until we are done); with a rollback journal, writers wait.
// With the rows, PRAGMA quick_check is asked (kSoundness).
// Target: a temporary file beside PATH, then renamed over PATH. Where it will be compared, that
// happens first, together with PRAGMA quick_check unless expect_sound() spares it.
#include <chrono>

#include "backup/source.h"

namespace sealane::backup {

struct SqliteOptions {
  // How long to wait for a lock that another program holds.
  std::chrono::milliseconds busy_timeout = std::chrono::seconds(30);
};

// kLocked if the lock was not given in time; kFailed for missing, damaged or other files.
Result<std::unique_ptr<SourceSnapshot>, Error> open_sqlite_source(const std::string& path,
                                                                  DriverContext& context,
                                                                  SqliteOptions options = {});
// clear() only permits: the old database stays, whole and in use, until finish() replaces it.
Result<std::unique_ptr<Target>, Error> open_sqlite_target(const std::string& path,
                                                          DriverContext& context,
                                                          SqliteOptions options = {});
Result<std::unique_ptr<ThrowAway>, Error> make_sqlite_throw_away(const std::string& directory,
                                                                 DriverContext& context);

}  // namespace sealane::backup
