// Decryption token: the text as it is, and as the payload of a token, so that claims are reached.
// Allowing expiry changes nothing else.
#include "base/check.h"
#include "seal/decrypt_token.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::seal;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const WallTime now{std::chrono::seconds(1800000000)};
  const std::string wrapped =
      "." + to_base64(input, Base64Alphabet::kUrl, Base64Padding::kUnpadded) + ".";
  for (const std::string_view text : {as_text(input), std::string_view(wrapped)}) {
    const auto refusing = parse_decrypt_token(text, now);
    const auto allowing = parse_decrypt_token(text, now, TokenExpiry::kAllow);
    if (refusing.has_value()) {
      SEALANE_CHECK(allowing.has_value() && !refusing.value().expired);
      SEALANE_CHECK(
          std::ranges::equal(refusing.value().key.expose(), allowing.value().key.expose()));
    } else if (allowing.has_value()) {
      SEALANE_CHECK(allowing.value().expired);
      SEALANE_CHECK(refusing.error().kind == TokenError::Kind::kExpired);
    } else if (refusing.error().kind != TokenError::Kind::kExpired) {
      SEALANE_CHECK(refusing.error().detail == allowing.error().detail);
    }
  }
  return 0;
}
