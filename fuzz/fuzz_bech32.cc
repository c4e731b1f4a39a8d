// Bech32: what decodes is encoded to the same text, in its case.
#include <cstdlib>

#include "base/check.h"
#include "identity/bech32.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto decoded = decode_bech32(text);
  if (!decoded.has_value()) return 0;
  const ByteSpan bytes = decoded.value().data.expose();
  const auto lower = encode_bech32(decoded.value().prefix, bytes, Bech32Case::kLower);
  const auto upper = encode_bech32(decoded.value().prefix, bytes, Bech32Case::kUpper);
  SEALANE_CHECK(lower.expose_text() == text || upper.expose_text() == text);
  return 0;
}
