// Key, IV and secret files: accepted or refused by a sentence, never anything else; forms that say
// what they are give what they say.
#include "base/check.h"
#include "entropy/key_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::entropy;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto parsed = parse_key_file(input, true);
  if (parsed.has_value()) {
    const ByteSpan bytes = parsed.value().bytes.expose();
    for (const KeyWarning warning : parsed.value().warnings) {
      SEALANE_CHECK(!describe(warning).empty());
    }
    const auto again = parse_key_file(as_bytes("hex:" + to_hex(bytes)), true);
    SEALANE_CHECK(again.has_value() && std::ranges::equal(again.value().bytes.expose(), bytes));
    const auto strict = parse_key_file(input, false);
    SEALANE_CHECK(strict.has_value() != (as_text(bytes) == kSampleKey));
  } else {
    SEALANE_CHECK(!describe(parsed.error()).empty());
  }
  const auto secret = parse_secret_file(input);
  if (secret.has_value()) {
    const auto again = parse_secret_file(as_bytes("hex:" + to_hex(secret.value().expose())));
    SEALANE_CHECK(again.has_value());
    SEALANE_CHECK(std::ranges::equal(again.value().expose(), secret.value().expose()));
  }
  return 0;
}
