#pragma once
// Documents: what all records of a repository have in common. Each is JSON in one canonical form
// (fixed fields, order and white space, unsigned integers, no doubles), so one value has one
// encoding; the signed ones are followed by an armoured SSHSIG over exactly the JSON bytes.
#include <string>
#include <string_view>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/identity/keys.h"

namespace sealane::repo {

inline constexpr std::uint64_t kFormat = 1;
inline constexpr std::string_view kCommitNamespace = "sealane-commit@v1";
inline constexpr std::string_view kProofNamespace = "sealane-proof@v1";
inline constexpr std::string_view kForgetNamespace = "sealane-forget@v1";

enum class DocumentFault : std::uint8_t {
  kTooLarge = 1,
  kNotJson,      // no JSON, invalid UTF-8, too deep, too many values
  kNumber,       // negative, fractional or too large
  kNewerFormat,  // written by a newer Sealane
  kDuplicateField,
  kUnknownField,
  kMissingField,
  kBadValue,      // of the wrong type or outside its range
  kNotCanonical,  // says the right things in another form
  kNoSignature,
  kBadSignature,
  kWrongSigner,  // signed by another key than it names
};
struct DocumentError {
  DocumentFault fault = DocumentFault::kNotJson;
  std::string field;  // where it applies; printable
  friend bool operator==(const DocumentError&, const DocumentError&) = default;
};
// A clause for a sentence: "it has the unknown field \"colour\"".
std::string describe(const DocumentError& error);

// Where the signature starts: this line and all that follows.
inline constexpr std::string_view kSignatureLine = "-----BEGIN SSH SIGNATURE-----";

struct SignedText {
  std::string_view text;       // what was signed; ends with a line feed
  std::string_view signature;  // armoured
};
Result<SignedText, DocumentError> split_signed(std::string_view document);
// `text` and the signature behind it. REQUIRES: `text` ends with a line feed.
std::string append_signature(std::string text, const identity::SigningKey& key,
                             std::string_view name_space);
// The key that signed it; kBadSignature.
Result<crypto::Ed25519Public, DocumentError> check_signature(const SignedText& document,
                                                             std::string_view name_space);
// Lower-case hex SHA-256 of a signed text: the id of what it describes.
std::string text_id(std::string_view text);

}  // namespace sealane::repo
