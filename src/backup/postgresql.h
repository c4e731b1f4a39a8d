#pragma once
// The PostgreSQL driver: postgresql://[USER[:PASSWORD]@][HOST[:PORT]][/DATABASE][?KEY=VALUE…] (also
// postgres://), where HOST or ?host= may be a folder of sockets and KEY one of libpq's parameters.
// It runs Debian's client tools; what each stream and fingerprint holds:
// docs/protocol/postgresql.md.
#include <map>
#include <memory>
#include <string>

#include "backup/source.h"

namespace sealane::backup {

// Connects and takes the moment: an exported snapshot that stays open until destroyed. Streams:
// "globals" (roles, sql), then "database" (pg_dump-custom).
Result<std::unique_ptr<SourceSnapshot>, Error> open_postgresql_source(const std::string& url,
                                                                      DriverContext& context);
// Connects. The database must exist; it need not be empty.
Result<std::unique_ptr<Target>, Error> open_postgresql_target(const std::string& url,
                                                              DriverContext& context);
// A private server on a UNIX socket below `directory`, or below /tmp where a server's own user
// could not reach `directory`. `properties`: of the snapshot, for version, encoding and extensions.
Result<std::unique_ptr<ThrowAway>, Error> make_postgresql_throw_away(
    const std::map<std::string, std::string>& properties, const std::string& directory,
    DriverContext& context);

}  // namespace sealane::backup
