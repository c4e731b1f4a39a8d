#pragma once
// The PostgreSQL target behind a connection: for URLs and for the throw-away server.
#include <memory>

#include "backup/pg_client.h"

namespace sealane::backup {

enum class PgStatistics : std::uint8_t { kLeave, kCollect };  // kCollect: ANALYZE after the restore

// `connection` names its database. `session`: one that is open there already; may be null.
std::unique_ptr<Target> make_pg_target(PgConnection connection, PgStatistics statistics,
                                       DriverContext& context,
                                       std::unique_ptr<PgSession> session = nullptr);

}  // namespace sealane::backup
