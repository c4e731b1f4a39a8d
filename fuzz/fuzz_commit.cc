// Commit and forgotten record: what decodes is encoded to the same bytes; what carries a signature
// that holds decodes alike without it.
#include "base/check.h"
#include "repo/commit.h"
#include "repo/proof.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::repo;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto commit = decode_commit(text); commit.has_value()) {
    SEALANE_CHECK(encode(commit.value()) == text);
    SEALANE_CHECK(check(commit.value()).has_value());
  }
  if (const auto record = decode_forgotten(text); record.has_value()) {
    SEALANE_CHECK(encode(record.value()) == text);
  }
  if (const auto signed_commit = open_commit(text); signed_commit.has_value()) {
    const std::string signed_text = encode(signed_commit.value().commit);
    SEALANE_CHECK(text.starts_with(signed_text));
    SEALANE_CHECK(signed_commit.value().id == text_id(signed_text));
  }
  if (const auto record = open_forgotten(text); record.has_value()) {
    SEALANE_CHECK(text.starts_with(encode(record.value().record)));
  }
  return 0;
}
