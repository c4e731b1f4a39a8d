#include "seal/decrypt_token.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace sealane::seal {
namespace {

using nlohmann::json;
using Kind = TokenError::Kind;

constexpr std::string_view kIssuer = "backupy-server";
constexpr std::string_view kAudience = "backupy-decrypt";
constexpr std::string_view kAlgorithm = "aes-256-gcm";
constexpr double kFormatVersion = 1;

TokenError invalid(std::string_view detail) { return {Kind::kInvalid, detail}; }

std::string lower_ascii(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

// The claim's text, or null when it is absent or no string. Valid while `claims` lives.
std::string* text_claim(json& claims, const char* name) {
  const auto found = claims.find(name);
  if (found == claims.end() || !found->is_string()) return nullptr;
  return found->get_ptr<std::string*>();
}

// The integer part, or nothing when it is absent or no number.
std::optional<double> number_claim(const json& claims, const char* name) {
  const auto found = claims.find(name);
  if (found == claims.end() || !found->is_number()) return std::nullopt;
  return std::trunc(found->get<double>());
}

bool is_later(WallTime now, double unix_seconds) {
  // Beyond what WallTime can hold (1677 to 2262) the comparison needs no clock.
  if (unix_seconds > 9.2e9) return false;
  if (unix_seconds < -9.2e9) return true;
  return now > WallTime(std::chrono::seconds(static_cast<std::int64_t>(unix_seconds)));
}

// Takes the claims apart; wipes the key's text whatever happens.
class Claims {
 public:
  explicit Claims(json claims) : claims_(std::move(claims)) {}
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;
  ~Claims() {
    if (!claims_.is_object()) return;
    if (std::string* key = text_claim(claims_, "dek")) {
      cleanse(std::as_writable_bytes(std::span(key->data(), key->size())));
    }
  }
  bool is_object() const { return claims_.is_object(); }
  std::string_view text(const char* name) {
    const std::string* value = text_claim(claims_, name);
    return value == nullptr ? std::string_view() : std::string_view(*value);
  }
  std::optional<double> number(const char* name) const { return number_claim(claims_, name); }

 private:
  json claims_;
};

}  // namespace

Result<DecryptToken, TokenError> parse_decrypt_token(std::string_view text, WallTime now,
                                                     TokenExpiry expiry) {
  if (text.size() > kMaxDecryptTokenSize) return invalid("it is longer than any token");
  const std::size_t first = text.find('.');
  const std::size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  if (second == std::string_view::npos || text.find('.', second + 1) != std::string_view::npos) {
    return invalid("it does not have three segments");
  }
  auto payload = from_base64(text.substr(first + 1, second - first - 1), Base64Alphabet::kUrl,
                             Base64Padding::kUnpadded);
  if (!payload) return invalid("its payload is not base64url");
  Claims claims(json::parse(as_text(*payload), nullptr, /*allow_exceptions=*/false));
  cleanse(*payload);
  if (!claims.is_object()) return invalid("its payload is not a JSON object");

  if (claims.text("iss") != kIssuer) return invalid("iss is not backupy-server");
  if (claims.text("aud") != kAudience) return invalid("aud is not backupy-decrypt");
  const auto expires = claims.number("exp");
  if (!expires) return invalid("exp is missing or not a number");
  const bool expired = is_later(now, *expires);
  if (expired && expiry == TokenExpiry::kRefuse) return TokenError{Kind::kExpired, "exp is past"};
  if (claims.text("sub").empty()) return invalid("sub is missing or empty");
  if (claims.text("run_id").empty()) return invalid("run_id is missing or empty");
  if (claims.text("company_id").empty()) return invalid("company_id is missing or empty");
  if (claims.text("dek").empty()) return invalid("dek is missing or empty");
  if (claims.text("alg").empty()) return invalid("alg is missing or empty");
  const auto version = claims.number("format_version");
  if (!version) return invalid("format_version is missing or not a number");

  if (lower_ascii(claims.text("alg")) != kAlgorithm) {
    return TokenError{Kind::kUnsupportedAlgorithm, "alg is not AES-256-GCM"};
  }
  if (*version != kFormatVersion) {
    return TokenError{Kind::kUnsupportedFormat, "format_version is not 1"};
  }
  auto key = from_base64(claims.text("dek"));
  if (!key) return invalid("dek is not base64");
  if (key->size() != DataKey::kSize) {
    cleanse(*key);
    return invalid("dek is not 32 bytes");
  }
  DecryptToken token{.key = DataKey(std::span(*key).first<DataKey::kSize>()),
                     .sha256 = lower_ascii(claims.text("sha256")),
                     .expired = expired};
  cleanse(*key);
  return token;
}

}  // namespace sealane::seal
