#pragma once
// SyncReader: what a Redis sends to a replica that said SYNC: empty lines while it prepares, then
// how long the file is or which mark ends it, then the file. docs/protocol/warm.md.
#include <cstdint>
#include <string>

#include "backup/rdb.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::warm {

enum class SyncFault : std::uint8_t {
  kRefused = 1,  // the server says why
  kNoSync,       // this is no answer to SYNC
  kFile,         // `rdb` says what is wrong with it
  kEnd,          // something else than the end stands behind the file
};
struct SyncError {
  SyncFault fault = SyncFault::kNoSync;
  std::string answer = {};  // of kRefused
  backup::RdbError rdb = backup::RdbError::kMalformed;
};

// Not thread-safe. Errors are final. Any cut of the stream gives the same keys. Memory: as
// RdbReader.
class SyncReader {
 public:
  static constexpr std::size_t kMarkSize = 40;
  static constexpr std::size_t kMaxLine = 512;  // of an answer; a server's own are shorter

  SyncReader(backup::RdbHandler& keys, backup::RdbCopying copying) : file_(keys, copying) {}

  // Bytes after the end are not read: a server may go on with what was written meanwhile.
  Result<void, SyncError> feed(ByteSpan data);
  bool begun() const { return state_ == State::kFile; }  // the file is arriving
  bool done() const { return state_ == State::kDone; }
  const backup::RdbReader& file() const { return file_; }

 private:
  enum class State : std::uint8_t { kLine, kFile, kMark, kDone };
  Result<void, SyncError> take_line();
  Result<void, SyncError> feed_file(ByteSpan data);
  Result<void, SyncError> feed_mark(ByteSpan data);

  backup::RdbReader file_;
  State state_ = State::kLine;
  std::string line_;
  std::string mark_;             // behind the file; empty: the size is known
  std::uint64_t size_left_ = 0;  // of the file
  std::size_t mark_read_ = 0;
};

}  // namespace sealane::warm
