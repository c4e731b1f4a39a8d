#include "hub/ids.h"

#include "base/copy_bytes.h"

namespace sealane::hub {
namespace {

// Bytes before each dash of the long form.
constexpr std::size_t kDashes[] = {4, 6, 8, 10};

}  // namespace

ClientId make_client_id(RandomSource& random) {
  ClientId id;
  random.fill(id.bytes);
  id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x40};  // version 4
  id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};  // the RFC's variant
  return id;
}

std::string to_file_name(const ClientId& id) { return to_hex(id.bytes); }

std::string to_text(const ClientId& id) {
  std::string text = to_hex(id.bytes);
  for (std::size_t i = std::size(kDashes); i > 0; --i) text.insert(2 * kDashes[i - 1], 1, '-');
  return text;
}

std::optional<ClientId> parse_client_id(std::string_view text) {
  constexpr std::size_t kDigits = 2 * ClientId::kSize;
  std::string digits(text);
  if (digits.size() == kDigits + std::size(kDashes)) {
    for (const std::size_t dash : kDashes) {
      if (digits[2 * dash] != '-') return std::nullopt;
      digits.erase(2 * dash, 1);
    }
  }
  const auto bytes = digits.size() == kDigits ? from_hex(digits) : std::nullopt;
  if (!bytes) return std::nullopt;
  ClientId id;
  copy_bytes(*bytes, id.bytes.begin());
  return id;
}

}  // namespace sealane::hub
