// Challenges: what decodes encodes to the same bytes; keys in them are parsed, and what parses is a
// key that can be used.
#include "base/check.h"
#include "crypto/rsa.h"
#include "hub/challenge.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  static_cast<void>(hub::decode_bound_challenge(input));
  if (size > 65535) return 0;
  const auto challenge = hub::decode_challenge(input);
  if (!challenge) return 0;
  SEALANE_CHECK(std::ranges::equal(encode(*challenge), input));
  if (const auto bound = hub::decode_bound_challenge(challenge->data)) {
    SEALANE_CHECK(hub::has_bound_magic(challenge->data));
  }
  const auto key = crypto::RsaPublicKey::from_pem(challenge->key);
  if (!key.has_value()) return 0;
  SEALANE_CHECK(key.value().encrypt(as_bytes("x")).size() == key.value().size());
  const std::string pem = key.value().to_pem();
  SEALANE_CHECK(crypto::RsaPublicKey::from_pem(as_bytes(pem)).value() == key.value());
  return 0;
}
