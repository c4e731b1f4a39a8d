#pragma once
// Private to this folder: whether SEALANE_CPU=generic asks for code that every CPU runs.
#include <cstdlib>
#include <string_view>

namespace sealane::crypto {

// Read anew each time, so that one process can show both; nobody here writes the environment.
inline bool generic_cpu_forced() {
  const char* cpu = std::getenv("SEALANE_CPU");
  return cpu != nullptr && std::string_view(cpu) == "generic";
}

}  // namespace sealane::crypto
