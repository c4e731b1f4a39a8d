#pragma once
// PartBuilder: what all sources share: commands go in, parts come out.
#include <deque>
#include <optional>
#include <utility>

#include "crypto/hash.h"
#include "sealane/warm/source.h"

namespace sealane::warm {

// Two parts in memory, one being filled and one on its way, must leave room below 128 MiB.
inline constexpr std::size_t kDefaultPartSize = std::size_t{32} * 1024 * 1024;
// To a peer on the same host: a connection costs little there, and both ends together with the
// kernel's copy stay in a CPU's cache.
inline constexpr std::size_t kLocalPartSize = std::size_t{8} * 1024 * 1024;
inline constexpr std::size_t kMinPartSize = 4096;

// Collects commands into parts.
class PartBuilder {
 public:
  PartBuilder(std::size_t part_size, TokenRange range) : part_size_(part_size), range_(range) {}
  void start_at(std::uint32_t index) { index_ = index; }
  // Takes one command, or several that belong together; cuts before them where the part would
  // become too long.
  void add(ByteSpan command, std::uint64_t keys, std::uint64_t commands = 1);
  // The same, for whoever calls to write into: exactly `size` bytes.
  MutableByteSpan add_sized(std::size_t size, std::uint64_t keys, std::uint64_t commands = 1);
  // Memory of a part that is done with. Not more of it is kept than one part needs.
  void reuse(Bytes memory);
  void cut();  // what follows goes to a part of its own; nothing if the part is empty
  // Where a source resumes behind all that was added so far.
  void settle(PartCursor behind) { behind_ = std::move(behind); }
  // From now on parts continue a key (or no longer).
  void set_continues(bool continues) { continues_ = continues; }
  std::optional<Part> take();  // the oldest complete one
  std::uint32_t next_index() const { return index_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  void begin(std::size_t size, std::uint64_t keys, std::uint64_t commands);
  void hash_from(std::size_t least);

  std::size_t part_size_;
  TokenRange range_;
  std::uint32_t index_ = 0;
  std::uint64_t bytes_ = 0;
  Bytes commands_;
  crypto::Sha256 hash_;     // of the part being filled
  std::size_t hashed_ = 0;  // bytes of it
  Bytes spare_;
  std::uint64_t keys_ = 0;
  std::uint64_t command_count_ = 0;
  bool continues_ = false;       // of what is added now
  bool part_continues_ = false;  // of the part being filled
  PartCursor behind_;
  std::deque<Part> ready_;
};

}  // namespace sealane::warm
