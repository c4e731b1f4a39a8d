#pragma once
// PgLoader: the way of an archive into a database. pg_restore loads it; the rows of a large table
// go to a second one as well, since it is one core of the server that takes rows from one
// connection. Each of the two gets whole rows, and pieces of many of them.
//
// The archive goes to the first pg_restore as it came, but for the rows that it leaves out and for
// the sizes in front of the pieces. The second one gets an archive made for it: the header, what
// the first one reads of settings, and this one table's entry and rows. It starts when the table is
// there, since rows come behind it, and it has committed before the first one is told that the
// rows have ended; so indexes and constraints are made over all rows, as ever.
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backup/pg_archive.h"
#include "backup/pg_client.h"
#include "backup/process.h"
#include "backup/source.h"
#include "flow/block_pool.h"
#include "flow/halt.h"
#include "flow/ring.h"
#include "flow/thread.h"

namespace sealane::backup {

// What an archive says of its database as a whole, which pg_restore leaves out where it does not
// make the database itself.
struct PgDatabaseEntries {
  static constexpr std::size_t kMaxSize = 1024 * 1024;  // of each of the two
  std::string session;     // statements in front of the others: encoding, string syntax
  std::string statements;  // settings, rights, comment
  std::string owner;       // a name as it is
  bool too_large = false;  // then they are not whole
};

// write() may come from any thread, one at a time; interrupt() at any time.
class PgLoader final : public Target::Stream, private ArchiveReader::RowReader {
 public:
  // Rows of one table that go to one connection before a second one is opened.
  static constexpr std::size_t kLargeTable = 8 * 1024 * 1024;

  // `command` starts pg_restore; it connects as `connection` does. `database` is filled while the
  // archive is written; must outlive this.
  static Result<std::unique_ptr<PgLoader>, Error> start(const PgConnection& connection,
                                                        ToolCommand command,
                                                        PgDatabaseEntries& database,
                                                        flow::Cancellation& cancel);
  ~PgLoader() override;
  Result<void, Error> write(ByteSpan data) override;
  Result<void, Error> finish() override;
  void interrupt() noexcept override;

 private:
  // A piece of rows in a block, with room for its size in front.
  struct Piece {
    flow::BlockPool::Block block;
    std::size_t size = 0;
  };
  struct Table {
    std::uint64_t dump_id = 0;  // of its rows
    std::uint64_t made_by = 0;  // dump id of the table itself
    Bytes entry;
  };
  // The second pg_restore, for one table. Its thread alone touches `tool`, but under mutex_ it may
  // be interrupted.
  struct Second {
    explicit Second(std::size_t pieces) : ring(pieces) {}
    enum class State : std::uint8_t { kStarting, kLoading, kImpossible };
    std::atomic<State> state{State::kStarting};
    flow::Ring<Piece> ring;
    std::optional<flow::Thread> thread;
  };

  PgLoader(const PgConnection& connection, ToolCommand command, PgDatabaseEntries& database,
           flow::Cancellation& cancel, std::unique_ptr<Tool> tool);

  // ArchiveReader::RowReader
  std::optional<std::size_t> want(std::string_view schema, std::string_view name,
                                  std::string_view statement) override;
  void begin(std::size_t handle) override;
  void rows(ByteSpan data) override;
  void end(std::size_t handle) override;
  void other(ByteSpan data) override;
  void header(ByteSpan data, std::uint8_t integer_size) override;
  void entry(const Entry& entry) override;

  void keep_of_database(const Entry& entry);
  void start_second();
  void send(ByteSpan data);
  void send_piece(std::size_t size, bool whole_rows);
  void append_integer(Bytes& out, std::uint64_t value) const;
  ByteSpan framed(const Piece& piece) const;
  Result<void, Error> load(Second& second, const Table& table);
  bool may_be_shared(const Table& table) const;
  Result<bool, Error> may_connect_twice();
  Result<void, Error> join();

  const PgConnection& connection_;
  const ToolCommand command_;
  PgDatabaseEntries& database_;
  flow::Cancellation& cancel_;
  std::unique_ptr<Tool> tool_;
  ArchiveReader reader_{this};
  flow::Halt halt_;  // the first failure of either way

  std::uint8_t integer_size_ = 4;
  Bytes header_;
  std::vector<Bytes> settings_;             // entries that say how the archive is to be read
  Entry last_entry_;                        // while want() is asked
  std::vector<std::uint64_t> independent_;  // dump ids of tables; see entry()
  std::vector<Table> tables_;
  std::size_t tables_size_ = 0;

  flow::BlockPool pool_;
  Piece piece_;
  std::uint64_t table_size_ = 0;  // of the rows under way
  std::size_t table_ = 0;
  bool amid_row_ = false;
  bool judged_ = false;    // whether it may go two ways
  bool one_only_ = false;  // a second connection could not be had, or must not be
  Bytes others_;           // not yet sent

  std::mutex mutex_;
  Tool* second_tool_ = nullptr;
  std::optional<Second> second_;
};

}  // namespace sealane::backup
