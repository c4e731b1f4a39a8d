// Armor: every cut of a text gives the same data and verdict; a text that decodes is the one text
// of its data, apart from blanks around and CRLF.
#include <optional>

#include "base/check.h"
#include "seal/armor.h"

namespace {
using namespace sealane;
using namespace sealane::seal;

struct Decoded {
  Bytes data;
  std::optional<SealError> error;
};
Decoded decode(ByteSpan text, std::size_t step) {
  ArmorDecoder decoder;
  Decoded result;
  for (; !text.empty() && !result.error; text = text.subspan(std::min(step, text.size()))) {
    const auto updated = decoder.update(text.first(std::min(step, text.size())), result.data);
    if (!updated.has_value()) result.error = updated.error();
  }
  const auto finished = decoder.finish();
  if (!finished.has_value()) result.error = finished.error();
  return result;
}

std::string canonical(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  text.remove_prefix(text.find_first_not_of(kBlanks));
  text = text.substr(0, text.find_last_not_of(kBlanks) + 1);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!text.substr(i).starts_with("\r\n")) out += text[i];
  }
  return out + '\n';
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = std::size_t{data[0]} + 1;
  const ByteSpan text = std::as_bytes(std::span(data, size)).subspan(1);
  const Decoded whole = decode(text, size);
  const Decoded cut = decode(text, step);
  SEALANE_CHECK(whole.error == cut.error);
  SEALANE_CHECK(whole.data == cut.data);
  if (whole.error) return 0;
  SEALANE_CHECK(looks_armored(text));
  ArmorEncoder encoder;
  std::string again;
  encoder.update(whole.data, again);
  encoder.finish(again);
  SEALANE_CHECK(again == canonical(as_text(text)));
  return 0;
}
