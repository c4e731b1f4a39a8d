#pragma once
// ArchiveReader: follows a pg_dump archive in custom format (versions 1.12 to 1.16) as it streams
// by. It says whether the archive is one and is whole, and what values the dump holds for its
// sequences, which no snapshot freezes. Rows are handed to whoever wants them; nothing is kept.
//
// Header and table of contents, then without an end mark of its own, for each entry that has data:
//
//   size     field
//   1        kind     1 a table's rows, 3 large objects
//   integer  dump id  of the entry
//   rows:    integer size and as many bytes, again and again; size 0 ends them
//   objects: for each an integer oid, then as rows; oid 0 ends them
//
// An integer is a sign byte and as many bytes as the header says, little-endian.
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::backup {

enum class ArchiveError : std::uint8_t {
  kNotAnArchive = 1,  // no "PGDMP", or not in custom format
  kMalformed,
  kLimits,     // an entry above kMaxEntrySize, more than kMaxEntries
  kTruncated,  // it ends before the table of contents does, or the data that this promises
};

// Not thread-safe. Errors are final. Any cut of the stream gives the same result.
class ArchiveReader {
 public:
  static constexpr std::size_t kMaxEntrySize =
      32 * 1024 * 1024;  // the largest function body we buffer
  static constexpr std::size_t kMaxEntries = 10'000'000;

  struct SequenceValue {
    std::int64_t last_value = 0;
    bool is_called = false;
    friend bool operator==(const SequenceValue&, const SequenceValue&) = default;
  };

  // Is shown the rows of the tables it wants, in COPY's text form, as they stream by.
  class RowReader {
   public:
    virtual ~RowReader() = default;
    // For each table of the table of contents that has rows, by the statement that would copy them
    // back: a handle if they are wanted.
    virtual std::optional<std::size_t> want(std::string_view schema, std::string_view name,
                                            std::string_view statement) = 0;
    // One table after the other; `end` is not called for the one that the archive breaks off in.
    virtual void begin(std::size_t handle) = 0;
    virtual void rows(ByteSpan data) = 0;  // any piece of them
    virtual void end(std::size_t handle) = 0;

    // For who passes the archive on, or makes another of a part of it. All of the archive in its
    // order, but for the rows that are wanted and the sizes in front of them and behind.
    virtual void other(ByteSpan /*data*/) {}
    // Up to the number of entries. An integer has a sign byte and `integer_size` bytes.
    virtual void header(ByteSpan /*data*/, std::uint8_t /*integer_size*/) {}
    // An entry as it is written, in front of want().
    struct Entry {
      std::int64_t dump_id = 0;
      std::string_view tag;  // the name of what it is about
      std::string_view description;
      std::string_view owner;
      std::string_view definition;
      std::string_view dependency;  // the first one, a dump id; of a table's rows it is the table
      ByteSpan data;
    };
    virtual void entry(const Entry& /*entry*/) {}
  };

  // `rows` may be null; must outlive this.
  explicit ArchiveReader(RowReader* rows = nullptr) : rows_(rows) {}

  Result<void, ArchiveError> feed(ByteSpan data);
  // After the last byte: whether all data came that the table of contents promises, each entry's to
  // its end. Of a newer version, whose data is left unread, this says nothing.
  Result<void, ArchiveError> finish() const;
  // The header and the table of contents are complete, or of a newer version that is left unread.
  bool complete() const { return state_ == State::kData || state_ == State::kUnknownVersion; }
  // Whether sequences() is what the archive says.
  bool understood() const { return state_ == State::kData; }
  // By schema and name.
  const std::map<std::pair<std::string, std::string>, SequenceValue>& sequences() const {
    return sequences_;
  }

 private:
  enum class State : std::uint8_t { kHeader, kEntries, kData, kUnknownVersion, kFailed };
  enum class DataField : std::uint8_t { kKind, kDumpId, kOid, kSize };
  // True: one step was made. False: more bytes are needed.
  Result<bool, ArchiveError> step();
  Result<bool, ArchiveError> read_header();
  Result<bool, ArchiveError> read_entry();
  Result<bool, ArchiveError> end_entries();
  Result<void, ArchiveError> skim(ByteSpan data);
  Result<void, ArchiveError> take_field(ByteSpan field);
  ArchiveError fail(ArchiveError error);

  RowReader* rows_ = nullptr;
  std::unordered_map<std::uint32_t, std::size_t> wanted_;  // dump id to handle
  std::optional<std::size_t> reading_;                     // the handle of the rows under way
  State state_ = State::kHeader;
  Bytes pending_;           // not yet understood
  std::size_t offset_ = 0;  // of what is understood in pending_
  std::uint8_t minor_ = 0;
  std::uint8_t integer_size_ = 4;
  std::uint8_t offset_size_ = 8;
  std::uint64_t entries_left_ = 0;
  std::map<std::pair<std::string, std::string>, SequenceValue> sequences_;

  std::vector<std::uint32_t> with_data_;  // dump ids; sorted once all are known
  std::vector<bool> seen_;                // of each of these
  std::size_t missing_ = 0;
  DataField expected_ = DataField::kKind;
  bool in_objects_ = false;
  std::uint64_t skip_ = 0;  // content left before the next field
  std::array<std::byte, 9> field_{};
  std::size_t field_size_ = 0;  // of `expected_`, so far
};

}  // namespace sealane::backup
