#pragma once
// What sources make of a whole key: the commands that create it.
#include <cstdint>

#include "backup/rdb.h"
#include "sealane/base/bytes.h"

namespace sealane::warm {

// Above this a value takes more time than its commands, and its DUMP is packed.
inline constexpr std::size_t kSmallText = 1024;

// SET key text NX: a string that does not expire.
std::size_t create_size(ByteSpan key, ByteSpan text);
void write_create(ByteSpan key, ByteSpan text, MutableByteSpan out);  // exactly create_size()
void append_create(ByteSpan key, ByteSpan text, Bytes& out);
// Of RESTORE key expires DUMP ABSTTL the first half: the dump and "ABSTTL" follow as two words.
// `expires`: Unix time in milliseconds; 0: never.
void begin_restore(ByteSpan key, std::int64_t expires, Bytes& out);
// All of it, of a key as it stands in an RDB file. REQUIRES: the reader keeps values.
void append_restore(const backup::RdbKey& key, Bytes& out);

}  // namespace sealane::warm
