#pragma once
#include <string>
#include <string_view>

namespace sealane::backup {

// A name as SQL takes it, whatever it holds: in double quotes, those in it twice.
inline std::string quoted_identifier(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace sealane::backup
