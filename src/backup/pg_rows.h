#pragma once
// ArchiveRows: computes what a fingerprint says of a table's rows from the rows that pg_dump
// writes, so that the server reads them once and not twice. The result is the one of
// row_digest_query() (pg_client.h), to the bit; tables of which that cannot be known here are left
// to the server. Formats: docs/protocol/postgresql.md, "Fingerprint".
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backup/pg_archive.h"
#include "backup/pg_client.h"

namespace sealane::backup {

__extension__ using Sum128 = __int128;  // of as many 64-bit hashes as there are rows

// PostgreSQL's hash of bytes under a seed, as of hash partitions (hash_bytes_extended,
// little-endian).
std::uint64_t pg_hash(ByteSpan data, std::uint64_t seed);
// Of an integer of 32 bits (hash_bytes_uint32_extended).
std::uint64_t pg_hash(std::uint32_t value, std::uint64_t seed);

// The rows of one table in COPY's text form, up to and with the line "\." and two empty ones. Not
// thread-safe. Any cut of the stream gives the same result.
class CopyRows {
 public:
  // Of a table with larger rows the server must be asked.
  static constexpr std::size_t kMaxRowSize = 1024 * 1024;

  // Only counts.
  CopyRows() = default;
  // Hashes, too. `order`: for each field of a row its column's index in `table.columns`, each once.
  // REQUIRES: can_hash(table).
  CopyRows(const PgRelation& table, const std::vector<std::size_t>& order);
  // Whether the text of all columns is the same in a dump and for row_digest_query().
  static bool can_hash(const PgRelation& table);

  void feed(ByteSpan data);
  // "count sum", or "count" if it only counts. Nothing if a row was too large, or was not what its
  // columns promise, or the end is missing.
  std::optional<std::string> finish() const;

 private:
  enum class Kind : std::uint8_t {
    // Simple columns: they seed the hash.
    kInteger,  // of 16 or 32 bits
    kBoolean,
    kLong,
    kText,
    kUuid,
    // Others take part by their text.
    kPlain,
    kBytes,      // as long as it is hexadecimal
    kTimeStamp,  // as long as it is UTC
  };
  struct Column {
    Kind kind = Kind::kPlain;
    std::uint64_t number = 0;  // by name, from 1
    std::size_t other = 0;     // index among the others
  };
  static std::optional<Kind> kind_of(const PgColumn& column);
  void take_line(std::string_view line);
  bool hash_row(std::string_view line);
  std::optional<std::string_view> unescape(std::string_view field);
  static std::optional<std::uint64_t> hash_simple(const Column& column, std::string_view field);

  std::vector<Column> columns_;                          // in the order of a row's fields
  std::vector<std::optional<std::string_view>> others_;  // of one row, by name
  std::string unescaped_;                                // of one row
  std::string record_;                                   // of one row, as record_out writes it
  std::string partial_;                                  // a row that is not yet whole
  std::uint64_t count_ = 0;
  Sum128 sum_ = 0;
  std::uint8_t lines_behind_ = 0;  // behind the end
  bool ended_ = false;
  bool unsure_ = false;
};

// Not thread-safe.
class ArchiveRows final : public ArchiveReader::RowReader {
 public:
  // `tables`: those that are wanted; of kind 'r'. For the level kContent each must be one that
  // CopyRows can hash.
  ArchiveRows(std::shared_ptr<const std::vector<PgRelation>> tables, FingerprintLevel level);
  ArchiveRows(std::vector<PgRelation> tables, FingerprintLevel level)
      : ArchiveRows(std::make_shared<const std::vector<PgRelation>>(std::move(tables)), level) {}
  ArchiveRows(ArchiveRows&&) = default;
  ArchiveRows& operator=(ArchiveRows&&) = default;
  const std::vector<PgRelation>& tables() const { return *tables_; }
  // "count sum", or "count" for the level kStructure. By index in tables(). Nothing if the archive
  // had no rows of this table, or none that could be understood.
  const std::optional<std::string>& sums(std::size_t index) const { return sums_[index]; }

  std::optional<std::size_t> want(std::string_view schema, std::string_view name,
                                  std::string_view statement) override;
  void begin(std::size_t handle) override;
  void rows(ByteSpan data) override { rows_.feed(data); }
  void end(std::size_t handle) override { sums_[handle] = rows_.finish(); }

 private:
  std::shared_ptr<const std::vector<PgRelation>> tables_;  // there may be many: not copied
  FingerprintLevel level_;
  std::map<std::pair<std::string_view, std::string_view>, std::size_t> by_name_;  // into tables_
  std::vector<std::vector<std::size_t>> orders_;
  std::vector<std::optional<std::string>> sums_;
  CopyRows rows_;
};

}  // namespace sealane::backup
