#pragma once
// The token that a Backupy server gives a user together with a stored object: a JWT whose claims
// carry the data key in clear. Its signature cannot be checked here (only the server has that key),
// so a token is a letter with a key in it, not a proof of anything. docs/protocol/decrypt-token.md.
#include <cstdint>
#include <string>
#include <string_view>

#include "seal/chunk_stream.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"

namespace sealane::seal {

inline constexpr std::size_t kMaxDecryptTokenSize = 64 * 1024;  // bounds the JSON that is parsed

struct TokenError {
  enum class Kind : std::uint8_t {
    kExpired = 1,
    kInvalid,  // everything that has no kind of its own
    kUnsupportedAlgorithm,
    kUnsupportedFormat,
  };
  Kind kind = Kind::kInvalid;
  std::string_view detail;  // a literal: which claim, which rule. Never text of the token.
};

struct DecryptToken {
  DataKey key;
  std::string sha256;  // expected of the sealed object, lower case, unchecked text; may be empty
  bool expired = false;
};

enum class TokenExpiry : std::uint8_t { kRefuse, kAllow };

// No blanks around `text`. Checks run in a fixed order, the first that fails is reported: segments,
// payload, iss, aud, exp, expiry, sub, run_id, company_id, dek, alg, format_version; then their
// values: algorithm, version, key.
Result<DecryptToken, TokenError> parse_decrypt_token(std::string_view text, WallTime now,
                                                     TokenExpiry expiry = TokenExpiry::kRefuse);

}  // namespace sealane::seal
