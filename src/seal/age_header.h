#pragma once
// The text before an age payload. docs/protocol/age.md, section 1.
//
//   age-encryption.org/v1 LF
//   -> ARGUMENT (SP ARGUMENT)* LF        a stanza: printable ASCII, one space between
//   64 base64 characters LF              its body, as often as needed
//   0 to 63 base64 characters LF         always there, empty after a full line
//   --- 43 base64 characters LF          HMAC-SHA-256 of everything up to and including "---"
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "seal/stream_codec.h"

namespace sealane::seal {

// Wraps the file key for one recipient.
struct AgeStanza {
  std::vector<std::string> arguments;  // the first is the type; never empty
  Bytes body;
  friend bool operator==(const AgeStanza&, const AgeStanza&) = default;
};

struct AgeHeader {
  std::vector<AgeStanza> stanzas;
  ByteArray<32> mac{};
  std::size_t mac_input_size = 0;  // bytes from the start that the MAC covers
  std::size_t size = 0;            // bytes of the whole header
};

// `start`: the stream's first bytes; `at_end`: nothing follows them. Accepts exactly what the two
// functions below write: one value, one encoding. Knows no stanza type and authenticates nothing.
// kNotThisFormat, kHeaderMalformed, kHeaderTooLarge, kTruncated; found as early as the bytes allow.
Result<std::variant<BytesNeeded, AgeHeader>, SealError> parse_age_header(ByteSpan start,
                                                                         bool at_end);

// Up to and including "---": what the MAC covers.
std::string encode_age_header_start(const std::vector<AgeStanza>& stanzas);
std::string encode_age_header_end(ByteSpan mac);  // " MAC LF"

}  // namespace sealane::seal
