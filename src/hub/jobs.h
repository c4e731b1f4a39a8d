#pragma once
// Jobs: the RSA steps of a connection. They leave the core as events, run anywhere, several at a
// time if one likes, and their outcomes come back in the order of their numbers.
#include <cstdint>
#include <memory>
#include <variant>

#include "crypto/rsa.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"

namespace sealane::hub {

// Plain bytes in one RSA block. As the Python peer does it, also where the key would hold more.
inline constexpr std::size_t kPlainBlockSize = 190;

// A frame's payload: blocks of the key's size. Fails as a whole if its size is no multiple or any
// block does not open. May open to nothing.
struct DecryptJob {
  std::shared_ptr<const crypto::RsaPrivateKey> key;
  Bytes cipher;
};
struct EncryptJob {
  std::shared_ptr<const crypto::RsaPublicKey> key;
  Bytes plain;
};
struct SignJob {
  std::shared_ptr<const crypto::RsaPrivateKey> key;
  Bytes message;
};
struct VerifyJob {
  std::shared_ptr<const crypto::RsaPublicKey> key;
  Bytes message;
  Bytes signature;
  crypto::PssSalt salt = crypto::PssSalt::kAny;
};

enum class JobNumber : std::uint64_t {};  // per connection, from 0, no gaps

struct Job {
  JobNumber number{};
  std::variant<DecryptJob, EncryptJob, SignJob, VerifyJob> work;
};

// The bytes made: plaintext, ciphertext, signature; nothing for a signature that verifies.
using JobOutcome = Result<Bytes, crypto::RsaError>;
struct JobResult {
  JobNumber number{};
  JobOutcome outcome = crypto::RsaError::kRefused;
};

// Takes 30 to 40 us, about as much as to hand it to another thread and take its outcome back: a
// block to encrypt to a key of 2048 bits.
bool is_brief(const Job& job);

// Does it, in this thread. Pure but for OpenSSL's randomness.
JobResult run(const Job& job);

// The size of the payload that `plain_size` bytes make for a key of `key_size` bytes.
std::size_t encrypted_size(std::size_t plain_size, std::size_t key_size);
// The most plain bytes that fit in one frame: 48450, 32300, 24130 for 2048, 3072, 4096 bits.
std::size_t max_plain_size(std::size_t key_size);

}  // namespace sealane::hub
