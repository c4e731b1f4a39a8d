#include "tests/support/data_path.h"

namespace sealane::testing {

std::string data_path(std::string_view name) {
  return std::string(SEALANE_TEST_DATA "/").append(name);
}

std::string shared_vectors() { return SEALANE_SHARED_VECTORS; }

}  // namespace sealane::testing
