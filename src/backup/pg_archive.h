#pragma once
// ArchiveReader: follows the beginning of a pg_dump archive in custom format (its header and table
// of contents, versions 1.12 to 1.16) as it streams by. It says whether the archive is one, and
// what values the dump holds for its sequences, which no snapshot freezes.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::backup {

enum class ArchiveError : std::uint8_t {
  kNotAnArchive = 1,  // no "PGDMP", or not in custom format
  kMalformed,
  kLimits,  // an entry above kMaxEntrySize, more than kMaxEntries
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

  Result<void, ArchiveError> feed(ByteSpan data);
  // The header and the table of contents are complete, or of a newer version that is left unread.
  bool complete() const { return state_ == State::kDone || state_ == State::kUnknownVersion; }
  // Whether sequences() is what the archive says.
  bool understood() const { return state_ == State::kDone; }
  // By schema and name.
  const std::map<std::pair<std::string, std::string>, SequenceValue>& sequences() const {
    return sequences_;
  }

 private:
  enum class State : std::uint8_t { kHeader, kEntries, kDone, kUnknownVersion, kFailed };
  // True: one step was made. False: more bytes are needed.
  Result<bool, ArchiveError> step();
  Result<bool, ArchiveError> read_header();
  Result<bool, ArchiveError> read_entry();

  State state_ = State::kHeader;
  Bytes pending_;           // not yet understood
  std::size_t offset_ = 0;  // of what is understood in pending_
  std::uint8_t minor_ = 0;
  std::uint8_t integer_size_ = 4;
  std::uint8_t offset_size_ = 8;
  std::uint64_t entries_left_ = 0;
  std::map<std::pair<std::string, std::string>, SequenceValue> sequences_;
};

}  // namespace sealane::backup
