// Proof: what decodes is encoded to the same bytes, signed or not.
#include "base/check.h"
#include "repo/proof.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::repo;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto proof = decode_proof(text); proof.has_value()) {
    SEALANE_CHECK(encode(proof.value()) == text);
  }
  if (const auto proof = open_proof(text); proof.has_value()) {
    SEALANE_CHECK(text.starts_with(encode(proof.value().document)));
  }
  return 0;
}
