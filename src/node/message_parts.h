#pragma once
// MessageParts: puts parts of messages together. A hub gives more only once it was told what has
// arrived, and may forget what it was told of; so a part is on the disk first and answered then,
// and a message becomes whole over any crash.
//
// One file a sender, named by its id: the parts of the message that is coming, one behind the
// other. Numbers are big-endian.
//
//   offset  size  field
//        0     8  whole   of the message
//        8     4  index   of the part
//       12     4  count   of the parts
//       16     4  size    of the data
//       20     8  check   SHA-256 of the fields before and the data, its first 8 bytes
//       28  size  data
//
// What follows the last part in order that belongs to the same message means nothing: a message
// before was longer, or a part was cut.
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "hub/extension.h"
#include "hub/ids.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::node {

// Parts of one message, from the first on.
struct PartRun {
  std::uint64_t whole = 0;
  std::uint32_t count = 0;  // of all its parts; 0: nothing is known
  std::uint32_t next = 0;   // index of the part that is missing
  Bytes data = {};          // of those before
  std::uint64_t end = 0;    // of these in the file
  bool complete() const { return count > 0 && next == count; }
};
Bytes encode_part(const hub::Part& part, ByteSpan data);
PartRun parse_parts(ByteSpan file);  // of anything

// Not thread-safe.
class MessageParts {
 public:
  static constexpr std::size_t kMaxMessage = std::size_t{8} << 20;  // bytes
  static constexpr std::size_t kMaxHeld = std::size_t{32} << 20;    // of all that are coming
  static constexpr std::size_t kMaxSenders = 64;                    // bounds files

  // The directory is made with the first part. `files` must outlive it.
  MessageParts(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  struct Outcome {
    std::optional<Bytes> message = {};  // whole now; kept on the disk until finished()
    std::string_view dropped = {};      // why a message will never be whole, for a warning
  };
  // The parts of a sender come in their order, or again. A message that another one follows or that
  // lacks a part will never be whole; its sender was told. An error is of the disk: the part was
  // not taken, and what came before it stays.
  Result<Outcome, Error> take(const hub::ClientId& sender, const hub::Part& part, ByteSpan data);
  // What was taken is on the disk when it returns.
  Result<void, Error> sync();
  // The message has been dealt with, for ever.
  Result<void, Error> finished(const hub::ClientId& sender);

 private:
  struct Coming {
    std::unique_ptr<File> file;
    PartRun run;
    bool dirty = false;
  };
  using Place = std::map<hub::ClientId, Coming>::iterator;
  std::string path_of(const hub::ClientId& sender) const;
  Result<void, Error> load();
  Result<void, Error> create(const hub::ClientId& sender);
  Result<void, Error> forget(Place place);

  FileSystem& files_;
  std::string directory_;
  bool loaded_ = false;
  bool new_names_ = false;  // the directory is to be synced
  std::size_t held_ = 0;
  std::map<hub::ClientId, Coming> coming_;
};

}  // namespace sealane::node
