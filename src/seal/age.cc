#include "seal/age.h"

#include <optional>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "seal/age_header.h"
#include "sealane/crypto/curve.h"

namespace sealane::seal {
namespace {

using crypto::kAeadTagSize;

constexpr std::string_view kX25519Type = "X25519";
constexpr std::string_view kX25519Label = "age-encryption.org/v1/X25519";
constexpr std::string_view kSshType = "ssh-ed25519";
constexpr std::string_view kSshLabel = "age-encryption.org/v1/ssh-ed25519";
constexpr std::string_view kScryptType = "scrypt";
constexpr std::string_view kScryptLabel = "age-encryption.org/v1/scrypt";
constexpr std::size_t kScryptSaltSize = 16;
constexpr std::size_t kSshTagSize = 4;
constexpr std::size_t kShareSize = 32;
constexpr std::size_t kWrappedKeySize = FileKey::kSize + kAeadTagSize;
constexpr std::size_t kSealedChunkSize = kAgeChunkSize + kAeadTagSize;

std::string to_raw_base64(ByteSpan bytes) {
  return to_base64(bytes, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
}

template <class Key>
Key random_secret(RandomSource& random) {
  ByteArray<Key::kSize> bytes;
  random.fill(bytes);
  Key key{std::span<const std::byte, Key::kSize>(bytes)};
  cleanse(bytes);
  return key;
}

crypto::AeadKey derive_key(ByteSpan key_material, ByteSpan salt, std::string_view info) {
  ByteArray<crypto::kAeadKeySize> out;
  crypto::hkdf_sha256(key_material, salt, as_bytes(info), out);
  crypto::AeadKey key{std::span<const std::byte, crypto::kAeadKeySize>(out)};
  cleanse(out);
  return key;
}

// HKDF salt of the two curve stanzas: ephemeral share, recipient.
ByteArray<64> share_salt(const crypto::X25519Public& share, const crypto::X25519Public& recipient) {
  ByteArray<64> salt;
  copy_bytes(share, salt.begin());
  copy_bytes(recipient, salt.begin() + kShareSize);
  return salt;
}

// Each wrap key serves once, so the nonce may be fixed.
Bytes wrap_file_key(const crypto::AeadKey& wrap_key, const FileKey& file_key) {
  Bytes out(kWrappedKeySize);
  crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305, wrap_key)
      ->seal(crypto::AeadNonce{}, {}, file_key.expose(), out);
  return out;
}

std::optional<FileKey> unwrap_file_key(const crypto::AeadKey& wrap_key, ByteSpan body) {
  ByteArray<FileKey::kSize> out;
  const auto opened = crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305, wrap_key)
                          ->open(crypto::AeadNonce{}, {}, body, out);
  if (!opened.has_value()) return std::nullopt;
  FileKey key{std::span<const std::byte, FileKey::kSize>(out)};
  cleanse(out);
  return key;
}

// What a stanza of a type known here says, checked as strictly as we would write it.
struct ShareStanza {
  std::string tag;  // ssh-ed25519: of the recipient; X25519: empty
  crypto::X25519Public share{};
  ByteSpan body;
};
struct ScryptStanza {
  Bytes salt;
  unsigned work_factor = 0;
  ByteSpan body;
};

std::optional<crypto::X25519Public> parse_share(std::string_view text) {
  const auto bytes = from_base64(text, Base64Alphabet::kStandard, Base64Padding::kUnpadded);
  if (!bytes || bytes->size() != kShareSize) return std::nullopt;
  crypto::X25519Public share;
  copy_bytes(*bytes, share.begin());
  return share;
}

Result<ShareStanza, SealError> parse_x25519(const AgeStanza& stanza) {
  if (stanza.arguments.size() != 2 || stanza.body.size() != kWrappedKeySize) {
    return SealError::kHeaderMalformed;
  }
  const auto share = parse_share(stanza.arguments[1]);
  if (!share) return SealError::kHeaderMalformed;
  return ShareStanza{.tag = {}, .share = *share, .body = stanza.body};
}

Result<ShareStanza, SealError> parse_ssh(const AgeStanza& stanza) {
  if (stanza.arguments.size() != 3 || stanza.body.size() != kWrappedKeySize) {
    return SealError::kHeaderMalformed;
  }
  const auto tag =
      from_base64(stanza.arguments[1], Base64Alphabet::kStandard, Base64Padding::kUnpadded);
  const auto share = parse_share(stanza.arguments[2]);
  if (!tag || tag->size() != kSshTagSize || !share) return SealError::kHeaderMalformed;
  return ShareStanza{.tag = stanza.arguments[1], .share = *share, .body = stanza.body};
}

// Decimal digits without a leading zero. Beyond two digits it is too high for any machine.
Result<unsigned, SealError> parse_work_factor(std::string_view text) {
  if (text.empty() || text[0] == '0') return SealError::kHeaderMalformed;
  unsigned value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return SealError::kHeaderMalformed;
    value = std::min(value * 10 + static_cast<unsigned>(c - '0'), 1000u);
  }
  return value;
}

Result<ScryptStanza, SealError> parse_scrypt(const AgeStanza& stanza) {
  if (stanza.arguments.size() != 3 || stanza.body.size() != kWrappedKeySize) {
    return SealError::kHeaderMalformed;
  }
  auto salt = from_base64(stanza.arguments[1], Base64Alphabet::kStandard, Base64Padding::kUnpadded);
  if (!salt || salt->size() != kScryptSaltSize) return SealError::kHeaderMalformed;
  SEALANE_TRY(const unsigned work_factor, parse_work_factor(stanza.arguments[2]));
  return ScryptStanza{.salt = std::move(*salt), .work_factor = work_factor, .body = stanza.body};
}

// All stanzas of known types; unknown ones are other people's business and skipped.
struct KnownStanzas {
  std::vector<ShareStanza> x25519;
  std::vector<ShareStanza> ssh;
  std::optional<ScryptStanza> scrypt;
};
Result<KnownStanzas, SealError> sort_stanzas(const AgeHeader& header) {
  KnownStanzas known;
  for (const AgeStanza& stanza : header.stanzas) {
    if (stanza.arguments[0] == kX25519Type) {
      SEALANE_TRY(auto parsed, parse_x25519(stanza));
      known.x25519.push_back(std::move(parsed));
    } else if (stanza.arguments[0] == kSshType) {
      SEALANE_TRY(auto parsed, parse_ssh(stanza));
      known.ssh.push_back(std::move(parsed));
    } else if (stanza.arguments[0] == kScryptType) {
      // A passphrase also says who sealed it, which another recipient in the file would undermine.
      if (header.stanzas.size() != 1) return SealError::kHeaderMalformed;
      SEALANE_TRY(known.scrypt, parse_scrypt(stanza));
    }
  }
  return known;
}

Result<crypto::AeadKey, SealError> scrypt_wrap_key(const SecretBytes& passphrase, ByteSpan salt,
                                                   unsigned work_factor) {
  ByteWriter full_salt;
  full_salt.text(kScryptLabel).bytes(salt);
  ByteArray<crypto::kAeadKeySize> out;
  const auto derived =
      crypto::scrypt(passphrase.expose(), full_salt.view(), work_factor, 8, 1, out);
  if (!derived.has_value()) return SealError::kWorkFactorTooHigh;
  crypto::AeadKey key{std::span<const std::byte, crypto::kAeadKeySize>(out)};
  cleanse(out);
  return key;
}

// The stanza of an SSH key uses the key's curve point, moved by a secret-free tweak that binds it
// to the key's encoding.
crypto::X25519Private ssh_tweak(ByteSpan key_blob) {
  ByteArray<32> out;
  crypto::hkdf_sha256({}, key_blob, as_bytes(kSshLabel), out);
  return crypto::X25519Private{std::span<const std::byte, 32>(out)};
}
Result<crypto::SharedSecret, SealError> ssh_shared_secret(const crypto::X25519Private& key,
                                                          const crypto::X25519Public& peer,
                                                          ByteSpan key_blob, SealError on_failure) {
  auto inner = crypto::x25519(key, peer);
  if (!inner.has_value()) return on_failure;
  crypto::X25519Public point;
  copy_bytes(inner.value().expose(), point.begin());
  auto outer = crypto::x25519(ssh_tweak(key_blob), point);
  cleanse(point);
  if (!outer.has_value()) return on_failure;
  return std::move(outer).value();
}
std::string ssh_tag(ByteSpan key_blob) {
  return to_raw_base64(ByteSpan(crypto::sha256(key_blob)).first(kSshTagSize));
}

Result<AgeStanza, SealError> make_stanza(const identity::AgeRecipient& recipient,
                                         const FileKey& file_key, RandomSource& random) {
  const crypto::X25519Private ephemeral = crypto::x25519_generate(random);
  const crypto::X25519Public share = crypto::x25519_public(ephemeral);
  const auto shared = crypto::x25519(ephemeral, recipient.key);
  if (!shared.has_value()) return SealError::kBadRecipient;
  const auto wrap_key =
      derive_key(shared.value().expose(), share_salt(share, recipient.key), kX25519Label);
  return AgeStanza{.arguments = {std::string(kX25519Type), to_raw_base64(share)},
                   .body = wrap_file_key(wrap_key, file_key)};
}

Result<AgeStanza, SealError> make_stanza(const identity::SshRecipient& recipient,
                                         const FileKey& file_key, RandomSource& random) {
  const auto converted = crypto::ed25519_to_x25519(recipient.key);
  if (!converted.has_value()) return SealError::kBadRecipient;
  const Bytes blob = identity::encode_public_key_blob(recipient.key);
  const crypto::X25519Private ephemeral = crypto::x25519_generate(random);
  const crypto::X25519Public share = crypto::x25519_public(ephemeral);
  SEALANE_TRY(const auto shared,
              ssh_shared_secret(ephemeral, converted.value(), blob, SealError::kBadRecipient));
  const auto wrap_key =
      derive_key(shared.expose(), share_salt(share, converted.value()), kSshLabel);
  return AgeStanza{.arguments = {std::string(kSshType), ssh_tag(blob), to_raw_base64(share)},
                   .body = wrap_file_key(wrap_key, file_key)};
}

Result<AgeStanza, SealError> make_stanza(const SecretBytes& passphrase, unsigned work_factor,
                                         const FileKey& file_key, RandomSource& random) {
  ByteArray<kScryptSaltSize> salt;
  random.fill(salt);
  SEALANE_TRY(const auto wrap_key, scrypt_wrap_key(passphrase, salt, work_factor));
  return AgeStanza{
      .arguments = {std::string(kScryptType), to_raw_base64(salt), std::to_string(work_factor)},
      .body = wrap_file_key(wrap_key, file_key)};
}

// Nothing when the stanza is for another key; an error when it is for none.
Result<std::optional<FileKey>, SealError> try_key(const identity::AgeIdentity& key,
                                                  const KnownStanzas& stanzas) {
  for (const ShareStanza& stanza : stanzas.x25519) {
    const auto shared = crypto::x25519(key.private_key(), stanza.share);
    if (!shared.has_value()) return SealError::kHeaderMalformed;  // an all-zero secret
    const auto wrap_key = derive_key(shared.value().expose(),
                                     share_salt(stanza.share, key.public_key()), kX25519Label);
    if (auto file_key = unwrap_file_key(wrap_key, stanza.body)) return file_key;
  }
  return std::optional<FileKey>();
}

Result<std::optional<FileKey>, SealError> try_key(const identity::SigningKey& key,
                                                  const KnownStanzas& stanzas) {
  const Bytes blob = identity::encode_public_key_blob(key.public_key());
  const std::string tag = ssh_tag(blob);
  for (const ShareStanza& stanza : stanzas.ssh) {
    if (stanza.tag != tag) continue;
    const auto private_key = crypto::ed25519_to_x25519(key.seed());
    SEALANE_TRY(const auto shared,
                ssh_shared_secret(private_key, stanza.share, blob, SealError::kHeaderMalformed));
    const auto wrap_key = derive_key(
        shared.expose(), share_salt(stanza.share, crypto::x25519_public(private_key)), kSshLabel);
    if (auto file_key = unwrap_file_key(wrap_key, stanza.body)) return file_key;
  }
  return std::optional<FileKey>();
}

Result<FileKey, SealError> find_file_key(const KnownStanzas& stanzas,
                                         const AgeOpenOptions& options) {
  if (stanzas.scrypt) {
    if (options.passphrase == nullptr) return SealError::kPassphraseNeeded;
    if (stanzas.scrypt->work_factor > options.max_work_factor) {
      return SealError::kWorkFactorTooHigh;
    }
    SEALANE_TRY(const auto wrap_key, scrypt_wrap_key(*options.passphrase, stanzas.scrypt->salt,
                                                     stanzas.scrypt->work_factor));
    auto file_key = unwrap_file_key(wrap_key, stanzas.scrypt->body);
    if (!file_key) return SealError::kWrongPassphrase;
    return std::move(*file_key);
  }
  for (const identity::OpeningKey& key : options.keys) {
    SEALANE_TRY(auto file_key,
                std::visit([&](const auto& one) { return try_key(one, stanzas); }, key));
    if (file_key) return std::move(*file_key);
  }
  return SealError::kNoMatchingKey;
}

ByteArray<32> header_mac(const FileKey& file_key, ByteSpan covered) {
  const auto mac_key = derive_key(file_key.expose(), {}, "header");
  return crypto::hmac_sha256(mac_key.expose(), covered);
}

// STREAM: an 11-byte big-endian chunk counter, then 1 for the last chunk. 64 bits count enough.
crypto::AeadNonce chunk_nonce(std::uint64_t index, bool last) {
  crypto::AeadNonce nonce{};
  store_integer(MutableByteSpan(nonce).subspan(3), index);
  nonce.back() = last ? std::byte{1} : std::byte{0};
  return nonce;
}

class AgeSealer final : public StreamSealer {
 public:
  AgeSealer(Bytes header, crypto::AeadKey payload_key)
      : header_(std::move(header)), payload_key_(std::move(payload_key)) {}

  std::unique_ptr<StreamSealer::Worker> make_worker() const override {
    return std::make_unique<SealWorker>(payload_key_);
  }
  ByteSpan header() const override { return header_; }
  ByteSpan trailer() const override { return {}; }
  std::size_t chunk_size() const override { return kAgeChunkSize; }
  std::size_t chunk_overhead() const override { return kAeadTagSize; }
  bool seals_empty() const override { return true; }

 private:
  class SealWorker final : public StreamSealer::Worker {
   public:
    explicit SealWorker(const crypto::AeadKey& key)
        : aead_(crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305, key)) {}
    void seal(std::uint64_t index, bool last, ByteSpan plaintext, MutableByteSpan out) override {
      SEALANE_CHECK(plaintext.size() == kAgeChunkSize ||
                    (last && plaintext.size() < kAgeChunkSize));
      SEALANE_CHECK(!plaintext.empty() || index == 0);
      SEALANE_CHECK(out.size() == plaintext.size() + kAeadTagSize);
      aead_->seal(chunk_nonce(index, last), {}, plaintext, out);
    }

   private:
    std::unique_ptr<crypto::Aead> aead_;
  };

  Bytes header_;
  crypto::AeadKey payload_key_;
};

class AgeOpener final : public StreamOpener {
 public:
  explicit AgeOpener(crypto::AeadKey payload_key) : payload_key_(std::move(payload_key)) {}

  std::unique_ptr<StreamOpener::Worker> make_worker() const override {
    return std::make_unique<OpenWorker>(payload_key_);
  }
  Result<Step, SealError> next(ByteSpan rest, bool at_end) override {
    if (ended_) {
      SEALANE_CHECK(rest.empty());
      return Step(StreamEnd{0});
    }
    if (rest.size() > kSealedChunkSize) {
      ++index_;
      return Step(SealedChunk{.size = kSealedChunkSize, .plaintext_size = kAgeChunkSize});
    }
    // Whether a chunk is the last shows only when one more byte is seen, or none can come.
    if (!at_end) return Step(BytesNeeded{kSealedChunkSize + 1});
    if (rest.size() < kAeadTagSize) return SealError::kTruncated;
    ended_ = true;
    const std::size_t plaintext_size = rest.size() - kAeadTagSize;
    return Step(SealedChunk{.size = rest.size(),
                            .plaintext_size = plaintext_size,
                            .last = true,
                            .noncanonical = plaintext_size == 0 && index_ > 0});
  }
  std::size_t max_sealed_size() const override { return kSealedChunkSize; }
  std::size_t max_plaintext_size() const override { return kAgeChunkSize; }

 private:
  class OpenWorker final : public StreamOpener::Worker {
   public:
    explicit OpenWorker(const crypto::AeadKey& key)
        : aead_(crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305, key)) {}
    Result<void, SealError> open(std::uint64_t index, const SealedChunk& chunk, ByteSpan sealed,
                                 MutableByteSpan out) override {
      SEALANE_CHECK(sealed.size() == chunk.size && out.size() == chunk.plaintext_size);
      if (aead_->open(chunk_nonce(index, chunk.last), {}, sealed, out).has_value()) {
        if (!chunk.noncanonical) return success();
        return SealError::kNoncanonical;
      }
      // Authentic with the other flag: the stream was cut after this chunk, or goes on behind its
      // end. That says more than "damaged".
      const bool misplaced_end =
          aead_->open(chunk_nonce(index, !chunk.last), {}, sealed, out).has_value();
      cleanse(out);
      if (misplaced_end) return chunk.last ? SealError::kTruncated : SealError::kTrailingData;
      // Nobody can tell a chunk that lost its end from one that was always short and is damaged.
      return chunk.size < kSealedChunkSize ? SealError::kLastChunk : SealError::kNotAuthentic;
    }

   private:
    std::unique_ptr<crypto::Aead> aead_;
  };

  crypto::AeadKey payload_key_;
  std::uint64_t index_ = 0;
  bool ended_ = false;
};

}  // namespace

Result<std::unique_ptr<StreamSealer>, SealError> make_age_sealer(
    const AgeSealOptions& options, RandomSource& random, std::unique_ptr<FileKey>* file_key_out) {
  SEALANE_CHECK(options.recipients.empty() != (options.passphrase == nullptr));
  const FileKey file_key = random_secret<FileKey>(random);
  std::vector<AgeStanza> stanzas;
  if (options.passphrase != nullptr) {
    SEALANE_TRY(auto stanza,
                make_stanza(*options.passphrase, options.work_factor, file_key, random));
    stanzas.push_back(std::move(stanza));
  }
  if (options.recipients.size() > kMaxAgeStanzas) return SealError::kHeaderTooLarge;
  for (const identity::Recipient& recipient : options.recipients) {
    SEALANE_TRY(
        auto stanza,
        std::visit([&](const auto& one) { return make_stanza(one, file_key, random); }, recipient));
    stanzas.push_back(std::move(stanza));
  }

  ByteWriter header;
  header.text(encode_age_header_start(stanzas));
  const auto mac = header_mac(file_key, header.view());
  header.text(encode_age_header_end(mac));
  if (header.view().size() > kMaxAgeHeaderSize) return SealError::kHeaderTooLarge;
  ByteArray<kAgeNonceSize> nonce;
  random.fill(nonce);
  header.bytes(nonce);
  auto payload_key = derive_key(file_key.expose(), nonce, "payload");
  if (file_key_out != nullptr) *file_key_out = std::make_unique<FileKey>(file_key.duplicate());
  return std::make_unique<AgeSealer>(header.take(), std::move(payload_key));
}

Result<std::variant<BytesNeeded, std::size_t>, SealError> age_header_size(ByteSpan start,
                                                                          bool at_end) {
  using Step = std::variant<BytesNeeded, std::size_t>;
  SEALANE_TRY(const auto step, parse_age_header(start, at_end));
  if (const auto* needed = std::get_if<BytesNeeded>(&step)) return Step(*needed);
  const std::size_t size = std::get<AgeHeader>(step).size + kAgeNonceSize;
  if (start.size() >= size) return Step(size);
  if (at_end) return SealError::kTruncated;
  return Step(BytesNeeded{size});
}

Result<std::unique_ptr<StreamOpener>, SealError> make_age_opener(ByteSpan header,
                                                                 const AgeOpenOptions& options) {
  SEALANE_TRY(auto step, parse_age_header(header, true));
  const AgeHeader& parsed = std::get<AgeHeader>(step);
  SEALANE_CHECK(header.size() == parsed.size + kAgeNonceSize);
  SEALANE_TRY(const KnownStanzas stanzas, sort_stanzas(parsed));
  std::optional<FileKey> file_key;
  if (options.file_key != nullptr) {
    file_key = options.file_key->duplicate();
  } else {
    SEALANE_TRY(file_key, find_file_key(stanzas, options));
  }
  const auto mac = header_mac(*file_key, header.first(parsed.mac_input_size));
  if (!crypto::constant_time_equal(mac, parsed.mac)) return SealError::kHeaderMac;
  return std::make_unique<AgeOpener>(
      derive_key(file_key->expose(), header.last(kAgeNonceSize), "payload"));
}

}  // namespace sealane::seal
