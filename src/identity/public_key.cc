// Ed25519 public keys as OpenSSH writes them: blobs, lines, fingerprints.
#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "identity/ssh_format.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {

std::string_view describe(KeyError error) {
  switch (error) {
    case KeyError::kNotAKey:
      return "it is no key of a format known here";
    case KeyError::kUnsupportedType:
      return "its type is not taken: only OpenSSH Ed25519 and age X25519 keys are";
    case KeyError::kUnsupportedCipher:
      return "it is encrypted with a cipher not read here: change it to aes256-ctr with "
             "`ssh-keygen -p -Z aes256-ctr -f FILE`";
    case KeyError::kMalformed:
      return "it is damaged";
    case KeyError::kPassphraseRequired:
      return "it needs its passphrase";
    case KeyError::kWrongPassphrase:
      return "the passphrase is wrong";
    case KeyError::kLimits:
      return "it is beyond the limits of what is read here";
  }
  SEALANE_CHECK(false);
}

bool is_valid_comment(std::string_view comment) {
  return comment.size() <= kMaxCommentSize && std::ranges::none_of(comment, [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

std::string fingerprint(const crypto::Ed25519Public& key) {
  return "SHA256:" + to_base64(crypto::sha256(encode_public_key_blob(key)),
                               Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}

Bytes encode_public_key_blob(const crypto::Ed25519Public& key) {
  return ByteWriter().u32_prefixed(kSshEd25519).u32_prefixed(key.bytes).take();
}

Result<crypto::Ed25519Public, KeyError> decode_public_key_blob(ByteSpan blob) {
  constexpr std::size_t kMaxTypeSize = 64;
  ByteReader reader(blob);
  const auto type = reader.u32_prefixed(kMaxTypeSize);
  if (!type) return KeyError::kMalformed;
  if (as_text(*type) != kSshEd25519) return unknown_key_type(as_text(*type));
  crypto::Ed25519Public key;
  const auto bytes = reader.u32_prefixed(key.bytes.size());
  if (!bytes || bytes->size() != key.bytes.size() || !reader.empty()) return KeyError::kMalformed;
  copy_bytes(*bytes, key.bytes.begin());
  return key;
}

std::string format_public_key_line(const PublicKeyLine& line) {
  SEALANE_CHECK(is_valid_comment(line.comment));
  std::string text(kSshEd25519);
  text += ' ';
  text += to_base64(encode_public_key_blob(line.key));
  if (!line.comment.empty()) {
    text += ' ';
    text += line.comment;
  }
  return text;
}

Result<PublicKeyLine, KeyError> parse_public_key_line(std::string_view line) {
  constexpr std::size_t kMaxLineSize = 4096;
  if (line.size() > kMaxLineSize) {
    return unknown_key_type(line) == KeyError::kNotAKey ? KeyError::kNotAKey : KeyError::kLimits;
  }
  line = trimmed(line);
  const auto take_word = [&line] {
    const std::string_view word = line.substr(0, line.find_first_of(" \t"));
    line = trimmed(line.substr(word.size()));
    return word;
  };
  const std::string_view type = take_word();
  if (type != kSshEd25519) return unknown_key_type(type);
  const auto blob = from_base64(take_word());
  if (!blob) return KeyError::kMalformed;
  const auto key = decode_public_key_blob(*blob);
  // The line promised a type; a blob of another one is damage, whatever it holds.
  if (!key.has_value()) return KeyError::kMalformed;
  if (!is_valid_comment(line)) return KeyError::kMalformed;
  return PublicKeyLine{.key = key.value(), .comment = std::string(line)};
}

}  // namespace sealane::identity
