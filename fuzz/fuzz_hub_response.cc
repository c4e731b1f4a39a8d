// Responses: what decodes encodes to the same bytes. Ids as text: what parses reads back the same.
#include "base/check.h"
#include "hub/challenge.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  if (const auto response = hub::decode_response(input)) {
    SEALANE_CHECK(std::ranges::equal(encode(*response), input));
  } else {
    SEALANE_CHECK(size < 16);
  }
  if (const auto id = hub::parse_client_id(as_text(input))) {
    SEALANE_CHECK(hub::parse_client_id(to_text(*id)) == id);
    SEALANE_CHECK(hub::parse_client_id(hub::to_file_name(*id)) == id);
  }
  return 0;
}
