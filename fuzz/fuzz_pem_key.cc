// Key files of the Go library: what is read is written back to the same key.
#include "base/check.h"
#include "sealane/identity/keys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto key = parse_pem_private_key(text); key.has_value()) {
    const SecretBytes written = format_pem_private_key(key.value());
    const auto again = parse_pem_private_key(written.expose_text());
    SEALANE_CHECK(again.has_value() && again.value().public_key() == key.value().public_key());
  }
  if (const auto key = parse_pem_public_key(text); key.has_value()) {
    SEALANE_CHECK(parse_peer_key(format_pem_public_key(key.value())).value() == key.value());
  }
  static_cast<void>(parse_peer_key(text));
  return 0;
}
