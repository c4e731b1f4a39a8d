#pragma once
// Counts every `new` of this test program.
#include <cstdint>

namespace sealane::testing {
std::uint64_t allocation_count();
}  // namespace sealane::testing
