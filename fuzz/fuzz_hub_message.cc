// Messages, extension messages and contents: what decodes encodes to the same bytes (a short time
// becomes a whole one, and then stays).
#include "base/check.h"
#include "hub/extension.h"
#include "hub/message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto strict = hub::decode_message(input, hub::ShortTime::kRefuse);
  if (strict.has_value()) SEALANE_CHECK(std::ranges::equal(encode(strict.value()), input));
  const auto message = hub::decode_message(input);
  if (message.has_value()) {
    SEALANE_CHECK(hub::decode_message(encode(message.value())).value() == message.value());
  }
  if (hub::is_extension(input)) {
    const auto extension = hub::decode_extension(input);
    if (extension.has_value()) SEALANE_CHECK(std::ranges::equal(encode(extension.value()), input));
  }
  const auto content = hub::decode_content(input);
  if (content) SEALANE_CHECK(std::ranges::equal(encode(*content), input));
  return 0;
}
