#pragma once
// What DUMP gives for a string, and RESTORE takes, made of the text of a value: so small values can
// be read many at a time.
//
//   offset  size  field
//        0     1  type       0
//        1     n  value      a string of the RDB format: docs/protocol/redis.md
//      n+1     2  version    of the RDB format, little-endian
//      n+3     8  CRC-64     of all before, little-endian
#include <cstdint>

#include "sealane/base/bytes.h"

namespace sealane::warm {

// Every server that takes an absolute expiry reads this version.
inline constexpr std::uint16_t kStringDumpVersion = 9;

// How many bytes append_string_dump() adds.
std::size_t string_dump_size(std::size_t text_size);
// REQUIRES: text.size() < 2^32, which no server exceeds.
void append_string_dump(ByteSpan text, Bytes& out);

}  // namespace sealane::warm
