#pragma once
// The CRC-64 of Redis ("Jones": 0xad93d23594c935a9, reflected): what its RDB files and DUMP
// payloads end with. It finds damage, not forgery.
#include <cstdint>

#include "sealane/base/bytes.h"

namespace sealane::crypto {

// Of what `crc` is of (0: nothing) and `data` behind it. SEALANE_CPU=generic in the environment
// keeps to code for every CPU.
std::uint64_t crc64(std::uint64_t crc, ByteSpan data);

// The same, with code for every CPU.
std::uint64_t crc64_by_table(std::uint64_t crc, ByteSpan data);

}  // namespace sealane::crypto
