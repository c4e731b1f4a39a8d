#pragma once
// SqliteRanges: the rows of a table, read by several threads and hashed in their order. Each reads
// a range of row ids by a connection of its own; so the database must not change meanwhile.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/fingerprint.h"
#include "backup/sqlite_connection.h"
#include "flow/ordered_stage.h"

namespace sealane::backup {

// Not thread-safe. Memory: 768 KiB a lane, of which a thread has two, and SQLite's own caches.
class SqliteRanges {
 public:
  static constexpr unsigned kMaxThreads = 4;  // more would wait for the one hash
  // Tables with fewer row ids from the first to the last are read before threads would have
  // started.
  static constexpr std::uint64_t kSmallTable = 10'000;

  // `connection` must outlive this.
  SqliteRanges(const SqliteConnection& connection, OpenAnother another)
      : connection_(connection), another_(std::move(another)) {}
  ~SqliteRanges();
  SqliteRanges(const SqliteRanges&) = delete;
  SqliteRanges& operator=(const SqliteRanges&) = delete;

  // `columns`: `count` quoted names. Nothing if the table must be read otherwise: it has no row
  // ids, or is small, or the machine has one core, or there is no other connection.
  Result<std::optional<Fingerprint::Item>, Error> hash_table(const std::string& table,
                                                             const std::string& columns, int count,
                                                             bool utf8);

 private:
  class RangeLane;
  std::optional<std::string> row_id_of(const std::string& table) const;
  bool make_lanes(bool utf8);

  const SqliteConnection& connection_;
  OpenAnother another_;
  unsigned threads_ = 0;
  std::vector<std::unique_ptr<flow::Lane>> lanes_;
  std::vector<RangeLane*> range_lanes_;  // the same
};

}  // namespace sealane::backup
