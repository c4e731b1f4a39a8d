// OpenSSH keys: what is read as a private key or a public line is written and read as the same.
#include "base/check.h"
#include "sealane/identity/keys.h"

namespace {

class Zeros final : public sealane::RandomSource {
 public:
  void fill(sealane::MutableByteSpan out) override { std::ranges::fill(out, std::byte{0}); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  constexpr std::uint32_t kFuzzRounds = 2;  // speed
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const SecretBytes passphrase(std::string_view("correct horse"));
  Zeros random;
  const auto key = parse_private_key(text, &passphrase, kFuzzRounds);
  if (key.has_value()) {
    const auto written = format_private_key(key.value(), random);
    const auto again = parse_private_key(written.expose_text());
    SEALANE_CHECK(again.has_value());
    SEALANE_CHECK(again.value().public_key() == key.value().public_key());
    SEALANE_CHECK(again.value().comment() == key.value().comment());
    SEALANE_CHECK(!private_key_cipher(text).empty());
  }
  const auto line = parse_public_key_line(text);
  if (line.has_value()) {
    const auto again = parse_public_key_line(format_public_key_line(line.value()));
    SEALANE_CHECK(again.has_value());
    SEALANE_CHECK(again.value().key == line.value().key);
    SEALANE_CHECK(again.value().comment == line.value().comment);
  }
  const ByteSpan bytes = as_bytes(text);
  const auto blob = decode_public_key_blob(bytes);
  if (blob.has_value()) SEALANE_CHECK(encode_public_key_blob(blob.value()) == to_bytes(bytes));
  return 0;
}
