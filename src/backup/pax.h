#pragma once
// pax archives (POSIX.1-2001): headers out, and a strict reader for what we and GNU tar write.
// Layout, records and limits: docs/protocol/pax.md. No I/O here.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::backup {

inline constexpr std::size_t kPaxBlock = 512;
inline constexpr std::size_t kPaxMaxDepth = 256;               // folders: each costs a descriptor
inline constexpr std::size_t kPaxMaxPath = 64 * 1024;          // bytes of one path
inline constexpr std::size_t kPaxMaxName = 255;                // of one component, as in Linux
inline constexpr std::size_t kPaxMaxLink = 4095;               // of a symbolic link, as in Linux
inline constexpr std::size_t kPaxMaxXattrBytes = 1024 * 1024;  // names and values of one entry
inline constexpr std::size_t kPaxMaxXattrs = 1024;             // of one entry
inline constexpr std::size_t kPaxMaxHeader = 2 * 1024 * 1024;  // extended header of one entry
inline constexpr std::size_t kPaxMaxRecords = 2048;            // in it
inline constexpr std::size_t kPaxMaxExtents = 256 * 1024;      // of one sparse file
inline constexpr std::uint64_t kPaxMaxFileSize = INT64_MAX;    // what Linux can address

enum class EntryType : std::uint8_t {
  kFile,
  kHardLink,
  kSymlink,
  kCharacterDevice,
  kBlockDevice,
  kDirectory,
  kFifo,
};

struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct PaxEntry {
  EntryType type = EntryType::kFile;
  std::string path;        // relative, any bytes but NUL, no "." or ".." in it; empty: the root
  std::uint32_t mode = 0;  // the lower 12 bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string user;  // may be empty
  std::string group;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint64_t size = 0;   // of a file, holes included; else 0
  std::string link_target;  // a symlink's text, a hard link's path (as `path`)
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::map<std::string, std::string> xattrs;
  // Of a sparse file: ascending, apart from each other, within size. What lies between is zero.
  std::optional<std::vector<Extent>> extents;
  friend bool operator==(const PaxEntry&, const PaxEntry&) = default;
};

// Everything in front of the content: extended header, header, sparse map. REQUIRES:
// is_valid(entry).
Bytes encode_pax_header(const PaxEntry& entry);
// Bytes of content that follow the header, and the zeros that fill their last block.
std::uint64_t pax_content_size(const PaxEntry& entry);
inline std::size_t pax_padding(std::uint64_t size) {
  return static_cast<std::size_t>((kPaxBlock - size % kPaxBlock) % kPaxBlock);
}
inline constexpr std::size_t kPaxEndSize = 2 * kPaxBlock;  // zeros at the end of an archive

enum class PaxError : std::uint8_t {
  kHeader = 1,      // no pax header where one must be
  kExtendedHeader,  // its records are malformed or contradict each other
  kPath,            // absolute, with "..", too long, …
  kLimit,           // larger than any limit above
  kSparse,          // the map does not describe the file
  kTruncated,       // the archive ends early
  kTrailing,        // something other than zeros follows the end
};
std::string_view name_of(PaxError error);  // "the archive ends early"

// Whether encode_pax_header() may have it; what is decoded always is.
bool is_valid(const PaxEntry& entry);

// Cuts an archive into entries and their content. Any cut of the input gives the same entries and
// bytes. Errors are final. Memory: one entry. Not thread-safe.
class PaxReader {
 public:
  struct NeedInput {};
  struct Content {  // of the last entry, a file
    std::uint64_t offset = 0;
    ByteSpan bytes;  // of the input, never empty
  };
  struct FileEnd {};     // all content of the last entry, a file, was there
  struct ArchiveEnd {};  // once; only zeros may follow
  using Event = std::variant<NeedInput, PaxEntry, Content, FileEnd, ArchiveEnd>;

  // Takes what it needs from the front of `input`.
  Result<Event, PaxError> next(ByteSpan& input);
  // No input follows. An error unless the archive is complete.
  Result<void, PaxError> finish() const;

 private:
  enum class State : std::uint8_t { kHeader, kExtended, kMap, kContent, kAfterEnd };
  using Records = std::map<std::string, std::string, std::less<>>;

  bool collect(ByteSpan& input, std::size_t size);  // into block_; true when it is full
  Result<std::optional<PaxEntry>, PaxError> on_header();
  Result<void, PaxError> on_extended();
  Result<bool, PaxError> read_map(ByteSpan& input);  // true when it is complete

  State state_ = State::kHeader;
  Bytes block_;
  std::uint64_t to_skip_ = 0;  // padding in front of what comes next
  std::size_t zero_blocks_ = 0;
  std::size_t extended_size_ = 0;
  std::optional<Records> records_;  // of the extended header, for the next entry
  std::uint64_t stored_ = 0;        // bytes of the current entry, map included
  std::uint64_t left_ = 0;          // of them, not yet seen
  PaxEntry sparse_;                 // while its map is read
  std::uint64_t map_left_ = 0;      // numbers still to come; the first one says how many
  bool map_counted_ = false;
  std::string digits_;
  std::vector<std::uint64_t> map_;
  std::vector<Extent> extents_;  // of the content that follows
  std::size_t extent_ = 0;
  std::uint64_t extent_done_ = 0;
};

}  // namespace sealane::backup
