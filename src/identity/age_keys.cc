// age X25519 keys, recipients of both kinds, and the files that hold them.
#include "base/check.h"
#include "base/copy_bytes.h"
#include "base/limits.h"
#include "identity/bech32.h"
#include "identity/ssh_format.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {
namespace {

constexpr std::string_view kIdentityPrefix = "age-secret-key-";
constexpr std::string_view kRecipientPrefix = "age";

bool starts_with_ignoring_case(std::string_view text, std::string_view lower) {
  if (text.size() < lower.size()) return false;
  for (std::size_t i = 0; i < lower.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != lower[i]) return false;
  }
  return true;
}

// 32 bytes under `prefix`. `family`: what a text begins with that is of age, but not this.
Result<SecretBytes, KeyError> parse_age_key(std::string_view text, std::string_view prefix,
                                            std::string_view family) {
  if (!starts_with_ignoring_case(text, family)) return KeyError::kNotAKey;
  const std::size_t separator = text.rfind('1');
  if (separator != std::string_view::npos && separator > prefix.size() &&
      text.size() > kMaxBech32Size) {
    return KeyError::kUnsupportedType;  // plugins have longer texts
  }
  auto decoded = decode_bech32(text);
  if (!decoded.has_value()) return KeyError::kMalformed;
  if (decoded.value().prefix != prefix) return KeyError::kUnsupportedType;
  if (decoded.value().data.size() != 32) return KeyError::kMalformed;
  return std::move(decoded.value().data);
}

}  // namespace

AgeIdentity::AgeIdentity(crypto::X25519Private key)
    : private_key_(std::move(key)), public_key_(crypto::x25519_public(private_key_)) {}

AgeIdentity AgeIdentity::generate(RandomSource& random) {
  return AgeIdentity(crypto::x25519_generate(random));
}

Result<AgeIdentity, KeyError> AgeIdentity::parse(std::string_view text) {
  if (starts_with_ignoring_case(text, "age-plugin-")) return KeyError::kUnsupportedType;
  SEALANE_TRY(const auto data, parse_age_key(text, kIdentityPrefix, kIdentityPrefix));
  return AgeIdentity(crypto::X25519Private(data.expose().first<32>()));
}

SecretBytes AgeIdentity::format() const {
  return encode_bech32(kIdentityPrefix, private_key_.expose(), Bech32Case::kUpper);
}

Result<AgeRecipient, KeyError> AgeRecipient::parse(std::string_view text) {
  SEALANE_TRY(const auto data, parse_age_key(text, kRecipientPrefix, "age1"));
  AgeRecipient recipient;
  copy_bytes(data.expose(), recipient.key.begin());
  return recipient;
}

std::string AgeRecipient::format() const {
  return std::string(encode_bech32(kRecipientPrefix, key, Bech32Case::kLower).expose_text());
}

Result<Recipient, KeyError> parse_recipient(std::string_view text) {
  if (starts_with_ignoring_case(text, "age1")) {
    SEALANE_TRY(const auto recipient, AgeRecipient::parse(text));
    return Recipient(recipient);
  }
  SEALANE_TRY(const auto line, parse_public_key_line(text));
  // Nobody holds the private half of a point of small order; sealing to one would seal to all.
  if (!crypto::ed25519_to_x25519(line.key).has_value()) return KeyError::kMalformed;
  return Recipient(SshRecipient{line.key});
}

std::string format_recipient(const Recipient& recipient) {
  if (const auto* age = std::get_if<AgeRecipient>(&recipient)) return age->format();
  return format_public_key_line({.key = std::get<SshRecipient>(recipient).key, .comment = {}});
}

std::string describe(const KeyFileError& error) {
  if (error.error == KeyError::kNotAKey && error.line == 0) return "it holds no key";
  const std::string clause(describe(error.error));
  return error.line == 0 ? clause : "line " + std::to_string(error.line) + ": " + clause;
}

Result<std::vector<Recipient>, KeyFileError> parse_recipients(std::string_view text) {
  if (text.size() > limits::kRecipientFileSize) return KeyFileError{KeyError::kLimits, 0};
  std::vector<Recipient> recipients;
  std::size_t number = 0;
  while (const auto raw = next_line(text)) {
    ++number;
    const std::string_view line = trimmed(*raw);
    if (line.empty() || line.starts_with('#')) continue;
    if (recipients.size() == kMaxKeysPerFile) return KeyFileError{KeyError::kLimits, number};
    auto recipient = parse_recipient(line);
    if (!recipient.has_value()) return KeyFileError{recipient.error(), number};
    recipients.push_back(recipient.value());
  }
  if (recipients.empty()) return KeyFileError{KeyError::kNotAKey, 0};
  return recipients;
}

Result<std::vector<OpeningKey>, KeyFileError> parse_identities(std::string_view text,
                                                               const SecretBytes* passphrase,
                                                               std::uint32_t max_rounds) {
  if (text.size() > limits::kKeyFileSize) return KeyFileError{KeyError::kLimits, 0};
  std::vector<OpeningKey> keys;
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  if (start != std::string_view::npos && text.substr(start).starts_with("-----BEGIN ")) {
    auto key = parse_private_key(text, passphrase, max_rounds);
    if (!key.has_value()) return KeyFileError{key.error(), 0};
    keys.emplace_back(std::move(key.value()));
    return keys;
  }
  std::size_t number = 0;
  while (const auto raw = next_line(text)) {
    ++number;
    const std::string_view line = trimmed(*raw);
    if (line.empty() || line.starts_with('#')) continue;
    if (keys.size() == kMaxKeysPerFile) return KeyFileError{KeyError::kLimits, number};
    auto key = AgeIdentity::parse(line);
    if (!key.has_value()) return KeyFileError{key.error(), number};
    keys.emplace_back(std::move(key.value()));
  }
  if (keys.empty()) return KeyFileError{KeyError::kNotAKey, 0};
  return keys;
}

}  // namespace sealane::identity
