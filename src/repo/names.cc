#include "repo/names.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "crypto/hash.h"
#include "sealane/identity/keys.h"

namespace sealane::repo {
namespace {

constexpr std::string_view kStreamSuffix = ".zst.age";

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_lower_hex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxName || !is_alphanumeric(name[0])) return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(
      name, [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

std::string to_name(std::string_view text) {
  std::string name;
  for (char c : text) {
    if (name.size() == kMaxName) break;
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool fits = is_alphanumeric(c) || ((c == '.' || c == '_') && !name.empty());
    if (!fits) c = '-';
    const bool doubled = !name.empty() && (c == '-' || c == '.') && name.back() == c;
    if (!doubled && !(name.empty() && c == '-')) name += c;
  }
  while (!name.empty() && !is_alphanumeric(name.back())) name.pop_back();
  return name.empty() ? "x" : name;
}

std::string stream_file(std::size_t index, std::string_view name) {
  return std::to_string(index) + "-" + std::string(name) + std::string(kStreamSuffix);
}

std::optional<std::string> stream_name(std::string_view file, std::size_t index) {
  const std::string prefix = std::to_string(index) + "-";
  if (!file.starts_with(prefix) || !file.ends_with(kStreamSuffix) ||
      file.size() < prefix.size() + kStreamSuffix.size()) {
    return std::nullopt;
  }
  file.remove_prefix(prefix.size());
  file.remove_suffix(kStreamSuffix.size());
  if (!valid_name(file)) return std::nullopt;
  return std::string(file);
}

std::string seq_directory(std::uint64_t seq) {
  SEALANE_CHECK(seq >= 1 && seq <= kMaxSeq);
  const std::string digits = std::to_string(seq);
  return std::string(10 - digits.size(), '0') + digits;
}

std::optional<std::uint64_t> parse_seq_directory(std::string_view text) {
  std::uint64_t seq = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seq);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (seq < 1 || seq > kMaxSeq || seq_directory(seq) != text) return std::nullopt;
  return seq;
}

std::string key_id(const crypto::Ed25519Public& key) {
  return to_hex(crypto::sha256(identity::encode_public_key_blob(key)));
}

bool is_fingerprint(std::string_view text) {
  constexpr std::string_view kPrefix = "SHA256:";
  if (!text.starts_with(kPrefix)) return false;
  const auto digest =
      from_base64(text.substr(kPrefix.size()), Base64Alphabet::kStandard, Base64Padding::kUnpadded);
  return digest && digest->size() == 32;
}

bool is_hex_digest(std::string_view text) { return text.size() == 64 && is_lower_hex(text); }
bool is_repository_id(std::string_view text) { return text.size() == 32 && is_lower_hex(text); }

}  // namespace sealane::repo
