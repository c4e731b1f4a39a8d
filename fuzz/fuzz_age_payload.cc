// age payload: only the untouched stream opens. The input is a list of edits on a sealed stream of
// a few chunks; whatever they leave either equals the original or is refused, after a true prefix.
#include "../tests/seal/driver.h"
#include "base/check.h"
#include "seal/age.h"

namespace {
using namespace sealane;
using namespace sealane::seal;

struct Original {
  Bytes plaintext = testing::pattern(0, 2 * kAgeChunkSize + 100);
  Bytes header;
  Bytes payload;
  std::unique_ptr<FileKey> key;

  Original() {
    testing::ScriptedRandom random;
    const auto identity = identity::AgeIdentity::generate(random);
    const identity::Recipient recipient = identity::AgeRecipient{identity.public_key()};
    const auto sealer = make_age_sealer({.recipients = std::span(&recipient, 1)}, random, &key);
    const Bytes all = testing::seal_all(*sealer.value(), plaintext);
    const std::size_t size = sealer.value()->header().size();
    header.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
    payload.assign(all.begin() + static_cast<std::ptrdiff_t>(size), all.end());
  }
};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Original original;
  ByteSpan script = std::as_bytes(std::span(data, size)).first(std::min<std::size_t>(size, 60));
  const auto number = [&](std::size_t bytes) {
    std::size_t value = 0;
    for (; bytes > 0 && !script.empty(); --bytes, script = script.subspan(1)) {
      value = value << 8 | std::to_integer<std::size_t>(script[0]);
    }
    return value;
  };
  const std::size_t read_size = number(2) + 1;
  constexpr std::size_t kSealed = kAgeChunkSize + 16;
  Bytes edited = original.payload;
  while (!script.empty()) {
    const std::size_t edit = number(1) % 5;
    const std::size_t at = edited.empty() ? 0 : number(3) % edited.size();
    const auto position = edited.begin() + static_cast<std::ptrdiff_t>(at);
    if (edit == 0) {
      edited.resize(at);
    } else if (edit == 1) {
      edited.insert(position, static_cast<std::byte>(number(1)));
    } else if (edit == 2 && !edited.empty()) {
      *position ^= static_cast<std::byte>(number(1));
    } else if (edit == 3 && !edited.empty()) {
      edited.erase(position);
    } else if (edit == 4 && edited.size() >= 2 * kSealed) {
      std::swap_ranges(edited.begin(), edited.begin() + kSealed, edited.begin() + kSealed);
    }
  }
  const AgeOpenOptions options{.keys = {}, .passphrase = nullptr, .file_key = original.key.get()};
  const auto opener = make_age_opener(original.header, options);
  const auto opened = testing::open_all(*opener.value(), edited, read_size);
  SEALANE_CHECK(opened.plaintext.size() <= original.plaintext.size());
  SEALANE_CHECK(std::ranges::equal(opened.plaintext,
                                   ByteSpan(original.plaintext).first(opened.plaintext.size())));
  SEALANE_CHECK(opened.error.has_value() == (edited != original.payload));
  return 0;
}
