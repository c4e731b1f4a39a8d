#include "crypto/rsa.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <array>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "crypto/openssl.h"

namespace sealane::crypto {
namespace {

constexpr std::size_t kOaepOverhead = 66;  // two digests and two bytes
constexpr int kMaxExponentBits = 64;       // OpenSSL's own bound for large moduli
constexpr std::string_view kPkcs1Public = "RSA PUBLIC KEY";
constexpr std::string_view kSpki = "PUBLIC KEY";
constexpr std::string_view kPkcs1Private = "RSA PRIVATE KEY";
constexpr std::string_view kPkcs8 = "PRIVATE KEY";
constexpr std::string_view kPkcs8Encrypted = "ENCRYPTED PRIVATE KEY";

struct RsaDelete {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(BIGNUM* number) const { BN_clear_free(number); }
};
using Key = std::unique_ptr<EVP_PKEY, RsaDelete>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, RsaDelete>;
using Memory = std::unique_ptr<BIO, RsaDelete>;
using Number = std::unique_ptr<BIGNUM, RsaDelete>;

// What failed stays in a queue of the thread, for nobody.
struct ForgetErrors {
  ~ForgetErrors() { ERR_clear_error(); }
};

int int_size(ByteSpan bytes) { return static_cast<int>(bytes.size()); }

struct PemBlock {
  std::string name;
  bool encrypted = false;
  SecretBytes der;
};

// The first block of the text, whatever it holds.
std::optional<PemBlock> read_pem(ByteSpan text) {
  // Of nothing OpenSSL makes no source.
  if (text.empty() || text.size() > kMaxRsaPemSize) return std::nullopt;
  const Memory in(BIO_new_mem_buf(text.data(), int_size(text)));
  if (!in) throw std::bad_alloc();
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  if (PEM_read_bio(in.get(), &name, &header, &data, &size) != 1) return std::nullopt;
  PemBlock block;
  block.name = name;
  block.encrypted = std::string_view(header).find("ENCRYPTED") != std::string_view::npos;
  const auto length = static_cast<std::size_t>(size);
  block.der = SecretBytes(std::as_bytes(std::span(data, length)));
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_clear_free(data, length);
  return block;
}

SecretBytes write_pem(std::string_view name, ByteSpan der) {
  const Memory out(BIO_new(BIO_s_secmem()));  // wiped when freed
  if (!out) throw std::bad_alloc();
  if (PEM_write_bio(out.get(), std::string(name).c_str(), "", as_uchar(der),
                    static_cast<long>(der.size())) <= 0) {
    throw std::bad_alloc();
  }
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return SecretBytes(std::string_view(text, static_cast<std::size_t>(size)));
}

// The whole of `der` as one key, by one of OpenSSL's d2i functions.
template <class Decode>
Key decode(ByteSpan der, const Decode& d2i) {
  const unsigned char* at = as_uchar(der);
  Key key(d2i(&at, static_cast<long>(der.size())));
  if (key && at != as_uchar(der) + der.size()) return nullptr;
  return key;
}
template <class Encode>
SecretBytes encode(const Encode& i2d) {
  unsigned char* der = nullptr;
  const int size = i2d(&der);
  if (size <= 0) throw std::bad_alloc();
  SecretBytes bytes(std::as_bytes(std::span(der, static_cast<std::size_t>(size))));
  OPENSSL_clear_free(der, static_cast<std::size_t>(size));
  return bytes;
}

Number number_of(const EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) return nullptr;
  return Number(number);
}

// Whether later steps with it can only fail for want of memory: an even modulus makes them fail.
bool is_usable(const EVP_PKEY* key) {
  const Number modulus = number_of(key, OSSL_PKEY_PARAM_RSA_N);
  const Number exponent = number_of(key, OSSL_PKEY_PARAM_RSA_E);
  if (!modulus || !exponent) return false;
  const auto bits = static_cast<unsigned>(BN_num_bits(modulus.get()));
  return bits >= kMinRsaBits && bits <= kMaxRsaBits && BN_is_odd(modulus.get()) == 1 &&
         BN_is_odd(exponent.get()) == 1 && BN_is_one(exponent.get()) == 0 &&
         BN_num_bits(exponent.get()) <= kMaxExponentBits;
}

KeyContext make_context(EVP_PKEY* key) {
  KeyContext context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
  if (!context) throw std::bad_alloc();
  return context;
}

void set_oaep(EVP_PKEY_CTX* context, ByteSpan label) {
  static const EVP_MD* const digest = fetch_digest("SHA256");
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1);
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_oaep_md(context, digest) == 1);
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) == 1);
  if (label.empty()) return;
  void* copy = OPENSSL_memdup(label.data(), label.size());  // the context will own it
  if (copy == nullptr) throw std::bad_alloc();
  SEALANE_CHECK(EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy, int_size(label)) == 1);
}

// Contexts of one key for one kind of step without a label. To make one takes 5 to 10 us, a quarter
// of what encrypting a block with it takes, so they are kept. Thread-safe; each context is one
// thread's while it is lent. The key must outlive them.
class OaepContexts {
 public:
  using Init = int (*)(EVP_PKEY_CTX*);
  explicit OaepContexts(Init init) : init_(init) {}

  class Lent {
   public:
    Lent(OaepContexts& owner, KeyContext context) : owner_(owner), context_(std::move(context)) {}
    ~Lent() { owner_.take_back(std::move(context_)); }
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;
    EVP_PKEY_CTX* get() const { return context_.get(); }

   private:
    OaepContexts& owner_;
    KeyContext context_;
  };

  Lent lend(EVP_PKEY* key) {
    {
      const std::lock_guard lock(mutex_);
      if (idle_count_ > 0) return Lent(*this, std::move(idle_[--idle_count_]));
    }
    return Lent(*this, make(key, {}));
  }
  // With a label: of the caller alone.
  KeyContext make(EVP_PKEY* key, ByteSpan label) const {
    KeyContext context = make_context(key);
    SEALANE_CHECK(init_(context.get()) == 1);
    set_oaep(context.get(), label);
    return context;
  }

 private:
  static constexpr std::size_t kKept = 4;  // a hub has the keys of thousands of clients

  void take_back(KeyContext context) {
    const std::lock_guard lock(mutex_);
    if (idle_count_ < kKept) idle_[idle_count_++] = std::move(context);
  }

  const Init init_;
  std::mutex mutex_;
  std::size_t idle_count_ = 0;
  std::array<KeyContext, kKept> idle_;
};

// What `step` returns, which gets a context for that label.
template <class Step>
int with_context(OaepContexts& contexts, EVP_PKEY* key, ByteSpan label, const Step& step) {
  if (label.empty()) return step(contexts.lend(key).get());
  return step(contexts.make(key, label).get());
}

void set_pss(EVP_PKEY_CTX* context, int salt) {
  static const EVP_MD* const digest = fetch_digest("SHA256");
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1);
  SEALANE_CHECK(EVP_PKEY_CTX_set_signature_md(context, digest) == 1);
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) == 1);
  SEALANE_CHECK(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt) == 1);
}

int salt_length(PssSalt salt) {
  switch (salt) {
    case PssSalt::kMaximum:
      return RSA_PSS_SALTLEN_MAX;
    case PssSalt::kDigest:
      return RSA_PSS_SALTLEN_DIGEST;
    default:
      return RSA_PSS_SALTLEN_AUTO;
  }
}

}  // namespace

std::string_view describe(RsaKeyError error) {
  switch (error) {
    case RsaKeyError::kNotAKey:
      return "it holds no RSA key in PEM";
    case RsaKeyError::kPassphrase:
      return "it is protected by a passphrase";
    case RsaKeyError::kUnsupportedSize:
      return "only RSA keys of 2048 to 4096 bits are taken";
  }
  return "unknown";
}

struct RsaPublicKey::State {
  explicit State(Key owned) : key(std::move(owned)) {
    const SecretBytes der = encode([&](auto** out) { return i2d_PUBKEY(key.get(), out); });
    fingerprint = sha256(der.expose());
    size = static_cast<std::size_t>(EVP_PKEY_get_size(key.get()));
  }
  Key key;  // not changed any more: OpenSSL's own caches in it are locked
  mutable OaepContexts encrypting{EVP_PKEY_encrypt_init};
  mutable OaepContexts decrypting{EVP_PKEY_decrypt_init};
  Sha256Digest fingerprint{};
  std::size_t size = 0;
};

Result<RsaPublicKey, RsaKeyError> RsaPublicKey::from_pem(ByteSpan text) {
  const ForgetErrors forget;
  const auto block = read_pem(text);
  if (!block) return RsaKeyError::kNotAKey;
  Key key;
  if (block->name == kPkcs1Public) {
    key = decode(block->der.expose(), [](const unsigned char** at, long size) {
      return d2i_PublicKey(EVP_PKEY_RSA, nullptr, at, size);
    });
  } else if (block->name == kSpki) {
    key = decode(block->der.expose(),
                 [](const unsigned char** at, long size) { return d2i_PUBKEY(nullptr, at, size); });
  }
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return RsaKeyError::kNotAKey;
  if (!is_usable(key.get())) return RsaKeyError::kUnsupportedSize;
  return RsaPublicKey(std::make_shared<State>(std::move(key)));
}

std::string RsaPublicKey::to_pem() const {
  const SecretBytes der = encode([&](auto** out) { return i2d_PublicKey(state_->key.get(), out); });
  return std::string(write_pem(kPkcs1Public, der.expose()).expose_text());
}

Sha256Digest RsaPublicKey::fingerprint() const { return state_->fingerprint; }
std::size_t RsaPublicKey::size() const { return state_->size; }
std::size_t RsaPublicKey::max_plain_size() const { return state_->size - kOaepOverhead; }

Bytes RsaPublicKey::encrypt(ByteSpan plain, ByteSpan label) const {
  SEALANE_CHECK(plain.size() <= max_plain_size());
  const ForgetErrors forget;
  Bytes cipher(size());
  std::size_t written = cipher.size();
  // A null pointer would ask for a size.
  const std::byte nothing{};
  const unsigned char* in = as_uchar(plain.empty() ? ByteSpan(&nothing, 1) : plain);
  const int done =
      with_context(state_->encrypting, state_->key.get(), label, [&](EVP_PKEY_CTX* context) {
        return EVP_PKEY_encrypt(context, as_uchar(MutableByteSpan(cipher)), &written, in,
                                plain.size());
      });
  SEALANE_CHECK(done == 1);
  SEALANE_CHECK(written == cipher.size());
  return cipher;
}

Result<void, RsaError> RsaPublicKey::verify(ByteSpan message, ByteSpan signature,
                                            PssSalt salt) const {
  const ForgetErrors forget;
  if (signature.size() != size()) return RsaError::kRefused;
  const KeyContext context = make_context(state_->key.get());
  SEALANE_CHECK(EVP_PKEY_verify_init(context.get()) == 1);
  set_pss(context.get(), salt_length(salt));
  const Sha256Digest digest = sha256(message);
  if (EVP_PKEY_verify(context.get(), as_uchar(signature), signature.size(),
                      as_uchar(ByteSpan(digest)), digest.size()) != 1) {
    return RsaError::kRefused;
  }
  return success();
}

RsaPrivateKey RsaPrivateKey::generate(unsigned bits) {
  SEALANE_CHECK(bits >= kMinRsaBits && bits <= kMaxRsaBits);
  Key key(EVP_RSA_gen(bits));
  if (!key) throw std::bad_alloc();
  return RsaPrivateKey(RsaPublicKey(std::make_shared<RsaPublicKey::State>(std::move(key))));
}

Result<RsaPrivateKey, RsaKeyError> RsaPrivateKey::from_pem(ByteSpan text) {
  const ForgetErrors forget;
  const auto block = read_pem(text);
  if (!block) return RsaKeyError::kNotAKey;
  if (block->encrypted || block->name == kPkcs8Encrypted) return RsaKeyError::kPassphrase;
  Key key;
  if (block->name == kPkcs1Private) {
    key = decode(block->der.expose(), [](const unsigned char** at, long size) {
      return d2i_PrivateKey(EVP_PKEY_RSA, nullptr, at, size);
    });
  } else if (block->name == kPkcs8) {
    key = decode(block->der.expose(), [](const unsigned char** at, long size) {
      return d2i_AutoPrivateKey(nullptr, at, size);
    });
  }
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return RsaKeyError::kNotAKey;
  if (!is_usable(key.get())) return RsaKeyError::kUnsupportedSize;
  const KeyContext context = make_context(key.get());
  if (EVP_PKEY_pairwise_check(context.get()) != 1) return RsaKeyError::kNotAKey;
  return RsaPrivateKey(RsaPublicKey(std::make_shared<RsaPublicKey::State>(std::move(key))));
}

SecretBytes RsaPrivateKey::to_pem() const {
  const SecretBytes der =
      encode([&](auto** out) { return i2d_PrivateKey(public_key_.state_->key.get(), out); });
  return write_pem(kPkcs1Private, der.expose());
}

Result<Bytes, RsaError> RsaPrivateKey::decrypt(ByteSpan cipher, ByteSpan label) const {
  const ForgetErrors forget;
  if (cipher.size() != size()) return RsaError::kRefused;
  Bytes plain(size());
  std::size_t written = plain.size();
  const RsaPublicKey::State& state = *public_key_.state_;
  const int done =
      with_context(state.decrypting, state.key.get(), label, [&](EVP_PKEY_CTX* context) {
        return EVP_PKEY_decrypt(context, as_uchar(MutableByteSpan(plain)), &written,
                                as_uchar(cipher), cipher.size());
      });
  if (done != 1) {
    cleanse(plain);
    return RsaError::kRefused;
  }
  plain.resize(written);
  return plain;
}

Bytes RsaPrivateKey::sign(ByteSpan message) const {
  const ForgetErrors forget;
  const KeyContext context = make_context(public_key_.state_->key.get());
  SEALANE_CHECK(EVP_PKEY_sign_init(context.get()) == 1);
  set_pss(context.get(), RSA_PSS_SALTLEN_MAX);
  const Sha256Digest digest = sha256(message);
  Bytes signature(size());
  std::size_t written = signature.size();
  SEALANE_CHECK(EVP_PKEY_sign(context.get(), as_uchar(MutableByteSpan(signature)), &written,
                              as_uchar(ByteSpan(digest)), digest.size()) == 1);
  SEALANE_CHECK(written == signature.size());
  return signature;
}

}  // namespace sealane::crypto
