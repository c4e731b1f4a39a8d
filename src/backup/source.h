#pragma once
// Source, Target: what a backup reads and a restore writes. One driver per kind of URL; the
// pipeline knows none of them. A snapshot may have several streams (databases, roles), all of one
// moment, and one fingerprint taken in the same moment. MySQL and MongoDB fit the same shape.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/redis_loading.h"
#include "flow/stream.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/repo/records.h"

namespace sealane::backup {

using repo::Fingerprint;  // a repository keeps it in its details
using repo::FingerprintLevel;
// The first difference as a clause: "table public.orders has 10 rows, not 11"; nothing if equal.
std::optional<std::string> difference(const Fingerprint& expected, const Fingerprint& found);

struct StreamDescription {
  std::string name;    // [a-z0-9._-]{1,64}; file name in the repository
  std::string format;  // "pg_dump-custom", "sql", "sqlite3", "rdb", "pax", "raw"
  std::string hint;    // the stock command that restores it: "pg_restore -d DATABASE"
};

struct Unreadable {
  std::string path;
  std::string reason;
};
struct UnreadableParts {
  std::vector<Unreadable> named;  // the first of them
  std::uint64_t count = 0;        // of all
};

// One stream on its way out of a source. read() returning 0 means a complete, successful end: the
// tool ended with status 0. A tool that failed gives an error, never an end.
using DumpStream = flow::ByteSource;

// Property of the details: what the source's own check of itself said in the moment of the backup,
// kSound or what is wrong. Absent where there is none, or it was not made.
inline constexpr const char* kSoundness = "soundness";
inline constexpr std::string_view kSound = "ok";

// One moment of a source. The moment stays open (exported snapshot, copied pages) until destroyed.
class SourceSnapshot {
 public:
  virtual ~SourceSnapshot() = default;
  // What fingerprint() shall compare; before the first open_stream(), so that a driver may read
  // rows beside the dump. At most: a server that cannot do it gives kStructure.
  void set_fingerprint_level(FingerprintLevel level) { level_ = level; }
  virtual const std::vector<StreamDescription>& streams() const = 0;
  // Streams are read one after the other, each to its end.
  virtual Result<std::unique_ptr<DumpStream>, Error> open_stream(std::size_t index) = 0;
  // After all streams were read. Nothing for sources without one (stdin).
  virtual Result<std::optional<Fingerprint>, Error> fingerprint() = 0;
  // Whether the streams are made meanwhile by other programs, which may be on this machine.
  virtual bool is_made_by_others() const { return false; }
  virtual std::optional<std::uint64_t> estimated_size() const { return std::nullopt; }
  // For details: "tool" → "pg_dump (PostgreSQL) 15.18", "server" → "15.18", …
  virtual std::map<std::string, std::string> properties() const = 0;
  virtual UnreadableParts unreadable() const { return {}; }  // after the last stream
  // After fingerprint(): what is wrong with the source though all of it was read, a sentence each.
  virtual std::vector<std::string> warnings() const { return {}; }

 protected:
  FingerprintLevel level_ = FingerprintLevel::kContent;
};

// What a driver needs of the outside.
struct DriverContext {
  FileSystem& files;
  Clock& clock;
  RandomSource& random;
  flow::Cancellation& cancel;
  OnLoading on_loading = {};  // a Redis that is loading its file is waited for
};

// Where a restore goes.
class Target {
 public:
  virtual ~Target() = default;
  // fingerprint() will be asked after finish(), of this level. Before the first open_stream(), so
  // that a driver may read beside other work.
  void expect_fingerprint(FingerprintLevel level) {
    level_ = level;
    expected_ = true;
  }
  // The source was sound by its own check, so the same bytes need no check of it here.
  void expect_sound() { known_sound_ = true; }
  // Whether a stream of this format can be restored here. Asked of every stream before clear(), so
  // that a mistaken snapshot costs nothing.
  virtual bool takes(std::string_view format) const = 0;
  // Why data of a source with these properties may be more than this can take, as a clause ("the
  // target is Redis 6.2, older than …"). Asked before clear(), which would be too early then.
  virtual Result<std::optional<std::string>, Error> misfit(
      const std::map<std::string, std::string>& /*properties*/) {
    return std::optional<std::string>();
  }
  // Nothing there that a restore could harm.
  virtual Result<bool, Error> is_empty() = 0;
  // Whether nothing of the data is looked at before the stream's finish(), nor seen by anybody
  // before finish(). Then its hashes may be checked on the way.
  virtual bool appears_at_once() const { return false; }
  // Whether a restore that broke off leaves a part of the data for all to see.
  virtual bool fills_in_place() const { return false; }
  // Removes what is there; only after --overwrite.
  virtual Result<void, Error> clear() = 0;
  // Streams in the order of the snapshot. The sink's data counts only after finish().
  class Stream : public flow::ByteSink {
   public:
    virtual Result<void, Error> finish() = 0;  // waits for the tool; its failure is ours
  };
  virtual Result<std::unique_ptr<Stream>, Error> open_stream(const StreamDescription& stream) = 0;
  // After all streams: makes it live (rename of a file, start of a server).
  virtual Result<void, Error> finish() = 0;
  virtual Result<std::optional<Fingerprint>, Error> fingerprint() = 0;
  // After finish(): what could not be brought back though all data was, a sentence each.
  virtual std::vector<std::string> warnings() const { return {}; }

 protected:
  FingerprintLevel level_ = FingerprintLevel::kContent;
  bool expected_ = false;
  bool known_sound_ = false;
};

// A target of our own for a drill: a private server or folder below `directory` (mode 0700), on a
// UNIX socket or no socket at all; stopped and removed by the destructor, also after an error.
class ThrowAway {
 public:
  virtual ~ThrowAway() = default;
  virtual Target& target() = 0;
  virtual std::string description() const = 0;  // "PostgreSQL 15.18 started for this drill"
};

// A URL without secrets, fit for logs and details: "postgresql://shop@db1:5432/shop".
std::string redacted_url(std::string_view url);

// By the scheme of `url`: sqlite:, postgresql://, redis://, file:, stdin:NAME. kUsage for others.
Result<std::unique_ptr<SourceSnapshot>, Error> open_source(const std::string& url,
                                                           DriverContext& context);
Result<std::unique_ptr<Target>, Error> open_target(const std::string& url, DriverContext& context);
// `kind`: the fingerprint's kind of the snapshot; `properties`: its details (server version…).
Result<std::unique_ptr<ThrowAway>, Error> make_throw_away(
    const std::string& kind, const std::map<std::string, std::string>& properties,
    const std::string& directory, DriverContext& context);

}  // namespace sealane::backup
