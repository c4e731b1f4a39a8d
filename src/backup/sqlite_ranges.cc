#include "backup/sqlite_ranges.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "backup/sql_identifier.h"
#include "backup/sqlite_rows.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "flow/halt.h"
#include "flow/thread.h"

namespace sealane::backup {
namespace {

constexpr const char* kGatherRow = "sealane_gather_row";
constexpr const char* kPointerType = "sealane range of rows";
constexpr std::size_t kBuffer = 256 * 1024;   // stays in a core's cache until it is hashed
constexpr std::size_t kWanted = kBuffer / 2;  // of a range
constexpr std::uint64_t kFirstWidth = 256;    // row ids of a range
constexpr std::uint64_t kMaxWidth = 1ULL << 62;

struct Range {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::uint64_t width = 0;  // what was asked for; the last one may be narrower
};

// Ranges that follow each other, of about kWanted bytes. take() from one thread at a time, and
// measured() too.
class Ranges {
 public:
  Ranges(std::int64_t first, std::int64_t last) : next_(first), last_(last) {}
  std::optional<Range> take() {
    if (ended_) return std::nullopt;
    const auto from = static_cast<std::uint64_t>(next_);
    const std::uint64_t width = width_.load(std::memory_order_relaxed);
    ended_ = static_cast<std::uint64_t>(last_) - from < width;
    const Range range{next_, ended_ ? last_ : static_cast<std::int64_t>(from + width - 1), width};
    if (!ended_) next_ = range.last + 1;
    return range;
  }
  // Ids may be dense here and sparse there.
  void measured(std::uint64_t width, std::size_t bytes) {
    if (bytes == 0) {
      width = std::min(kMaxWidth / 16, width) * 16;
    } else if (bytes < kWanted / 2) {
      width = std::min(kMaxWidth / 2, width) * 2;
    } else if (bytes > kWanted / 2 * 3) {
      width = std::max<std::uint64_t>(1, bytes >= kBuffer ? width / 4 : width / 2);
    }
    width_.store(width, std::memory_order_relaxed);
  }

 private:
  std::int64_t next_;
  const std::int64_t last_;
  bool ended_ = false;
  std::atomic<std::uint64_t> width_{kFirstWidth};
};

// What the lanes share while they read one table.
struct Scan {
  Ranges ranges;
  crypto::Blake3 hash{};  // of what was given
  std::uint64_t rows = 0;
};

}  // namespace

// A range's rows are gathered, and hashed when its turn has come. If there is no room for all of
// them, the others are read then.
class SqliteRanges::RangeLane final : public flow::Lane {
 public:
  RangeLane(std::unique_ptr<TappedConnection> database, bool utf8)
      : database_(std::move(database)), encoder_(*this, utf8), buffer_(kBuffer) {}

  Result<void, Error> prepare(const std::string& sql, Scan& scan) {
    const SqliteConnection& connection = database_->connection;
    // Of no use to a schema, which anybody may have written.
    const int rc = sqlite3_create_function_v2(connection.get(), kGatherRow, -1,
                                              SQLITE_UTF8 | SQLITE_DIRECTONLY, nullptr,
                                              &RangeLane::on_row, nullptr, nullptr, nullptr);
    if (rc != SQLITE_OK) return connection.error(rc);
    SEALANE_TRY(auto statement, SqliteStatement::prepare(connection, sql));
    statement_.emplace(std::move(statement));
    SEALANE_CHECK(sqlite3_bind_pointer(statement_->get(), 1, this, kPointerType, nullptr) ==
                  SQLITE_OK);
    scan_ = &scan;
    return success();
  }
  void done() { statement_.reset(); }

  Result<bool, Error> take(std::uint64_t) override {
    const auto range = scan_->ranges.take();
    if (range) range_ = *range;
    return range.has_value();
  }
  Result<void, Error> work(std::uint64_t) override {
    used_ = 0;
    rows_ = 0;
    return read(range_.first);
  }
  Result<void, Error> give(std::uint64_t) override {
    std::size_t bytes = used_;
    flush();
    if (const auto rest = std::exchange(rest_, std::nullopt)) {
      bytes = kBuffer;
      turn_ = true;
      const auto read_on = read(*rest);
      turn_ = false;
      SEALANE_TRY(read_on);
      flush();
    }
    scan_->rows += rows_;
    scan_->ranges.measured(range_.width, bytes);
    return success();
  }

  // For the encoder.
  void write(ByteSpan data) {
    if (full_) return;
    if (data.size() > buffer_.size() - used_) {
      full_ = !turn_;
      if (full_) return;
      flush();
      if (data.size() > buffer_.size()) return scan_->hash.update(data);
    }
    copy_bytes(data, buffer_.begin() + static_cast<std::ptrdiff_t>(used_));
    used_ += data.size();
  }

 private:
  // kGatherRow(POINTER, row id, value, …). No exception may pass through SQLite.
  static void on_row(sqlite3_context* context, int count, sqlite3_value** values) noexcept {
    auto* self = count < 2
                     ? nullptr
                     : static_cast<RangeLane*>(sqlite3_value_pointer(values[0], kPointerType));
    if (self == nullptr)
      return sqlite3_result_error(context, "this function is not for others", -1);
    const std::size_t before = self->used_;
    for (int i = 2; i < count; ++i) self->encoder_.add(values[i]);
    if (std::exchange(self->full_, false)) {
      self->used_ = before;
      self->rest_ = sqlite3_value_int64(values[1]);
    } else {
      ++self->rows_;
    }
  }

  // Up to the end of the range, or until there is a rest.
  Result<void, Error> read(std::int64_t from) {
    sqlite3_stmt* statement = statement_->get();
    SEALANE_CHECK(sqlite3_bind_int64(statement, 2, from) == SQLITE_OK);
    SEALANE_CHECK(sqlite3_bind_int64(statement, 3, range_.last) == SQLITE_OK);
    for (;;) {
      SEALANE_TRY(const bool row, statement_->step());
      if (!row || rest_) break;
    }
    sqlite3_reset(statement);
    return success();
  }
  void flush() { scan_->hash.update(ByteSpan(buffer_).first(std::exchange(used_, 0))); }

  std::unique_ptr<TappedConnection> database_;
  std::optional<SqliteStatement> statement_;
  RowEncoder<RangeLane> encoder_;
  Scan* scan_ = nullptr;
  Range range_;
  Bytes buffer_;
  std::size_t used_ = 0;
  std::uint64_t rows_ = 0;
  bool turn_ = false;                 // what does not fit may be hashed
  bool full_ = false;                 // the row under way does not fit
  std::optional<std::int64_t> rest_;  // the row where it begins
};

SqliteRanges::~SqliteRanges() = default;

Result<std::optional<Fingerprint::Item>, Error> SqliteRanges::hash_table(const std::string& table,
                                                                         const std::string& columns,
                                                                         int count, bool utf8) {
  using Item = std::optional<Fingerprint::Item>;
  // A function takes fewer arguments than a table may have columns.
  if (count + 2 > sqlite3_limit(connection_.get(), SQLITE_LIMIT_FUNCTION_ARG, -1)) return Item();
  const auto row_id = row_id_of(table);
  if (!row_id) return Item();
  const std::string from = " FROM main." + quoted_identifier(table) + " NOT INDEXED";
  SEALANE_TRY(auto ends, SqliteStatement::prepare(connection_, "SELECT (SELECT min(" + *row_id +
                                                                   ")" + from + "), (SELECT max(" +
                                                                   *row_id + ")" + from + ")"));
  SEALANE_TRY(const bool found, ends.step());
  SEALANE_CHECK(found);
  const std::int64_t first = ends.integer(0);  // both 0 for an empty table
  const std::int64_t last = ends.integer(1);
  if (static_cast<std::uint64_t>(last) - static_cast<std::uint64_t>(first) < kSmallTable) {
    return Item();
  }
  if (lanes_.empty() && !make_lanes(utf8)) return Item();
  Scan scan{.ranges = {first, last}};
  const std::string sql = std::string("SELECT ") + kGatherRow + "(?1, " + *row_id + ", " + columns +
                          ")" + from + " WHERE " + *row_id + " BETWEEN ?2 AND ?3 ORDER BY " +
                          *row_id;
  for (RangeLane* lane : range_lanes_) {
    SEALANE_TRY(lane->prepare(sql, scan));
  }
  flow::Halt halt(&connection_.cancel());
  flow::run_ordered(lanes_, flow::GiveOrder::kOrdered, halt, flow::Precedence::kEqual, threads_);
  for (RangeLane* lane : range_lanes_) lane->done();
  SEALANE_TRY(halt.result());
  crypto::Blake3Digest digest;
  scan.hash.finish(digest);
  return Item({table, scan.rows, to_hex(digest)});
}

// By which name the table's rows can be told apart, if by any: columns may have taken them all, and
// a table WITHOUT ROWID has none.
std::optional<std::string> SqliteRanges::row_id_of(const std::string& table) const {
  for (const char* name : {"rowid", "_rowid_", "oid"}) {
    auto taken = SqliteStatement::prepare(
        connection_, "SELECT 1 FROM pragma_table_xinfo(?1, 'main') WHERE name = ?2 COLLATE NOCASE");
    if (!taken) return std::nullopt;
    const std::string column = name;
    taken.value().bind(1, table);
    taken.value().bind(2, column);
    const auto row = taken.value().step();
    if (!row) return std::nullopt;
    if (row.value()) continue;
    const auto known = SqliteStatement::prepare(
        connection_, "SELECT " + column + " FROM main." + quoted_identifier(table));
    if (!known) return std::nullopt;
    return column;
  }
  return std::nullopt;
}

bool SqliteRanges::make_lanes(bool utf8) {
  threads_ = std::min(flow::core_count(), kMaxThreads);
  if (threads_ == 1) return false;
  for (unsigned i = 0; i < 2 * threads_; ++i) {
    auto database = another_();
    // With one lane at least all can be read, and what is wrong with the file was found before.
    if (!database) break;
    auto lane = std::make_unique<RangeLane>(std::move(database).value(), utf8);
    range_lanes_.push_back(lane.get());
    lanes_.push_back(std::move(lane));
  }
  return !lanes_.empty();
}

}  // namespace sealane::backup
