#pragma once
// UTF-8 as RFC 3629 has it: shortest forms, no surrogates, nothing above U+10FFFF.
#include <cstddef>
#include <string_view>

namespace sealane {

// Length of the sequence at the start of `text`, 0 if it is not valid. REQUIRES: not empty.
std::size_t utf8_length(std::string_view text);
bool is_utf8(std::string_view text);

}  // namespace sealane
