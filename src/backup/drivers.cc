// The table of drivers: which scheme of a URL, and which kind of fingerprint, belongs to whom.
#include <unistd.h>

#include "backup/file_tree.h"
#include "backup/postgresql.h"
#include "backup/raw.h"
#include "backup/redis.h"
#include "backup/source.h"
#include "backup/sqlite.h"
#include "backup/url.h"

namespace sealane::backup {
namespace {

using SourceResult = Result<std::unique_ptr<SourceSnapshot>, Error>;
using TargetResult = Result<std::unique_ptr<Target>, Error>;
using ThrowAwayResult = Result<std::unique_ptr<ThrowAway>, Error>;
using Properties = std::map<std::string, std::string>;

// A driver without a function cannot do that part.
struct Driver {
  std::string_view scheme;
  std::string_view form;  // for the sentence that lists what can be written; empty: an alias
  std::string_view kind;  // of its fingerprints
  SourceResult (*source)(const std::string& url, DriverContext& context);
  TargetResult (*target)(const std::string& url, DriverContext& context);
  ThrowAwayResult (*throw_away)(const Properties& properties, const std::string& directory,
                                DriverContext& context);
};

SourceResult sqlite_source(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const std::string path, local_path(url));
  return open_sqlite_source(path, context);
}
TargetResult sqlite_target(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const std::string path, local_path(url));
  return open_sqlite_target(path, context);
}
ThrowAwayResult sqlite_throw_away(const Properties&, const std::string& directory,
                                  DriverContext& context) {
  return make_sqlite_throw_away(directory, context);
}
SourceResult stdin_source(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const std::string name, local_path(url));
  return open_raw_source(name, STDIN_FILENO, context);
}

SourceResult file_source(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const std::string path, local_path(url));
  return open_file_source(path, context);
}
TargetResult file_target(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const std::string path, local_path(url));
  return open_file_target(path, context);
}
ThrowAwayResult file_throw_away(const Properties&, const std::string& directory,
                                DriverContext& context) {
  return make_file_throw_away(directory, context);
}

constexpr Driver kDrivers[] = {
    {"file", "file:/folder", "file", file_source, file_target, file_throw_away},
    {"postgresql", "postgresql://host/database", "postgresql", open_postgresql_source,
     open_postgresql_target, make_postgresql_throw_away},
    {"postgres", "", "postgresql", open_postgresql_source, open_postgresql_target,
     make_postgresql_throw_away},
    {"redis", "redis://host", "redis", open_redis_source, open_redis_target, make_redis_throw_away},
    {"redis+unix", "redis+unix:///path/to/socket", "redis", open_redis_source, open_redis_target,
     make_redis_throw_away},
    {"unix", "", "redis", open_redis_source, open_redis_target, make_redis_throw_away},
    {"sqlite", "sqlite:/path", "sqlite", sqlite_source, sqlite_target, sqlite_throw_away},
    {"stdin", "stdin:NAME", "stdin", stdin_source, nullptr, nullptr},
};

Result<const Driver*, Error> driver_for(const std::string& url, bool as_target) {
  const std::string scheme = url_scheme(url);
  std::string known;
  for (const Driver& driver : kDrivers) {
    if (as_target && driver.target == nullptr) continue;
    if (driver.scheme == scheme) return &driver;
    if (!driver.form.empty()) known += (known.empty() ? "" : ", ") + std::string(driver.form);
  }
  const std::string shown = scheme.empty() ? printable(url) : '"' + scheme + ":\"";
  return Error{ErrorKind::kUsage, shown + " names no " + (as_target ? "target" : "source") +
                                      " that Sealane knows; write one of " + known};
}

}  // namespace

Result<std::unique_ptr<SourceSnapshot>, Error> open_source(const std::string& url,
                                                           DriverContext& context) {
  SEALANE_TRY(const Driver* driver, driver_for(url, false));
  return driver->source(url, context);
}

Result<std::unique_ptr<Target>, Error> open_target(const std::string& url, DriverContext& context) {
  SEALANE_TRY(const Driver* driver, driver_for(url, true));
  return driver->target(url, context);
}

Result<std::unique_ptr<ThrowAway>, Error> make_throw_away(
    const std::string& kind, const std::map<std::string, std::string>& properties,
    const std::string& directory, DriverContext& context) {
  for (const Driver& driver : kDrivers) {
    if (driver.kind == kind && driver.throw_away != nullptr) {
      return driver.throw_away(properties, directory, context);
    }
  }
  return Error{ErrorKind::kUsage, "a snapshot of kind \"" + printable(kind) +
                                      "\" has no fingerprint, so a drill cannot prove it"};
}

}  // namespace sealane::backup
