#pragma once
// The Redis driver: redis://[[USER]:PASSWORD@]HOST[:PORT], redis+unix:///PATH/TO/SOCKET and
// unix:///PATH/TO/SOCKET. It runs Debian's redis-cli; no file system is shared with the server.
// Always the whole server: a path or ?db= naming one database is refused. See
// docs/protocol/redis.md.
#include <map>
#include <memory>
#include <string>

#include "backup/source.h"

namespace sealane::backup {

// Connects. The one stream "database" (rdb) is of the moment in which it is opened; its checksum is
// checked before it ends well.
Result<std::unique_ptr<SourceSnapshot>, Error> open_redis_source(const std::string& url,
                                                                 DriverContext& context);
// Connects. A running server cannot load an RDB file, so a private one does, and its keys are
// copied.
Result<std::unique_ptr<Target>, Error> open_redis_target(const std::string& url,
                                                         DriverContext& context);
// A private server on a UNIX socket below `directory`, started from the restored file.
Result<std::unique_ptr<ThrowAway>, Error> make_redis_throw_away(
    const std::map<std::string, std::string>& properties, const std::string& directory,
    DriverContext& context);

}  // namespace sealane::backup
