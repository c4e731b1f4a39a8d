#include "crypto/cipher.h"

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/copy_bytes.h"
#include "crypto/openssl.h"
#include "crypto/sodium.h"

namespace sealane::crypto {

// libsodium here, not OpenSSL: it needs no heap and no set-up, and these serve short messages.
void chacha20_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 12> nonce,
                  std::uint32_t counter, ByteSpan in, MutableByteSpan out) {
  SEALANE_CHECK(in.size() == out.size());
  const std::uint64_t blocks = in.size() / 64 + (in.size() % 64 != 0 ? 1 : 0);
  SEALANE_CHECK(blocks <= (std::uint64_t{1} << 32) - counter);
  if (in.empty()) return;
  ensure_sodium();
  crypto_stream_chacha20_ietf_xor_ic(as_uchar(out), as_uchar(in), in.size(), as_uchar(nonce),
                                     counter, as_uchar(key));
}

void hchacha20(std::span<const std::byte, 32> key, std::span<const std::byte, 16> input,
               std::span<std::byte, 32> out) {
  ensure_sodium();
  crypto_core_hchacha20(as_uchar(MutableByteSpan(out)), as_uchar(input), as_uchar(key), nullptr);
}

ByteArray<16> poly1305(std::span<const std::byte, 32> one_time_key, ByteSpan message) {
  ensure_sodium();
  ByteArray<16> tag;
  crypto_onetimeauth_poly1305(as_uchar(MutableByteSpan(tag)), as_uchar(message), message.size(),
                              as_uchar(one_time_key));
  return tag;
}

// Both libraries: libsodium has no set-up and wins for one block (155 ns to 195); OpenSSL's wide
// code is ahead from two blocks on, and four times as fast on long data.
struct ChaCha20::State {
  explicit State(std::span<const std::byte, 32> bytes) : key(bytes) {
    ensure_sodium();
    static const EVP_CIPHER* const cipher = fetch_cipher("ChaCha20");
    SEALANE_CHECK(EVP_EncryptInit_ex2(context.get(), cipher, as_uchar(ByteSpan(bytes)), nullptr,
                                      nullptr) == 1);
  }
  Secret<struct ChaCha20KeyTag, 32> key;
  CipherContext context = make_cipher_context();
};

ChaCha20::ChaCha20(std::span<const std::byte, 32> key) : state_(std::make_unique<State>(key)) {}
ChaCha20::~ChaCha20() = default;
ChaCha20::ChaCha20(ChaCha20&&) noexcept = default;
ChaCha20& ChaCha20::operator=(ChaCha20&&) noexcept = default;

void ChaCha20::xor_in_place(Nonce nonce, std::uint64_t counter, MutableByteSpan data) {
  constexpr std::size_t kShort = kBlockSize;
  if (data.size() <= kShort) {
    if (data.empty()) return;
    crypto_stream_chacha20_xor_ic(as_uchar(data), as_uchar(ByteSpan(data)), data.size(),
                                  as_uchar(ByteSpan(nonce)), counter,
                                  as_uchar(ByteSpan(state_->key.expose())));
    return;
  }
  start(nonce, counter);
  proceed(data);
}

void ChaCha20::start(Nonce nonce, std::uint64_t counter) {
  ByteArray<16> iv;  // OpenSSL's: the counter, little-endian, then the nonce
  store_integer(MutableByteSpan(iv), counter, Endian::kLittle);
  copy_bytes(nonce, iv.begin() + 8);
  SEALANE_CHECK(EVP_EncryptInit_ex2(state_->context.get(), nullptr, nullptr, as_uchar(ByteSpan(iv)),
                                    nullptr) == 1);
}

void ChaCha20::proceed(MutableByteSpan data) {
  constexpr std::size_t kCallLimit = 1 << 30;  // OpenSSL counts in int
  while (!data.empty()) {
    const std::size_t size = std::min(data.size(), kCallLimit);
    int written = 0;
    SEALANE_CHECK(EVP_EncryptUpdate(state_->context.get(), as_uchar(data), &written,
                                    as_uchar(ByteSpan(data)), static_cast<int>(size)) == 1);
    SEALANE_CHECK(written == static_cast<int>(size));
    data = data.subspan(size);
  }
}

namespace {
EVP_MAC* poly1305_method() {
  static EVP_MAC* const method = EVP_MAC_fetch(nullptr, "POLY1305", nullptr);
  SEALANE_CHECK(method != nullptr);
  return method;
}
}  // namespace

struct Poly1305::State {
  State() : context(EVP_MAC_CTX_new(poly1305_method())) {
    if (!context) throw std::bad_alloc();
  }
  std::unique_ptr<EVP_MAC_CTX, OpenSslDelete> context;
};

Poly1305::Poly1305() : state_(std::make_unique<State>()) {}
Poly1305::~Poly1305() = default;
Poly1305::Poly1305(Poly1305&&) noexcept = default;
Poly1305& Poly1305::operator=(Poly1305&&) noexcept = default;

void Poly1305::start(std::span<const std::byte, 32> one_time_key) {
  SEALANE_CHECK(EVP_MAC_init(state_->context.get(), as_uchar(ByteSpan(one_time_key)),
                             one_time_key.size(), nullptr) == 1);
}
void Poly1305::update(ByteSpan message) {
  SEALANE_CHECK(EVP_MAC_update(state_->context.get(), as_uchar(message), message.size()) == 1);
}
ByteArray<16> Poly1305::finish() {
  ByteArray<16> tag;
  std::size_t size = 0;
  SEALANE_CHECK(EVP_MAC_final(state_->context.get(), as_uchar(MutableByteSpan(tag)), &size,
                              tag.size()) == 1 &&
                size == tag.size());
  return tag;
}

void aes256_ctr_xor(std::span<const std::byte, 32> key, std::span<const std::byte, 16> iv,
                    ByteSpan in, MutableByteSpan out) {
  SEALANE_CHECK(in.size() == out.size());
  static const EVP_CIPHER* const cipher = fetch_cipher("AES-256-CTR");
  const CipherContext context = make_cipher_context();
  SEALANE_CHECK(EVP_EncryptInit_ex2(context.get(), cipher, as_uchar(ByteSpan(key)),
                                    as_uchar(ByteSpan(iv)), nullptr) == 1);
  constexpr std::size_t kCallLimit = 1 << 30;  // OpenSSL counts in int
  while (!in.empty()) {
    const std::size_t size = std::min(in.size(), kCallLimit);
    int written = 0;
    SEALANE_CHECK(EVP_EncryptUpdate(context.get(), as_uchar(out), &written, as_uchar(in),
                                    static_cast<int>(size)) == 1);
    SEALANE_CHECK(written == static_cast<int>(size));
    in = in.subspan(size);
    out = out.subspan(size);
  }
}

}  // namespace sealane::crypto
