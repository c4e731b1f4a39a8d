// CONFIG: what decodes, written and read again, is the same.
#include "base/check.h"
#include "hub/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto config = hub::decode_config(as_text(input));
  if (!config.has_value()) return 0;
  const std::string text = encode(config.value());
  const auto again = hub::decode_config(text);
  // Ours may be longer, by blanks and escapes.
  SEALANE_CHECK(again.has_value() ? again.value() == config.value()
                                  : again.error() == hub::ConfigError::kTooLarge);
  return 0;
}
