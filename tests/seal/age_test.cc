// Goal: age v1 both ways, and nothing that was changed opens. Method: round trips for every
// recipient type and boundary size; files made by the age program; every bit of a header, every cut
// and move of a payload; hostile stanzas with a correct MAC.
#include "seal/age.h"

#include <gtest/gtest.h>

#include <fstream>

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/kdf.h"
#include "seal/age_header.h"
#include "seal/armor.h"
#include "tests/seal/driver.h"
#include "tests/support/data_path.h"

namespace sealane::seal {
namespace {

using identity::AgeIdentity;
using identity::AgeRecipient;
using identity::OpeningKey;
using identity::Recipient;
using identity::SigningKey;
using identity::SshRecipient;
using testing::open_all;
using testing::Opened;
using testing::pattern;
using testing::ScriptedRandom;
using testing::seal_all;

constexpr std::size_t kSealed = kAgeChunkSize + 16;
constexpr unsigned kQuick = 4;  // a work factor for tests

std::string read_data(const std::string& name) {
  std::ifstream file(testing::data_path("age/" + name), std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<OpeningKey> keys_of(const std::string& name) {
  auto keys = identity::parse_identities(read_data(name));
  EXPECT_TRUE(keys.has_value()) << name;
  return std::move(keys).value();
}

Opened open_age(ByteSpan file, const AgeOpenOptions& options, std::size_t read_size = 1 << 16) {
  Opened result;
  const auto size = age_header_size(file, true);
  if (!size.has_value()) {
    result.error = size.error();
    return result;
  }
  const std::size_t header = std::get<std::size_t>(size.value());
  auto opener = make_age_opener(file.first(header), options);
  if (!opener.has_value()) {
    result.error = opener.error();
    return result;
  }
  return open_all(*opener.value(), file.subspan(header), read_size);
}

// One recipient of each kind, and the keys.
struct Cast {
  ScriptedRandom random;
  std::vector<OpeningKey> age_keys;
  std::vector<OpeningKey> ssh_keys;
  std::vector<Recipient> age_recipients;
  std::vector<Recipient> ssh_recipients;
  SecretBytes passphrase{std::string_view("correct horse")};

  Cast() {
    auto age = AgeIdentity::generate(random);
    age_recipients.emplace_back(AgeRecipient{age.public_key()});
    age_keys.emplace_back(std::move(age));
    auto ssh = SigningKey::generate(random, "");
    ssh_recipients.emplace_back(SshRecipient{ssh.public_key()});
    ssh_keys.emplace_back(std::move(ssh));
  }
  Bytes seal(const AgeSealOptions& options, ByteSpan plaintext) {
    const auto sealer = make_age_sealer(options, random);
    EXPECT_TRUE(sealer.has_value());
    return seal_all(*sealer.value(), plaintext);
  }
};

TEST(Age, RoundTripsAllRecipientTypesAndSizes) {
  Cast cast;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kAgeChunkSize - 1, kAgeChunkSize,
                                 kAgeChunkSize + 1, 3 * kAgeChunkSize}) {
    const Bytes plaintext = pattern(5, size);
    const std::size_t chunks = std::max<std::size_t>(1, (size + kAgeChunkSize - 1) / kAgeChunkSize);
    for (const auto& [recipients, keys] : {std::pair(&cast.age_recipients, &cast.age_keys),
                                           std::pair(&cast.ssh_recipients, &cast.ssh_keys)}) {
      const Bytes sealed = cast.seal({.recipients = *recipients}, plaintext);
      const auto header = age_header_size(sealed, true);
      EXPECT_EQ(sealed.size(), std::get<std::size_t>(header.value()) + size + 16 * chunks);
      for (const std::size_t read_size : {std::size_t{1000}, kSealed, std::size_t{1} << 30}) {
        const Opened opened = open_age(sealed, {.keys = *keys}, read_size);
        EXPECT_FALSE(opened.error);
        EXPECT_EQ(opened.plaintext, plaintext);
      }
    }
    const Bytes sealed = cast.seal(
        {.recipients = {}, .passphrase = &cast.passphrase, .work_factor = kQuick}, plaintext);
    EXPECT_EQ(open_age(sealed, {.keys = {}, .passphrase = &cast.passphrase}).plaintext, plaintext);
  }
}

TEST(Age, OpensWhatTheAgeProgramSealed) {
  for (const std::size_t size : {0u, 1u, 65535u, 65536u, 65537u}) {
    const auto keys = keys_of("x25519_one.key");
    const std::string file = read_data("x25519_" + std::to_string(size) + ".age");
    const Opened opened = open_age(as_bytes(file), {.keys = keys});
    EXPECT_FALSE(opened.error);
    EXPECT_EQ(opened.plaintext, pattern(0, size));
  }
  for (const std::size_t size : {0u, 1000u}) {
    const auto ssh = keys_of("ssh_one");
    EXPECT_EQ(open_age(as_bytes(read_data("ssh_" + std::to_string(size) + ".age")), {.keys = ssh})
                  .plaintext,
              pattern(0, size));
    ArmorDecoder armor;
    Bytes binary;
    const std::string text = read_data("armor_" + std::to_string(size) + ".age");
    ASSERT_TRUE(armor.update(as_bytes(text), binary).has_value());
    ASSERT_TRUE(armor.finish().has_value());
    const auto keys = keys_of("x25519_one.key");
    const Opened opened = open_age(binary, {.keys = keys});
    EXPECT_FALSE(opened.error);
    EXPECT_EQ(opened.plaintext, pattern(0, size));
    ArmorEncoder encoder;
    std::string again;
    encoder.update(binary, again);
    encoder.finish(again);
    EXPECT_EQ(again, text);
  }
  const std::string several = read_data("several_1000.age");
  for (const std::string& name :
       std::vector<std::string>{"x25519_one.key", "x25519_two.key", "ssh_one", "ssh_two"}) {
    const auto keys = keys_of(name);
    EXPECT_EQ(open_age(as_bytes(several), {.keys = keys}).plaintext, pattern(0, 1000)) << name;
  }
  const SecretBytes passphrase(std::string_view("correct horse battery staple"));
  const std::string scrypt = read_data("scrypt_1000.age");
  EXPECT_EQ(open_age(as_bytes(scrypt), {.keys = {}, .passphrase = &passphrase}).plaintext,
            pattern(0, 1000));
}

TEST(Age, WrongKeysAreToldApart) {
  Cast cast;
  std::vector<OpeningKey> strangers;
  strangers.emplace_back(SigningKey::generate(cast.random, ""));
  strangers.emplace_back(AgeIdentity::generate(cast.random));
  const Bytes plaintext = pattern(0, 10);
  const Bytes to_age = cast.seal({.recipients = cast.age_recipients}, plaintext);
  const Bytes to_ssh = cast.seal({.recipients = cast.ssh_recipients}, plaintext);
  const Bytes by_passphrase = cast.seal(
      {.recipients = {}, .passphrase = &cast.passphrase, .work_factor = kQuick}, plaintext);
  EXPECT_EQ(open_age(to_age, {.keys = strangers}).error, SealError::kNoMatchingKey);
  EXPECT_EQ(open_age(to_ssh, {.keys = strangers}).error, SealError::kNoMatchingKey);
  EXPECT_EQ(open_age(to_age, {.keys = {}, .passphrase = &cast.passphrase}).error,
            SealError::kNoMatchingKey);
  EXPECT_EQ(open_age(by_passphrase, {.keys = cast.age_keys}).error, SealError::kPassphraseNeeded);
  const SecretBytes wrong(std::string_view("Correct horse"));
  EXPECT_EQ(open_age(by_passphrase, {.keys = {}, .passphrase = &wrong}).error,
            SealError::kWrongPassphrase);
  // The right key behind wrong ones.
  strangers.push_back(std::move(cast.age_keys[0]));
  EXPECT_EQ(open_age(to_age, {.keys = strangers}).plaintext, plaintext);
}

TEST(Age, FileKeyOpensWithoutStanzas) {
  Cast cast;
  std::unique_ptr<FileKey> file_key;
  const auto sealer = make_age_sealer({.recipients = cast.ssh_recipients}, cast.random, &file_key);
  const Bytes sealed = seal_all(*sealer.value(), pattern(0, 100));
  EXPECT_EQ(
      open_age(sealed, {.keys = {}, .passphrase = nullptr, .file_key = file_key.get()}).plaintext,
      pattern(0, 100));
  ByteArray<16> zeros{};
  const FileKey wrong{std::span<const std::byte, 16>(zeros)};
  EXPECT_EQ(open_age(sealed, {.keys = {}, .passphrase = nullptr, .file_key = &wrong}).error,
            SealError::kHeaderMac);
}

TEST(Age, EveryChangedHeaderBitAndEveryCutIsRefused) {
  Cast cast;
  std::vector<Recipient> recipients = cast.age_recipients;
  recipients.push_back(cast.ssh_recipients[0]);
  const Bytes sealed = cast.seal({.recipients = recipients}, pattern(0, 50));
  ASSERT_FALSE(open_age(sealed, {.keys = cast.ssh_keys}).error);
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Bytes damaged = sealed;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    const Opened opened = open_age(damaged, {.keys = cast.age_keys});
    ASSERT_TRUE(opened.error) << bit;
    ASSERT_TRUE(opened.plaintext.empty()) << bit;
  }
  for (std::size_t size = 0; size < sealed.size(); ++size) {
    const Opened opened = open_age(ByteSpan(sealed).first(size), {.keys = cast.age_keys});
    ASSERT_TRUE(opened.error) << size;
  }
  const Bytes secret = cast.seal(
      {.recipients = {}, .passphrase = &cast.passphrase, .work_factor = 1}, pattern(0, 9));
  for (std::size_t bit = 0; bit < secret.size() * 8; ++bit) {
    Bytes damaged = secret;
    damaged[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    ASSERT_TRUE(
        open_age(
            damaged,
            {.keys = {}, .passphrase = &cast.passphrase, .file_key = nullptr, .max_work_factor = 9})
            .error)
        << bit;
  }
}

TEST(Age, PayloadCutMovedRepeatedOrContinuedIsRefused) {
  Cast cast;
  const Bytes plaintext = pattern(0, 3 * kAgeChunkSize + 100);
  const Bytes sealed = cast.seal({.recipients = cast.age_recipients}, plaintext);
  const std::size_t header = std::get<std::size_t>(age_header_size(sealed, true).value());
  const auto error_of = [&](const Bytes& file) {
    return open_age(file, {.keys = cast.age_keys}, kSealed).error;
  };
  const auto part = [&](std::size_t from, std::size_t to) {
    return Bytes(sealed.begin() + static_cast<std::ptrdiff_t>(from),
                 sealed.begin() + static_cast<std::ptrdiff_t>(to));
  };
  const auto join = [](std::vector<Bytes> parts) {
    Bytes out;
    for (const Bytes& one : parts) out.insert(out.end(), one.begin(), one.end());
    return out;
  };
  ASSERT_FALSE(error_of(sealed));
  const Bytes head = part(0, header);
  const auto chunk = [&](std::size_t index) {
    return part(header + index * kSealed, std::min(sealed.size(), header + (index + 1) * kSealed));
  };
  for (std::size_t index = 0; index <= 3; ++index) {
    const std::size_t boundary = header + index * kSealed;
    for (const std::size_t cut :
         {boundary - 1, boundary, boundary + 1, boundary + 15, boundary + 16, boundary + 17}) {
      const Opened opened = open_age(part(0, cut), {.keys = cast.age_keys}, kSealed);
      EXPECT_TRUE(opened.error) << cut;
      EXPECT_LE(opened.plaintext.size(), index * kAgeChunkSize);
      EXPECT_TRUE(
          std::ranges::equal(opened.plaintext, ByteSpan(plaintext).first(opened.plaintext.size())));
    }
    EXPECT_EQ(error_of(part(0, boundary)), SealError::kTruncated) << index;
    // Less than a tag cannot be a chunk. More may be one that is damaged, or one that was cut.
    for (const std::size_t cut : {1U, 15U, 16U, 17U}) {
      const bool certain = cut < crypto::kAeadTagSize;
      EXPECT_EQ(error_of(part(0, boundary + cut)),
                certain ? SealError::kTruncated : SealError::kLastChunk)
          << index << " + " << cut;
    }
  }
  EXPECT_EQ(error_of(part(0, sealed.size() - 1)), SealError::kLastChunk);
  for (std::size_t index = 0; index <= 3; ++index) {
    Bytes flipped = sealed;
    flipped[header + index * kSealed + 5] ^= std::byte{1};
    EXPECT_EQ(error_of(flipped), index < 3 ? SealError::kNotAuthentic : SealError::kLastChunk);
  }
  EXPECT_EQ(error_of(join({head, chunk(1), chunk(0), chunk(2), chunk(3)})),
            SealError::kNotAuthentic);
  EXPECT_EQ(error_of(join({head, chunk(0), chunk(0), chunk(1), chunk(2), chunk(3)})),
            SealError::kNotAuthentic);
  EXPECT_EQ(error_of(join({head, chunk(0), chunk(2), chunk(3)})), SealError::kNotAuthentic);
  EXPECT_EQ(error_of(join({head, chunk(0), chunk(1), chunk(2), chunk(3), chunk(3)})),
            SealError::kLastChunk);
  EXPECT_TRUE(error_of(join({sealed, Bytes(1)})));
  EXPECT_TRUE(error_of(join({sealed, Bytes(kSealed)})));
  // A whole last chunk lets trailing bytes be named.
  const Bytes even = cast.seal({.recipients = cast.age_recipients}, pattern(0, kAgeChunkSize));
  EXPECT_EQ(error_of(join({even, Bytes(1)})), SealError::kTrailingData);
  EXPECT_EQ(error_of(join({even, even})), SealError::kTrailingData);
}

// Header and payload by hand, with a MAC that fits.
Bytes forge(const FileKey& file_key, const std::vector<AgeStanza>& stanzas, ByteSpan payload = {}) {
  std::string text = encode_age_header_start(stanzas);
  ByteArray<32> mac_key;
  crypto::hkdf_sha256(file_key.expose(), {}, as_bytes("header"), mac_key);
  text += encode_age_header_end(crypto::hmac_sha256(mac_key, as_bytes(text)));
  Bytes out = to_bytes(text);
  out.resize(out.size() + kAgeNonceSize);
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

TEST(Age, EmptyLastChunkIsRefusedUnlessAlone) {
  ByteArray<16> zeros{};
  const FileKey key{std::span<const std::byte, 16>(zeros)};
  ByteArray<32> payload_key;
  crypto::hkdf_sha256(zeros, zeros, as_bytes("payload"), payload_key);
  const auto aead = crypto::make_aead(crypto::AeadAlgorithm::kChaCha20Poly1305,
                                      crypto::AeadKey(std::span<const std::byte, 32>(payload_key)));
  Bytes payload(kSealed + 16);
  aead->seal(crypto::AeadNonce{}, {}, pattern(0, kAgeChunkSize),
             MutableByteSpan(payload).first(kSealed));
  crypto::AeadNonce last{};
  last[10] = last[11] = std::byte{1};
  aead->seal(last, {}, {}, MutableByteSpan(payload).last(16));
  const std::vector<AgeStanza> stanzas = {{.arguments = {"x"}, .body = {}}};
  const AgeOpenOptions options{.keys = {}, .passphrase = nullptr, .file_key = &key};
  EXPECT_EQ(open_age(forge(key, stanzas, payload), options).error, SealError::kNoncanonical);
  last[10] = std::byte{0};
  aead->seal(last, {}, {}, MutableByteSpan(payload).last(16));
  EXPECT_FALSE(open_age(forge(key, stanzas, ByteSpan(payload).last(16)), options).error);
}

TEST(Age, StanzasOfKnownTypesMustBeExact) {
  Cast cast;
  ByteArray<16> raw{};
  const FileKey key{std::span<const std::byte, 16>(raw)};
  const Bytes body(32);
  const std::string share(43, 'A');
  const std::string salt(22, 'A');
  const auto error_of = [&](std::vector<AgeStanza> stanzas) {
    return open_age(forge(key, stanzas), {.keys = cast.age_keys, .passphrase = &cast.passphrase})
        .error;
  };
  EXPECT_EQ(error_of({{{"grease", "a"}, {}}}), SealError::kNoMatchingKey);
  EXPECT_EQ(error_of({{{"x25519", share}, body}}), SealError::kNoMatchingKey) << "another type";
  EXPECT_EQ(error_of({{{"ssh-ed25519", "AAAAAA", share}, body}}), SealError::kNoMatchingKey);
  const std::string share_unused_bits = std::string(42, 'A') + "B";
  for (const AgeStanza& stanza : std::vector<AgeStanza>{
           {{"X25519"}, body},
           {{"X25519", share, "x"}, body},
           {{"X25519", share + "A"}, body},
           {{"X25519", share + "="}, body},
           {{"X25519", share_unused_bits}, body},
           {{"X25519", share}, Bytes(31)},
           {{"X25519", share}, Bytes(33)},
           {{"X25519", share}, Bytes(16 + 17)},
           {{"X25519", share}, {}},
           {{"X25519", share}, body},  // a low-order point: the secret would be zero
           {{"ssh-ed25519", "AAAAAA"}, body},
           {{"ssh-ed25519", "AAAAAAAA", share}, body},
           {{"ssh-ed25519", "AAAAAB", share}, body},
           {{"ssh-ed25519", "AAAAAA", share_unused_bits}, body},
           {{"ssh-ed25519", "AAAAAA", share}, Bytes(31)},
           {{"scrypt", salt}, body},
           {{"scrypt", salt, "1", "x"}, body},
           {{"scrypt", salt + "A", "1"}, body},
           {{"scrypt", std::string(21, 'A') + "B", "1"}, body},
           {{"scrypt", salt, "0"}, body},
           {{"scrypt", salt, "01"}, body},
           {{"scrypt", salt, "+1"}, body},
           {{"scrypt", salt, "-1"}, body},
           {{"scrypt", salt, "0x1"}, body},
           {{"scrypt", salt, "1a"}, body},
           {{"scrypt", salt, "1"}, Bytes(33)},
       }) {
    EXPECT_EQ(error_of({stanza}), SealError::kHeaderMalformed) << encode_age_header_start({stanza});
  }
  for (const std::string& high :
       std::vector<std::string>{"22", "23", "64", "99", "100", "18446744073709551617"}) {
    EXPECT_EQ(error_of({{{"scrypt", salt, high}, body}}), SealError::kWorkFactorTooHigh) << high;
  }
  const AgeStanza scrypt{{"scrypt", salt, "1"}, body};
  EXPECT_EQ(error_of({scrypt}), SealError::kWrongPassphrase);
  EXPECT_EQ(error_of({scrypt, scrypt}), SealError::kHeaderMalformed);
  EXPECT_EQ(error_of({scrypt, {{"grease"}, {}}}), SealError::kHeaderMalformed);
  EXPECT_EQ(error_of({{{"grease"}, {}}, scrypt}), SealError::kHeaderMalformed);
}

TEST(Age, SealerRefusesRecipientsThatCannotWork) {
  Cast cast;
  const std::vector<Recipient> low_order = {AgeRecipient{}};
  EXPECT_EQ(make_age_sealer({.recipients = low_order}, cast.random).error(),
            SealError::kBadRecipient);
  SshRecipient identity_point;
  identity_point.key.bytes[0] = std::byte{1};
  const std::vector<Recipient> small = {identity_point};
  EXPECT_EQ(make_age_sealer({.recipients = small}, cast.random).error(), SealError::kBadRecipient);
  const std::vector<Recipient> crowd(700, cast.age_recipients[0]);
  EXPECT_EQ(make_age_sealer({.recipients = crowd}, cast.random).error(),
            SealError::kHeaderTooLarge);
  const std::vector<Recipient> group(600, cast.age_recipients[0]);
  const Bytes sealed = cast.seal({.recipients = group}, {});
  EXPECT_FALSE(open_age(sealed, {.keys = cast.age_keys}).error);
  EXPECT_EQ(make_age_sealer({.recipients = {}, .passphrase = &cast.passphrase, .work_factor = 40},
                            cast.random)
                .error(),
            SealError::kWorkFactorTooHigh);
}

TEST(Age, EverySealIsFreshAndNamesNoRecipient) {
  Cast cast;
  const Bytes first = cast.seal({.recipients = cast.age_recipients}, pattern(0, 10));
  const Bytes second = cast.seal({.recipients = cast.age_recipients}, pattern(0, 10));
  EXPECT_NE(first, second);
  const std::string recipient = identity::format_recipient(cast.age_recipients[0]);
  EXPECT_EQ(as_text(first).find(recipient), std::string_view::npos);
}

}  // namespace
}  // namespace sealane::seal
