// Key exchange messages: what is read is what was signed, and another key signed none of it.
#include "base/check.h"
#include "session/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::session;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto parsed = parse_key_exchange(input);
  if (!parsed.has_value()) return 0;
  const auto& message = parsed.value();
  SEALANE_CHECK(std::ranges::equal(encode_signed_part(message.claimed), message.signed_part));
  SEALANE_CHECK(message.tail.size() == size - KeyExchangeMessage::kEncodedSize);
  const bool genuine = verify(message, message.claimed.identity).has_value();
  crypto::Ed25519Public other = message.claimed.identity;
  other.bytes[0] ^= std::byte{1};
  SEALANE_CHECK(!verify(message, other).has_value());
  // A damaged copy of a genuine one is not genuine.
  if (genuine) {
    Bytes damaged = to_bytes(input);
    damaged[100] ^= std::byte{1};
    const auto again = parse_key_exchange(damaged);
    SEALANE_CHECK(!verify(again.value(), message.claimed.identity).has_value());
  }
  return 0;
}
