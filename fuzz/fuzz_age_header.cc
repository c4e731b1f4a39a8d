// age header: what parses is encoded to the same bytes, and a header cut short is never taken.
#include "base/check.h"
#include "seal/age.h"
#include "seal/age_header.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::seal;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  const auto parsed = parse_age_header(input, true);
  if (!parsed.has_value()) return 0;
  const auto& header = std::get<AgeHeader>(parsed.value());
  const std::string start = encode_age_header_start(header.stanzas);
  SEALANE_CHECK(start.size() == header.mac_input_size);
  SEALANE_CHECK(start + encode_age_header_end(header.mac) == as_text(input.first(header.size)));
  SEALANE_CHECK(!parse_age_header(input.first(header.size - 1), true).has_value());
  // The stanzas' own rules: any verdict but a crash.
  if (const auto whole = age_header_size(input, true); whole.has_value()) {
    const FileKey key{std::span<const std::byte, 16>(ByteArray<16>{})};
    const AgeOpenOptions options{.keys = {}, .passphrase = nullptr, .file_key = &key};
    (void)make_age_opener(input.first(std::get<std::size_t>(whole.value())), options).has_value();
  }
  return 0;
}
