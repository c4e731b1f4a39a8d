#include "hub/jobs.h"

#include "hub/frame.h"

namespace sealane::hub {
namespace {

using crypto::RsaError;

constexpr std::size_t kBriefKeySize = 256;  // larger ones take two to four times as long

struct Runner {
  JobOutcome operator()(const DecryptJob& job) const {
    const std::size_t size = job.key->size();
    Bytes plain;
    bool whole = job.cipher.size() % size == 0;
    // All blocks are opened even after a bad one, so that time does not tell which it was.
    for (std::size_t at = 0; at + size <= job.cipher.size(); at += size) {
      const auto block = job.key->decrypt(ByteSpan(job.cipher).subspan(at, size));
      if (!block.has_value()) {
        whole = false;
        continue;
      }
      plain.insert(plain.end(), block.value().begin(), block.value().end());
    }
    if (!whole) return RsaError::kRefused;
    return plain;
  }
  JobOutcome operator()(const EncryptJob& job) const {
    Bytes cipher;
    cipher.reserve(encrypted_size(job.plain.size(), job.key->size()));
    for (ByteSpan rest = job.plain; !rest.empty();) {
      const ByteSpan block = rest.first(std::min(rest.size(), kPlainBlockSize));
      const Bytes sealed = job.key->encrypt(block);
      cipher.insert(cipher.end(), sealed.begin(), sealed.end());
      rest = rest.subspan(block.size());
    }
    return cipher;
  }
  JobOutcome operator()(const SignJob& job) const { return job.key->sign(job.message); }
  JobOutcome operator()(const VerifyJob& job) const {
    const auto verified = job.key->verify(job.message, job.signature, job.salt);
    if (!verified.has_value()) return RsaError::kRefused;
    return Bytes();
  }
};

}  // namespace

bool is_brief(const Job& job) {
  const auto* encrypt = std::get_if<EncryptJob>(&job.work);
  return encrypt != nullptr && encrypt->plain.size() <= kPlainBlockSize &&
         encrypt->key->size() <= kBriefKeySize;
}

JobResult run(const Job& job) {
  return JobResult{.number = job.number, .outcome = std::visit(Runner{}, job.work)};
}

std::size_t encrypted_size(std::size_t plain_size, std::size_t key_size) {
  return (plain_size + kPlainBlockSize - 1) / kPlainBlockSize * key_size;
}

std::size_t max_plain_size(std::size_t key_size) {
  return kMaxPayloadSize / key_size * kPlainBlockSize;
}

}  // namespace sealane::hub
