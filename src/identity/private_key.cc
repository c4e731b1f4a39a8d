// OpenSSH private key files ("openssh-key-v1"). Layout: docs/protocol/openssh-key.md.
#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "base/limits.h"
#include "crypto/cipher.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "identity/ssh_format.h"
#include "identity/wiped.h"
#include "sealane/identity/keys.h"

namespace sealane::identity {
namespace {

constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
constexpr std::string_view kNone = "none";
constexpr std::string_view kAes256Ctr = "aes256-ctr";
constexpr std::string_view kBcrypt = "bcrypt";
constexpr std::size_t kKeySize = 32;
constexpr std::size_t kIvSize = 16;
constexpr std::size_t kSaltSize = 16;        // that we write, as OpenSSH does
constexpr std::size_t kMaxSaltSize = 64;     // that we read
constexpr std::size_t kMaxNameSize = 64;     // of a cipher, KDF or key type
constexpr std::size_t kMaxBlobSize = 16384;  // of a public key: RSA with 16384 bits fits
constexpr std::size_t kPlainBlockSize = 8;
constexpr std::size_t kCipherBlockSize = 16;
constexpr std::size_t kMaxPaddingSize = 16;  // one whole block is what PuTTY writes
constexpr std::size_t kSeedAndPublicSize = 64;

// Writes into a buffer of exactly the right size, so that no copy of a secret is left behind.
class SpanWriter {
 public:
  explicit SpanWriter(MutableByteSpan out) : rest_(out) {}
  void bytes(ByteSpan data) {
    SEALANE_CHECK(data.size() <= rest_.size());
    copy_bytes(data, rest_.begin());
    rest_ = rest_.subspan(data.size());
  }
  void text(std::string_view data) { bytes(as_bytes(data)); }
  void u32(std::uint32_t value) {
    ByteArray<4> encoded;
    store_integer(MutableByteSpan(encoded), value);
    bytes(encoded);
  }
  void prefixed(ByteSpan data) {
    u32(static_cast<std::uint32_t>(data.size()));
    bytes(data);
  }
  std::size_t remaining() const { return rest_.size(); }

 private:
  MutableByteSpan rest_;
};

std::size_t round_up(std::size_t size, std::size_t block) {
  return (size + block - 1) / block * block;
}

// The bytes between the two armour lines.
Result<SecretBytes, KeyError> decode_armor(std::string_view text) {
  if (text.size() > limits::kKeyFileSize) return KeyError::kLimits;
  const auto skip_blank_lines = [&text] {
    const std::size_t start = text.find_first_not_of(" \t\r\n");
    text.remove_prefix(start == std::string_view::npos ? text.size() : start);
  };
  skip_blank_lines();
  const auto first = next_line(text);
  if (!first) return KeyError::kNotAKey;
  if (trimmed(*first) != kBegin) {
    const bool other_pem = first->starts_with("-----BEGIN ") &&
                           first->find("PRIVATE KEY-----") != std::string_view::npos;
    return other_pem ? KeyError::kUnsupportedType : KeyError::kNotAKey;
  }
  WipedText digits{std::string()};
  digits.text.reserve(text.size());
  for (;;) {
    const auto line = next_line(text);
    if (!line) return KeyError::kMalformed;
    if (trimmed(*line) == kEnd) break;
    digits.text += trimmed(*line);
  }
  skip_blank_lines();
  if (!text.empty()) return KeyError::kMalformed;
  auto decoded = from_base64(digits.text);
  if (!decoded) return KeyError::kMalformed;
  const WipedBytes binary{std::move(*decoded)};
  return SecretBytes(binary.bytes);
}

// What stands in the clear. Views into the decoded file.
struct Envelope {
  std::string_view cipher;
  std::string_view kdf;
  ByteSpan kdf_options;
  ByteSpan public_blob;
  ByteSpan private_part;
};

Result<Envelope, KeyError> decode_envelope(ByteSpan file) {
  ByteReader reader(file);
  const auto magic = reader.bytes(kMagic.size());
  if (!magic || as_text(*magic) != kMagic) return KeyError::kMalformed;
  const auto cipher = reader.u32_prefixed(kMaxNameSize);
  const auto kdf = reader.u32_prefixed(kMaxNameSize);
  const auto kdf_options = reader.u32_prefixed(4 + kMaxSaltSize + 4);
  const auto count = reader.u32();
  if (!cipher || !kdf || !kdf_options || !count) return KeyError::kMalformed;
  if (*count != 1) return KeyError::kLimits;
  const auto public_blob = reader.u32_prefixed(kMaxBlobSize);
  const auto private_part = reader.u32_prefixed(limits::kKeyFileSize);
  if (!public_blob || !private_part) return KeyError::kMalformed;
  // The ciphers refused below may have a tag here.
  if (as_text(*cipher) == kNone || as_text(*cipher) == kAes256Ctr) {
    if (!reader.empty()) return KeyError::kMalformed;
  }
  return Envelope{.cipher = as_text(*cipher),
                  .kdf = as_text(*kdf),
                  .kdf_options = *kdf_options,
                  .public_blob = *public_blob,
                  .private_part = *private_part};
}

// Encrypts and decrypts alike.
Result<void, KeyError> apply_cipher(const SecretBytes& passphrase, ByteSpan salt,
                                    std::uint32_t rounds, MutableByteSpan data) {
  SecretBytes material(kKeySize + kIvSize);
  const auto derived = crypto::bcrypt_pbkdf(passphrase.expose(), salt, rounds, material.fill());
  if (!derived.has_value()) return KeyError::kLimits;
  crypto::aes256_ctr_xor(material.expose().first<kKeySize>(),
                         material.expose().subspan<kKeySize, kIvSize>(), data, data);
  return success();
}

Result<SecretBytes, KeyError> decrypt(const Envelope& envelope, const SecretBytes* passphrase,
                                      std::uint32_t max_rounds) {
  if (envelope.cipher == kNone) {
    if (envelope.kdf != kNone || !envelope.kdf_options.empty()) return KeyError::kMalformed;
    if (envelope.private_part.size() % kPlainBlockSize != 0) return KeyError::kMalformed;
    return SecretBytes(envelope.private_part);
  }
  if (envelope.cipher != kAes256Ctr || envelope.kdf != kBcrypt) {
    return KeyError::kUnsupportedCipher;
  }
  ByteReader reader(envelope.kdf_options);
  const auto salt = reader.u32_prefixed(kMaxSaltSize);
  const auto rounds = reader.u32();
  if (!salt || salt->empty() || !rounds || *rounds == 0 || !reader.empty()) {
    return KeyError::kMalformed;
  }
  if (envelope.private_part.size() % kCipherBlockSize != 0) return KeyError::kMalformed;
  if (*rounds > max_rounds) return KeyError::kLimits;
  if (passphrase == nullptr) return KeyError::kPassphraseRequired;
  if (passphrase->empty()) return KeyError::kWrongPassphrase;
  if (passphrase->size() > limits::kPassphraseSize) return KeyError::kLimits;
  SecretBytes data(envelope.private_part);
  SEALANE_TRY(apply_cipher(*passphrase, *salt, *rounds, data.fill()));
  return data;
}

Result<SigningKey, KeyError> decode_private_part(ByteSpan part, const Envelope& envelope) {
  ByteReader reader(part);
  const auto check = reader.u32();
  const auto check_again = reader.u32();
  if (!check || !check_again || *check != *check_again) {
    return envelope.cipher == kNone ? KeyError::kMalformed : KeyError::kWrongPassphrase;
  }
  SEALANE_TRY(const crypto::Ed25519Public outer, decode_public_key_blob(envelope.public_blob));
  const auto type = reader.u32_prefixed(kMaxNameSize);
  const auto public_bytes = reader.u32_prefixed(kKeySize);
  const auto private_bytes = reader.u32_prefixed(kSeedAndPublicSize);
  const auto comment = reader.u32_prefixed(kMaxCommentSize);
  if (!type || as_text(*type) != kSshEd25519) return KeyError::kMalformed;
  if (!public_bytes || !private_bytes || !comment) return KeyError::kMalformed;
  if (private_bytes->size() != kSeedAndPublicSize) return KeyError::kMalformed;
  if (!is_valid_comment(as_text(*comment))) return KeyError::kMalformed;

  const ByteSpan padding = reader.rest();
  if (padding.size() > kMaxPaddingSize) return KeyError::kMalformed;
  for (std::size_t i = 0; i < padding.size(); ++i) {
    if (std::to_integer<std::size_t>(padding[i]) != i + 1) return KeyError::kMalformed;
  }

  SigningKey key(crypto::Ed25519Seed(private_bytes->first<kKeySize>()),
                 std::string(as_text(*comment)));
  // A key file of two halves that do not belong together would sign for nobody, or leak its seed.
  const bool same = key.public_key() == outer && std::ranges::equal(*public_bytes, outer.bytes) &&
                    std::ranges::equal(private_bytes->subspan<kKeySize>(), outer.bytes);
  if (!same) return KeyError::kMalformed;
  return key;
}

}  // namespace

SigningKey::SigningKey(crypto::Ed25519Seed seed, std::string comment)
    : seed_(std::move(seed)),
      public_key_(crypto::ed25519_public(seed_)),
      comment_(std::move(comment)) {
  SEALANE_CHECK(is_valid_comment(comment_));
}

SigningKey SigningKey::generate(RandomSource& random, std::string comment) {
  return {crypto::ed25519_generate(random), std::move(comment)};
}

SecretBytes format_private_key(const SigningKey& key, RandomSource& random,
                               const SecretBytes* passphrase, std::uint32_t rounds) {
  const bool encrypted = passphrase != nullptr;
  const Bytes blob = encode_public_key_blob(key.public_key());
  const std::size_t block = encrypted ? kCipherBlockSize : kPlainBlockSize;

  SecretBytes part(round_up(4 + 4 + 4 + kSshEd25519.size() + 4 + kKeySize + 4 + kSeedAndPublicSize +
                                4 + key.comment().size(),
                            block));
  SpanWriter inner(part.fill());
  ByteArray<4> check;
  random.fill(check);
  inner.bytes(check);
  inner.bytes(check);
  inner.prefixed(as_bytes(kSshEd25519));
  inner.prefixed(key.public_key().bytes);
  inner.u32(kSeedAndPublicSize);
  inner.bytes(key.seed().expose());
  inner.bytes(key.public_key().bytes);
  inner.prefixed(as_bytes(key.comment()));
  for (unsigned char next = 1; inner.remaining() > 0; ++next) {
    const ByteArray<1> padding{std::byte{next}};
    inner.bytes(padding);
  }

  ByteWriter kdf_options;
  if (encrypted) {
    SEALANE_CHECK(!passphrase->empty() && passphrase->size() <= limits::kPassphraseSize);
    SEALANE_CHECK(rounds >= 1 && rounds <= kMaxBcryptRounds);
    ByteArray<kSaltSize> salt;
    random.fill(salt);
    kdf_options.u32_prefixed(salt).u32(rounds);
    SEALANE_CHECK(apply_cipher(*passphrase, salt, rounds, part.fill()).has_value());
  }
  const std::string_view cipher = encrypted ? kAes256Ctr : kNone;
  const std::string_view kdf = encrypted ? kBcrypt : kNone;

  SecretBytes file(kMagic.size() + 4 + cipher.size() + 4 + kdf.size() + 4 +
                   kdf_options.view().size() + 4 + 4 + blob.size() + 4 + part.size());
  SpanWriter outer(file.fill());
  outer.text(kMagic);
  outer.prefixed(as_bytes(cipher));
  outer.prefixed(as_bytes(kdf));
  outer.prefixed(kdf_options.view());
  outer.u32(1);
  outer.prefixed(blob);
  outer.prefixed(part.expose());
  SEALANE_CHECK(outer.remaining() == 0);

  const WipedText digits{to_base64(file.expose())};
  const std::size_t line_count = (digits.text.size() + kSshArmorColumns - 1) / kSshArmorColumns;
  SecretBytes text(kBegin.size() + 1 + digits.text.size() + line_count + kEnd.size() + 1);
  SpanWriter armor(text.fill());
  armor.text(kBegin);
  armor.text("\n");
  for (std::size_t at = 0; at < digits.text.size(); at += kSshArmorColumns) {
    armor.text(std::string_view(digits.text).substr(at, kSshArmorColumns));
    armor.text("\n");
  }
  armor.text(kEnd);
  armor.text("\n");
  SEALANE_CHECK(armor.remaining() == 0);
  return text;
}

std::string private_key_cipher(std::string_view text) {
  const auto file = decode_armor(text);
  if (!file.has_value()) return {};
  const auto envelope = decode_envelope(file.value().expose());
  if (!envelope.has_value()) return {};
  return std::string(envelope.value().cipher);
}

bool private_key_is_encrypted(std::string_view text) {
  const std::string cipher = private_key_cipher(text);
  return !cipher.empty() && cipher != kNone;
}

Result<crypto::Ed25519Public, KeyError> private_key_public_part(std::string_view text) {
  SEALANE_TRY(const auto file, decode_armor(text));
  SEALANE_TRY(const Envelope envelope, decode_envelope(file.expose()));
  return decode_public_key_blob(envelope.public_blob);
}

Result<SigningKey, KeyError> parse_private_key(std::string_view text, const SecretBytes* passphrase,
                                               std::uint32_t max_rounds) {
  SEALANE_TRY(const auto file, decode_armor(text));
  SEALANE_TRY(const Envelope envelope, decode_envelope(file.expose()));
  // The type first: nobody should be asked for the passphrase of a key that is of no use here.
  SEALANE_TRY(decode_public_key_blob(envelope.public_blob));
  SEALANE_TRY(const auto part, decrypt(envelope, passphrase, max_rounds));
  return decode_private_part(part.expose(), envelope);
}

}  // namespace sealane::identity
