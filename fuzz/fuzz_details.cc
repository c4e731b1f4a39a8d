// Details: what decodes is encoded to the same bytes.
#include "base/check.h"
#include "repo/details.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::repo;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto details = decode_details(text);
  if (details.has_value()) {
    SEALANE_CHECK(encode(details.value()) == text);
  } else {
    SEALANE_CHECK(!describe(details.error()).empty());
  }
  return 0;
}
