#pragma once
// SealedInput: the start of a sealed stream of unknown format: what it is, and where its header
// ends.
#include <memory>
#include <string>

#include "backup/armor_stream.h"
#include "flow/stream.h"

namespace sealane::backup {

enum class SealedFormat : std::uint8_t {
  kAge = 1,
  kChunkStream,  // nothing marks one; its first length is plausible
  kUnknown,
};

// Armor is taken off on the way. Not thread-safe. `source` outlives it.
class SealedInput {
 public:
  SealedInput(flow::ByteSource& source, std::string name);
  // Reads as much as it takes to tell. Damaged armor is an error.
  Result<SealedFormat, Error> detect();
  bool armored() const { return armor_ != nullptr; }
  // Header and nonce. REQUIRES: detect() said kAge. Valid as long as *this.
  Result<ByteSpan, Error> age_header();

  // What open_stream() wants: bytes behind the header that were read already, and where more is.
  ByteSpan first() const { return ByteSpan(start_).subspan(header_size_); }
  flow::ByteSource& source() { return armor_ ? *armor_ : source_; }

 private:
  // Until start_ holds `size` bytes or the input ends.
  Result<void, Error> read_up_to(std::size_t size);
  flow::ByteSource& source_;
  std::string name_;
  std::unique_ptr<ArmorSource> armor_;
  Bytes start_;
  bool at_end_ = false;
  std::size_t header_size_ = 0;
};

}  // namespace sealane::backup
