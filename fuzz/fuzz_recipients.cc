// Recipient and identity files: what is read is written, line by line, and read as the same.
#include "base/check.h"
#include "sealane/identity/keys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto recipients = parse_recipients(text);
  if (recipients.has_value()) {
    std::string written;
    for (const Recipient& recipient : recipients.value()) {
      written += format_recipient(recipient) + "\n";
    }
    SEALANE_CHECK(parse_recipients(written).value() == recipients.value());
  } else {
    SEALANE_CHECK(!describe(recipients.error()).empty());
  }
  constexpr std::uint32_t kFuzzRounds = 1;  // speed
  const auto identities = parse_identities(text, nullptr, kFuzzRounds);
  if (identities.has_value()) {
    for (const OpeningKey& key : identities.value()) {
      const auto* age = std::get_if<AgeIdentity>(&key);
      if (age == nullptr) continue;
      const auto again = AgeIdentity::parse(age->format().expose_text());
      SEALANE_CHECK(again.has_value() && again.value().public_key() == age->public_key());
    }
  } else {
    SEALANE_CHECK(!describe(identities.error()).empty());
  }
  return 0;
}
