#pragma once
// The driver of file:PATH: a folder, or one file, as a sorted pax archive (docs/protocol/pax.md),
// and back. The fingerprint has an item per entry (docs/protocol/fingerprint.md, section 4).
//
// Source: PATH itself may be a symbolic link; below it none is followed, and no mount point is
// crossed. A file that changes while it is read is cut or filled up to the size it had; it and
// whatever cannot be read are named in unreadable(). Sockets are left out.
// Target: a new folder beside PATH, which takes its place at finish().
#include "backup/source.h"

namespace sealane::backup {

struct FileTreeOptions {
  bool cross_mount_points = false;
};

Result<std::unique_ptr<SourceSnapshot>, Error> open_file_source(const std::string& path,
                                                                DriverContext& context,
                                                                FileTreeOptions options = {});
// clear() only permits: what is there stays until finish() has the new folder in its place.
Result<std::unique_ptr<Target>, Error> open_file_target(const std::string& path,
                                                        DriverContext& context);
Result<std::unique_ptr<ThrowAway>, Error> make_file_throw_away(const std::string& directory,
                                                               DriverContext& context);

}  // namespace sealane::backup
