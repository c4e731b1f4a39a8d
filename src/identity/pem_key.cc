// The secureio library's key files. Layout: docs/protocol/session.md, "Key files".
#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/copy_bytes.h"
#include "base/limits.h"
#include "identity/ssh_format.h"
#include "identity/wiped.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {
namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";
constexpr std::string_view kPrivateLabel = "ED25519 PRIVATE KEY";
constexpr std::string_view kPublicLabel = "ED25519 PUBLIC KEY";
constexpr std::size_t kColumns = 64;
constexpr std::size_t kHalfSize = 32;
constexpr std::uint32_t kDirectoryMode = 0700;
constexpr std::uint32_t kFileMode = 0600;

// What one such file can hold, comments before it included, is far below it.
SecretBytes format_pem(std::string_view label, ByteSpan content) {
  const WipedText digits{to_base64(content)};
  const std::size_t line_count = (digits.text.size() + kColumns - 1) / kColumns;
  SecretBytes out(kBegin.size() + kEnd.size() + 2 * (label.size() + kDashes.size() + 1) +
                  digits.text.size() + line_count);
  MutableByteSpan rest = out.fill();
  const auto put = [&rest](std::string_view text) {
    copy_bytes(as_bytes(text), rest.begin());
    rest = rest.subspan(text.size());
  };
  for (const std::string_view part : {kBegin, label, kDashes, std::string_view("\n")}) put(part);
  for (std::size_t at = 0; at < digits.text.size(); at += kColumns) {
    put(std::string_view(digits.text).substr(at, kColumns));
    put("\n");
  }
  for (const std::string_view part : {kEnd, label, kDashes, std::string_view("\n")}) put(part);
  SEALANE_CHECK(rest.empty());
  return out;
}

// The content of the first block, which must have this label.
Result<SecretBytes, KeyError> decode_pem(std::string_view text, std::string_view label) {
  if (text.size() > limits::kKeyFileSize) return KeyError::kLimits;
  for (;;) {
    const auto line = next_line(text);
    if (!line) return KeyError::kNotAKey;
    std::string_view begin = trimmed(*line);
    if (!begin.starts_with(kBegin) || !begin.ends_with(kDashes)) continue;
    begin.remove_prefix(kBegin.size());
    begin.remove_suffix(std::min(kDashes.size(), begin.size()));
    if (begin != label) return KeyError::kUnsupportedType;
    break;
  }
  WipedText digits{std::string()};
  digits.text.reserve(text.size());
  for (;;) {
    const auto line = next_line(text);
    if (!line) return KeyError::kMalformed;
    const std::string_view content = trimmed(*line);
    if (content.starts_with(kEnd)) {
      if (content != std::string(kEnd).append(label).append(kDashes)) return KeyError::kMalformed;
      break;
    }
    // Headers stand before the first digits; no digit is a colon.
    if (digits.text.empty() && content.find(':') != std::string_view::npos) continue;
    digits.text += content;
  }
  auto decoded = from_base64(digits.text);
  if (!decoded) return KeyError::kMalformed;
  const WipedBytes binary{std::move(*decoded)};
  return SecretBytes(binary.bytes);
}

Error about(const std::string& path, std::string_view text) {
  return {ErrorKind::kFailed, printable(path).append(text)};
}

}  // namespace

SecretBytes format_pem_private_key(const SigningKey& key) {
  SecretBytes halves(2 * kHalfSize);
  copy_bytes(key.seed().expose(), halves.fill().begin());
  copy_bytes(key.public_key().bytes, halves.fill().begin() + kHalfSize);
  return format_pem(kPrivateLabel, halves.expose());
}

std::string format_pem_public_key(const crypto::Ed25519Public& key) {
  return std::string(format_pem(kPublicLabel, key.bytes).expose_text());
}

Result<SigningKey, KeyError> parse_pem_private_key(std::string_view text) {
  SEALANE_TRY(const SecretBytes halves, decode_pem(text, kPrivateLabel));
  if (halves.size() != 2 * kHalfSize) return KeyError::kMalformed;
  SigningKey key(crypto::Ed25519Seed(halves.expose().first<kHalfSize>()), {});
  if (!std::ranges::equal(halves.expose().last<kHalfSize>(), key.public_key().bytes)) {
    return KeyError::kMalformed;
  }
  return key;
}

Result<crypto::Ed25519Public, KeyError> parse_pem_public_key(std::string_view text) {
  SEALANE_TRY(const SecretBytes content, decode_pem(text, kPublicLabel));
  if (content.size() != kHalfSize) return KeyError::kMalformed;
  crypto::Ed25519Public key;
  copy_bytes(content.expose(), key.bytes.begin());
  return key;
}

Result<crypto::Ed25519Public, KeyError> parse_peer_key(std::string_view text) {
  if (text.find(kBegin) != std::string_view::npos) return parse_pem_public_key(text);
  std::string_view rest = trimmed(text);
  const auto line = next_line(rest);
  if (!line || !trimmed(rest).empty()) return KeyError::kNotAKey;
  SEALANE_TRY(const PublicKeyLine parsed, parse_public_key_line(trimmed(*line)));
  return parsed.key;
}

Result<SigningKey, Error> open_pem_identity(FileSystem& files, RandomSource& random,
                                            const std::string& directory) {
  const std::string private_path = join_path(directory, kPemPrivateName);
  const std::string public_path = join_path(directory, kPemPublicName);
  const auto existing = files.status(private_path);
  if (!existing.has_value() && existing.error().code != ENOENT) return to_error(existing.error());

  std::optional<SigningKey> key;
  if (existing.has_value()) {
    SEALANE_TRY(const SecretBytes text, read_private_file(files, private_path));
    auto parsed = parse_pem_private_key(text.expose_text());
    const bool is_openssh = !private_key_cipher(text.expose_text()).empty();
    if (is_openssh) parsed = parse_private_key(text.expose_text());
    if (!parsed.has_value()) {
      return about(private_path, std::string(" is not used as an identity: ")
                                     .append(describe(parsed.error()))
                                     .append("; name another directory, or mend the file"));
    }
    if (is_openssh) return std::move(parsed.value());
    key.emplace(std::move(parsed.value()));
  }

  const auto known = read_file(files, public_path, limits::kKeyFileSize);
  if (known.has_value()) {
    const auto public_key = parse_pem_public_key(as_text(known.value()));
    if (!key) {
      return about(public_path,
                   " is there without its private key; name another directory, or "
                   "move it away");
    }
    if (!public_key.has_value() || public_key.value() != key->public_key()) {
      return about(public_path,
                   " does not belong to the private key beside it; move it away and "
                   "it is written again");
    }
    return std::move(*key);
  }
  if (known.error().code != ENOENT) return to_error(known.error());

  if (!key) {
    const auto created = files.create_directory(directory, kDirectoryMode);
    if (!created.has_value() && created.error().code != EEXIST) return to_error(created.error());
    key.emplace(SigningKey::generate(random, {}));
    SEALANE_TRY(write_private_file(files, private_path, format_pem_private_key(*key)));
  }
  auto written = write_new_file(files, public_path,
                                as_bytes(format_pem_public_key(key->public_key())), kFileMode);
  if (written.has_value()) written = files.sync_directory(directory);
  if (!written.has_value()) return to_error(written.error());
  return std::move(*key);
}

}  // namespace sealane::identity
