// SSHSIG (PROTOCOL.sshsig of OpenSSH). Layout: docs/protocol/sshsig.md.
#include "sealane/identity/keys.h"

#include <algorithm>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/hash.h"
#include "identity/ssh_format.h"

namespace sealane::identity {
namespace {

constexpr std::string_view kBegin = "-----BEGIN SSH SIGNATURE-----\n";
constexpr std::string_view kEnd = "-----END SSH SIGNATURE-----\n";
constexpr std::string_view kMagic = "SSHSIG";
constexpr std::uint32_t kVersion = 1;
constexpr std::string_view kSha512 = "sha512";
constexpr std::string_view kSha256 = "sha256";
constexpr std::size_t kMaxFieldSize = 256;  // of a key, a signature, a name
constexpr std::size_t kMinColumns = 64;     // of a full line of armour: what PEM writers use …
constexpr std::size_t kMaxColumns = 76;     // … and what PROTOCOL.sshsig says

struct Signature {
  crypto::Ed25519Public key;
  std::string name_space;
  std::string hash;
  crypto::Ed25519Signature signature;
};

// What is signed: the fields that say what the hash is for, and the hash of the message.
Bytes signed_data(std::string_view name_space, std::string_view hash, ByteSpan message) {
  ByteWriter writer;
  writer.text(kMagic).u32_prefixed(name_space).u32_prefixed(std::string_view()).u32_prefixed(hash);
  if (hash == kSha512) {
    writer.u32_prefixed(crypto::sha512(message));
  } else {
    writer.u32_prefixed(crypto::sha256(message));
  }
  return writer.take();
}

// One value, nearly one text: the width of the lines is the writer's choice, the same in all.
std::optional<Bytes> decode_armor(std::string_view text) {
  if (text.size() > kMaxSignatureSize) return std::nullopt;
  if (!text.starts_with(kBegin) || !text.ends_with(kEnd)) return std::nullopt;
  if (text.size() < kBegin.size() + kEnd.size()) return std::nullopt;
  text.remove_prefix(kBegin.size());
  text.remove_suffix(kEnd.size());
  if (!text.ends_with('\n')) return std::nullopt;

  const std::size_t columns = text.find('\n');
  std::string digits;
  while (const auto line = next_line(text)) {
    const bool last = text.empty();
    if (line->empty() || line->size() > columns || line->size() > kMaxColumns) return std::nullopt;
    if (!last && (line->size() != columns || columns < kMinColumns)) return std::nullopt;
    digits += *line;
  }
  return from_base64(digits);
}

std::optional<Signature> decode(std::string_view armoured) {
  const auto binary = decode_armor(armoured);
  if (!binary) return std::nullopt;
  ByteReader reader(*binary);
  const auto magic = reader.bytes(kMagic.size());
  const auto version = reader.u32();
  if (!magic || as_text(*magic) != kMagic || !version || *version != kVersion) return std::nullopt;
  const auto blob = reader.u32_prefixed(kMaxFieldSize);
  const auto name_space = reader.u32_prefixed(kMaxFieldSize);
  const auto reserved = reader.u32_prefixed(kMaxFieldSize);
  const auto hash = reader.u32_prefixed(kMaxFieldSize);
  const auto wrapped = reader.u32_prefixed(kMaxFieldSize);
  if (!blob || !name_space || !reserved || !hash || !wrapped) return std::nullopt;
  if (!reader.empty() || name_space->empty() || !reserved->empty()) return std::nullopt;
  if (as_text(*hash) != kSha512 && as_text(*hash) != kSha256) return std::nullopt;

  const auto key = decode_public_key_blob(*blob);
  if (!key.has_value()) return std::nullopt;
  ByteReader inner(*wrapped);
  const auto type = inner.u32_prefixed(kMaxFieldSize);
  const auto bytes = inner.u32_prefixed(kMaxFieldSize);
  if (!type || as_text(*type) != kSshEd25519 || !bytes || !inner.empty()) return std::nullopt;
  Signature signature{.key = key.value(),
                      .name_space = to_text(*name_space),
                      .hash = to_text(*hash),
                      .signature = {}};
  if (bytes->size() != signature.signature.size()) return std::nullopt;
  copy_bytes(*bytes, signature.signature.begin());
  return signature;
}

}  // namespace

std::string_view describe(SignatureError error) {
  switch (error) {
    case SignatureError::kMalformed:
      return "it is no armoured SSH signature by an Ed25519 key";
    case SignatureError::kNamespace:
      return "the signature was made for another purpose";
    case SignatureError::kNotValid:
      return "what was signed or the signature was changed";
  }
  SEALANE_CHECK(false);
}

std::string sign(const SigningKey& key, std::string_view name_space, ByteSpan message) {
  SEALANE_CHECK(!name_space.empty() && name_space.size() <= kMaxFieldSize);
  const Bytes data = signed_data(name_space, kSha512, message);
  const crypto::Ed25519Signature signature = crypto::ed25519_sign(key.seed(), data);
  ByteWriter wrapped;
  wrapped.u32_prefixed(kSshEd25519).u32_prefixed(signature);
  ByteWriter file;
  file.text(kMagic).u32(kVersion).u32_prefixed(encode_public_key_blob(key.public_key()));
  file.u32_prefixed(name_space).u32_prefixed(std::string_view()).u32_prefixed(kSha512);
  file.u32_prefixed(wrapped.view());

  const std::string digits = to_base64(file.view());
  std::string text(kBegin);
  for (std::size_t at = 0; at < digits.size(); at += kSshArmorColumns) {
    text += std::string_view(digits).substr(at, kSshArmorColumns);
    text += '\n';
  }
  text += kEnd;
  return text;
}

Result<crypto::Ed25519Public, SignatureError> verify(std::string_view armoured,
                                                     std::string_view name_space,
                                                     ByteSpan message) {
  const auto signature = decode(armoured);
  if (!signature) return SignatureError::kMalformed;
  if (signature->name_space != name_space) return SignatureError::kNamespace;
  const Bytes data = signed_data(name_space, signature->hash, message);
  if (!crypto::ed25519_verify(signature->key, data, signature->signature).has_value()) {
    return SignatureError::kNotValid;
  }
  return signature->key;
}

}  // namespace sealane::identity
