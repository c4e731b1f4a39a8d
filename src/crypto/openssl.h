#pragma once
// Private to this folder: OpenSSL's objects with owners, its algorithms fetched once.
#include <openssl/evp.h>

#include <memory>
#include <new>

#include "base/check.h"

namespace sealane::crypto {

struct OpenSslDelete {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, OpenSslDelete>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, OpenSslDelete>;

inline DigestContext make_digest_context() {
  DigestContext context(EVP_MD_CTX_new());
  if (!context) throw std::bad_alloc();
  return context;
}
inline CipherContext make_cipher_context() {
  CipherContext context(EVP_CIPHER_CTX_new());
  if (!context) throw std::bad_alloc();
  return context;
}

// Fetching costs microseconds and a lock, so every caller keeps the result in a static; it is never
// freed, since OpenSSL's own clean-up at exit may run before ours.
inline const EVP_CIPHER* fetch_cipher(const char* name) {
  const EVP_CIPHER* cipher = EVP_CIPHER_fetch(nullptr, name, nullptr);
  SEALANE_CHECK(cipher != nullptr);
  return cipher;
}
inline const EVP_MD* fetch_digest(const char* name) {
  const EVP_MD* digest = EVP_MD_fetch(nullptr, name, nullptr);
  SEALANE_CHECK(digest != nullptr);
  return digest;
}

}  // namespace sealane::crypto
