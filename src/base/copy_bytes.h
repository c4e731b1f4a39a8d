#pragma once
// copy_bytes: a copy of bytes that is one memmove(). std::ranges::copy() of g++ 12 goes byte by
// byte for std::byte, which is slower than AES.
#include <algorithm>
#include <iterator>

#include "sealane/base/bytes.h"

namespace sealane {

// Copies all of `from` to where `to` points, and returns where it ends. REQUIRES: room, no overlap.
template <std::contiguous_iterator Out>
Out copy_bytes(ByteSpan from, Out to) {
  return std::copy(from.begin(), from.end(), to);
}

}  // namespace sealane
