#include "identity/ssh_format.h"

#include <algorithm>
#include <array>

namespace sealane::identity {

KeyError unknown_key_type(std::string_view type) {
  constexpr std::array<std::string_view, 5> kStarts = {"ssh-", "ecdsa-sha2-", "sk-ssh-",
                                                       "sk-ecdsa-", "rsa-sha2-"};
  const bool of_openssh =
      std::ranges::any_of(kStarts, [&](std::string_view start) { return type.starts_with(start); });
  return of_openssh ? KeyError::kUnsupportedType : KeyError::kNotAKey;
}

std::optional<std::string_view> next_line(std::string_view& text) {
  if (text.empty()) return std::nullopt;
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  const std::size_t first = line.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace sealane::identity
