#include "backup/pg_loader.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "base/copy_bytes.h"

namespace sealane::backup {
namespace {

constexpr std::size_t kPieceSize = 64 * 1024;
constexpr std::size_t kPieces = 32;       // so much may wait for the second connection
constexpr std::size_t kIntegerRoom = 16;  // for the size in front of a piece
// "\." and two empty lines end a table's rows. They are the first connection's.
constexpr std::size_t kEndSize = 16;
// Tables whose entries would need more memory are loaded over one connection.
constexpr std::size_t kMaxEntries = 16 * 1024 * 1024;

Error failed(std::string message) { return {ErrorKind::kFailed, std::move(message)}; }

}  // namespace

Result<std::unique_ptr<PgLoader>, Error> PgLoader::start(const PgConnection& connection,
                                                         ToolCommand command,
                                                         PgDatabaseEntries& database,
                                                         flow::Cancellation& cancel) {
  command.arguments = {"--exit-on-error", "--no-tablespaces", "--no-password",
                       "--dbname=" + connection.database_argument()};
  command.pipe_input = true;
  SEALANE_TRY(auto tool, Tool::start(command, &cancel));
  return std::unique_ptr<PgLoader>(
      new PgLoader(connection, std::move(command), database, cancel, std::move(tool)));
}

PgLoader::PgLoader(const PgConnection& connection, ToolCommand command, PgDatabaseEntries& database,
                   flow::Cancellation& cancel, std::unique_ptr<Tool> tool)
    : connection_(connection),
      command_(std::move(command)),
      database_(database),
      cancel_(cancel),
      tool_(std::move(tool)),
      pool_(kIntegerRoom + kPieceSize, kPieces) {
  piece_.block = pool_.take(halt_);
}

PgLoader::~PgLoader() {
  if (second_) {
    halt_.fail(failed("pg_restore was stopped"));
    interrupt();
    static_cast<void>(join());
  }
}

void PgLoader::interrupt() noexcept {
  tool_->interrupt();
  const std::lock_guard lock(mutex_);
  if (second_tool_ != nullptr) second_tool_->interrupt();
}

Result<void, Error> PgLoader::write(ByteSpan data) {
  const auto understood = reader_.feed(data);
  SEALANE_TRY(halt_.result());
  if (!understood.has_value()) return failed("the archive is damaged: it cannot be read");
  send(std::exchange(others_, {}));
  return halt_.result();
}

Result<void, Error> PgLoader::finish() {
  if (!reader_.finish().has_value()) return failed("the archive is damaged: it is cut short");
  return tool_->finish();
}

// ---- What the reader says of the archive

void PgLoader::header(ByteSpan data, std::uint8_t integer_size) {
  header_ = to_bytes(data);
  integer_size_ = integer_size;
}

void PgLoader::entry(const Entry& entry) {
  last_entry_ = entry;
  const std::string_view what = entry.description;
  if (what == "ENCODING" || what == "STDSTRINGS" || what == "SEARCHPATH") {
    settings_.push_back(to_bytes(entry.data));
  }
  keep_of_database(entry);
  // The check of a domain may look at other rows as well, and any column may be of one.
  if (what == "DOMAIN" && entry.definition.find("CHECK (") != std::string_view::npos) {
    one_only_ = true;
  }
  // A table that the archive itself makes has no indexes, foreign keys and triggers yet. One of an
  // extension may have them. And a check may look at other rows, though it should not: where there
  // is one, rows come in their order and in one transaction.
  if (what == "TABLE" && entry.dump_id > 0 &&
      entry.definition.find("CHECK (") == std::string_view::npos &&
      entry.definition.find("INHERITS (") == std::string_view::npos) {
    independent_.push_back(static_cast<std::uint64_t>(entry.dump_id));
  }
}

void PgLoader::keep_of_database(const Entry& entry) {
  const std::string_view what = entry.description;
  if (what == "DATABASE") database_.owner = std::string(entry.owner);
  const bool is_of_session = what == "ENCODING" || what == "STDSTRINGS";
  const bool is_of_database = what == "DATABASE PROPERTIES" ||
                              ((what == "ACL" || what == "COMMENT" || what == "SECURITY LABEL") &&
                               entry.tag.starts_with("DATABASE "));
  if (!is_of_session && !is_of_database) return;
  std::string& kept = is_of_session ? database_.session : database_.statements;
  const std::size_t size = kept.size() + entry.definition.size();
  database_.too_large = database_.too_large || size > PgDatabaseEntries::kMaxSize;
  if (!database_.too_large) kept.append(entry.definition).append("\n");
}

std::optional<std::size_t> PgLoader::want(std::string_view, std::string_view,
                                          std::string_view statement) {
  if (!statement.starts_with("COPY ")) return std::nullopt;
  if (last_entry_.data.size() > kMaxEntries - tables_size_) return std::nullopt;
  std::uint64_t made_by = 0;
  const std::string_view id = last_entry_.dependency;
  std::from_chars(id.data(), id.data() + id.size(), made_by);
  tables_size_ += last_entry_.data.size();
  tables_.push_back(
      {static_cast<std::uint64_t>(last_entry_.dump_id), made_by, to_bytes(last_entry_.data)});
  return tables_.size() - 1;
}

void PgLoader::other(ByteSpan data) { others_.insert(others_.end(), data.begin(), data.end()); }

void PgLoader::begin(std::size_t handle) {
  table_ = handle;
  table_size_ = 0;
  amid_row_ = false;
  judged_ = false;
}

void PgLoader::rows(ByteSpan data) {
  table_size_ += data.size();
  while (!data.empty() && !halt_.stopped()) {
    const MutableByteSpan room = piece_.block.bytes().subspan(kIntegerRoom, kPieceSize);
    const ByteSpan part = data.first(std::min(data.size(), room.size() - piece_.size));
    copy_bytes(part, room.begin() + static_cast<std::ptrdiff_t>(piece_.size));
    piece_.size += part.size();
    data = data.subspan(part.size());
    if (piece_.size < kPieceSize) return;
    // Up to the end of a row: COPY writes a line feed nowhere else. And never the end of all rows,
    // which is the first connection's.
    const auto end = as_text(ByteSpan(room).first(kPieceSize - kEndSize)).rfind('\n');
    const bool has_end = end != std::string_view::npos;
    send_piece(has_end ? end + 1 : kPieceSize - kEndSize, has_end);
  }
}

void PgLoader::end(std::size_t) {
  if (piece_.size > 0) send_piece(piece_.size, false);
  amid_row_ = false;
  if (second_) {
    // Its rows are there, and no lock of it, before indexes are made.
    second_->ring.close();
    if (auto joined = join(); !joined.has_value()) halt_.fail(joined.error());
  }
  append_integer(others_, 0);
}

// ---- Two ways

bool PgLoader::may_be_shared(const Table& table) const {
  return std::ranges::find(independent_, table.made_by) != independent_.end();
}

void PgLoader::start_second() {
  second_.emplace(kPieces);
  second_->thread.emplace([this] {
    auto loaded = load(*second_, tables_[table_]);
    if (!loaded.has_value()) halt_.fail(loaded.error());
  });
}

// Gives away the first `size` bytes of the piece. `whole_rows`: they end with a row.
void PgLoader::send_piece(std::size_t size, bool whole_rows) {
  using State = Second::State;
  if (!second_ && !one_only_ && !judged_ && table_size_ >= kLargeTable) {
    judged_ = true;
    if (may_be_shared(tables_[table_])) start_second();
  }
  const auto state = second_ ? second_->state.load(std::memory_order_acquire) : State::kStarting;
  if (state == State::kImpossible) {
    one_only_ = true;
    second_->ring.close();
    static_cast<void>(join());
  }
  flow::BlockPool::Block next;
  if (whole_rows && !amid_row_ && state == State::kLoading && pool_.free_count() > 0) {
    next = pool_.take(halt_);
    if (!next) return;
  }
  const std::size_t left = piece_.size - size;
  const auto rest = piece_.block.bytes().subspan(kIntegerRoom + size, left);
  if (next) {
    copy_bytes(ByteSpan(rest), next.bytes().begin() + kIntegerRoom);
    piece_.size = size;
    if (!second_->ring.push(std::exchange(piece_, {}), halt_)) return;
    piece_.block = std::move(next);
  } else {
    send(std::exchange(others_, {}));
    piece_.size = size;
    send(framed(piece_));
    std::copy(rest.begin(), rest.end(), piece_.block.bytes().begin() + kIntegerRoom);
    amid_row_ = !whole_rows;
  }
  piece_.size = left;
}

void PgLoader::send(ByteSpan data) {
  if (data.empty() || halt_.stopped()) return;
  if (auto written = tool_->write(data); !written.has_value()) halt_.fail(written.error());
}

void PgLoader::append_integer(Bytes& out, std::uint64_t value) const {
  out.push_back(std::byte{});
  for (std::uint8_t i = 0; i < integer_size_; ++i) {
    out.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
}

// The piece with its size in front.
ByteSpan PgLoader::framed(const Piece& piece) const {
  Bytes size;
  append_integer(size, piece.size);
  const std::size_t start = kIntegerRoom - size.size();
  copy_bytes(ByteSpan(size), piece.block.bytes().begin() + static_cast<std::ptrdiff_t>(start));
  return piece.block.bytes().subspan(start, size.size() + piece.size);
}

// In its thread, from the first to the last.
Result<void, Error> PgLoader::load(Second& second, const Table& table) {
  const auto room = may_connect_twice();
  if (!room.has_value() && room.error().kind == ErrorKind::kInterrupted) return room.error();
  if (!room.has_value() || !room.value()) {
    second.state.store(Second::State::kImpossible, std::memory_order_release);
    return success();
  }
  SEALANE_TRY(const auto tool, Tool::start(command_, &cancel_));
  {
    const std::lock_guard lock(mutex_);
    second_tool_ = tool.get();
  }
  auto loaded = [&]() -> Result<void, Error> {
    Bytes start = header_;
    append_integer(start, settings_.size() + 1);
    for (const Bytes& entry : settings_) start.insert(start.end(), entry.begin(), entry.end());
    start.insert(start.end(), table.entry.begin(), table.entry.end());
    start.push_back(std::byte{1});  // rows
    append_integer(start, table.dump_id);
    SEALANE_TRY(tool->write(start));
    second.state.store(Second::State::kLoading, std::memory_order_release);
    while (const auto piece = second.ring.pop(halt_)) {
      SEALANE_TRY(tool->write(framed(*piece)));
    }
    SEALANE_TRY(halt_.result());  // not the end, if it was stopped
    Bytes end;
    append_integer(end, 0);
    SEALANE_TRY(tool->write(end));
    return tool->finish();
  }();
  const std::lock_guard lock(mutex_);
  second_tool_ = nullptr;
  return loaded;
}

// Whether there is room for one more connection than those that are open while this asks. Only then
// is it worth a try, since rows that were sent cannot be had back.
Result<bool, Error> PgLoader::may_connect_twice() {
  SEALANE_TRY(const auto session, PgSession::open(connection_, cancel_));
  SEALANE_TRY(const auto room, session->value(R"(
    SELECT (SELECT rolconnlimit < 0 OR rolconnlimit > (SELECT pg_catalog.count(*)
              FROM pg_catalog.pg_stat_activity WHERE usename = current_user)
            FROM pg_catalog.pg_roles WHERE rolname = current_user)
       AND (SELECT datconnlimit < 0 OR datconnlimit > (SELECT pg_catalog.count(*)
              FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database())
            FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       AND pg_catalog.current_setting('max_connections')::pg_catalog.int4
         - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
         > (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity))"));
  return room == "t";
}

Result<void, Error> PgLoader::join() {
  second_->thread.reset();  // waits
  second_.reset();
  return halt_.result();
}

}  // namespace sealane::backup
