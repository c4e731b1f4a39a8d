#pragma once
// Streams without a driver of their own: standard input in, a plain file out. No fingerprint.
#include "backup/source.h"

namespace sealane::backup {

// One stream, NAME, of everything on descriptor `fd`, which it does not own.
Result<std::unique_ptr<SourceSnapshot>, Error> open_raw_source(const std::string& name, int fd,
                                                               DriverContext& context);

// `path` gets one stream as it is, and appears at finish(). clear() only permits to replace it.
Result<std::unique_ptr<Target>, Error> open_raw_target(const std::string& path,
                                                       DriverContext& context);

}  // namespace sealane::backup
