// repo.json, and the text escapes that all documents share: one value, one encoding.
#include "base/check.h"
#include "repo/json.h"
#include "repo/repo_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::repo;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto document = decode_repository(text); document.has_value()) {
    SEALANE_CHECK(encode(document.value()) == text);
  }
  SEALANE_CHECK(unescape_text(escape_text(text)) == text);
  const auto bytes = unescape_text(text);
  SEALANE_CHECK(!bytes || escape_text(*bytes) == text);
  return 0;
}
