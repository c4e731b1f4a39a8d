#pragma once
// age v1 (C2SP/age): header, recipient stanzas, payload. docs/protocol/age.md.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "seal/stream_codec.h"
#include "sealane/base/seams.h"
#include "sealane/identity/keys.h"

namespace sealane::seal {

using FileKey = Secret<struct FileKeyTag, 16>;

inline constexpr std::size_t kAgeChunkSize = 64 * 1024;
inline constexpr std::size_t kAgeNonceSize = 16;  // after the header, before the first chunk
inline constexpr std::size_t kMaxAgeHeaderSize = 64 * 1024;  // before a header is trusted
inline constexpr std::size_t kMaxAgeStanzas = 1024;
inline constexpr unsigned kScryptWorkFactor = 18;     // log2 N that we write, as age does
inline constexpr unsigned kMaxScryptWorkFactor = 21;  // log2 N we are ready to compute: 2 GiB, 10 s

struct AgeSealOptions {
  std::span<const identity::Recipient> recipients;  // at least one, or a passphrase; never both
  const SecretBytes* passphrase = nullptr;
  unsigned work_factor = kScryptWorkFactor;
};
// Chooses a file key, wraps it for all. `file_key_out`, if given, receives a copy (drill after
// backup). kBadRecipient, kHeaderTooLarge (about 650 recipients), kWorkFactorTooHigh.
// REQUIRES: recipients xor passphrase.
Result<std::unique_ptr<StreamSealer>, SealError> make_age_sealer(
    const AgeSealOptions& options, RandomSource& random,
    std::unique_ptr<FileKey>* file_key_out = nullptr);

// Reads "age-encryption.org/v1" … "--- MAC" and the 16-byte nonce. Feed bytes from the stream's
// start. BytesNeeded{n}: offer at least n bytes, or say at_end; the size: of header and nonce.
Result<std::variant<BytesNeeded, std::size_t>, SealError> age_header_size(ByteSpan start,
                                                                          bool at_end);

struct AgeOpenOptions {
  std::span<const identity::OpeningKey> keys;
  const SecretBytes* passphrase = nullptr;
  const FileKey* file_key = nullptr;  // known already: stanzas are not tried, the MAC is checked
  unsigned max_work_factor = kMaxScryptWorkFactor;
};
// `header`: exactly the bytes counted by age_header_size().
Result<std::unique_ptr<StreamOpener>, SealError> make_age_opener(ByteSpan header,
                                                                 const AgeOpenOptions& options);

}  // namespace sealane::seal
