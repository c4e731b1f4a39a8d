#pragma once
// Key, IV and secret files of the entropy channel. Rules: docs/protocol/entropy.md, section 5.
//
// Key and IV, as the foreign engine reads them, byte for byte (the first 16 bytes count):
//   raw       the text itself, without CR, LF, space and TAB at its end
//   armored   the base64 between the first line that begins with -----BEGIN and the next that
//             begins with -----END; labels do not matter, nor what stands around
// and two forms that say what they are, which that engine would take for raw:
//   hex:      and 32 hexadecimal digits
//   base64:   and the base64 of 16 bytes
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/aes_cbc.h"
#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/secret.h"

namespace sealane::entropy {

// What the original engine ships, so everybody knows it. Refused unless asked for.
inline constexpr std::string_view kSampleKey = "0123456789012345";
inline constexpr std::size_t kMaxKeyFileSize = 64 * 1024;  // bounds reading one

enum class KeyFileError : std::uint8_t {
  kNotText = 1,  // no UTF-8; the foreign engine's class for it is io, not key
  kTooShort,     // fewer than 16 bytes are left
  kNoBegin,      // -----BEGIN is there, but not at the start of a line
  kNoEnd,
  kBadBase64,
  kBadHex,
  kWrongSize,  // of a form that says its size
  kTooLong,    // the file
  kSample,     // and it was not allowed
};
std::string_view describe(KeyFileError error);  // a sentence, without a full stop

enum class KeyWarning : std::uint8_t {
  kSample = 1,  // the value that ships with the original engine
  kPrivateKey,  // armored, of a private key: its first bytes are the same for all keys of a kind
  kHexDigits,   // raw, all hexadecimal digits: half of the entropy is missing
  kTruncated,   // more than 16 bytes were there
  kSameAsIv,    // of two files: same_key_and_iv()
};
std::string_view describe(KeyWarning warning);  // a sentence, without a full stop

using KeyBytes = Secret<struct EntropyKeyBytesTag, 16>;

struct ParsedKey {
  KeyBytes bytes;
  std::vector<KeyWarning> warnings;
};
// `content` is that of the whole file.
Result<ParsedKey, KeyFileError> parse_key_file(ByteSpan content, bool allow_sample = false);

// What encrypts chunks: both files together.
struct ChunkKeys {
  crypto::AesCbcKey key;
  crypto::AesCbcIv iv;
  ChunkKeys duplicate() const { return {key.duplicate(), iv.duplicate()}; }
};
ChunkKeys make_chunk_keys(const KeyBytes& key, const KeyBytes& iv);
bool same_key_and_iv(const KeyBytes& key, const KeyBytes& iv);

// The secret that the extension block is signed with; ours alone, so only clear forms: hex: and 64
// digits, or base64: and the base64 of 32 bytes, perhaps a line feed.
using ClusterSecret = Secret<struct EntropyClusterSecretTag, 32>;
Result<ClusterSecret, KeyFileError> parse_secret_file(ByteSpan content);

}  // namespace sealane::entropy
