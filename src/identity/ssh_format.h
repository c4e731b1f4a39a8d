#pragma once
// What OpenSSH's formats share: names, text armour, lines.
#include <cstdint>
#include <optional>
#include <string_view>

#include "sealane/identity/keys.h"

namespace sealane::identity {

inline constexpr std::string_view kSshEd25519 = "ssh-ed25519";
inline constexpr std::size_t kSshArmorColumns = 70;  // OpenSSH wraps base64 here

// Why a key type is not taken: kUnsupportedType for the other types of OpenSSH, else kNotAKey.
KeyError unknown_key_type(std::string_view type);

// Cuts off and returns the next line without its LF; nothing at the end.
std::optional<std::string_view> next_line(std::string_view& text);
// Without blanks, tabs and carriage returns at both ends.
std::string_view trimmed(std::string_view line);

}  // namespace sealane::identity
