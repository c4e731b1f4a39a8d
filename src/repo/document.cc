#include "repo/document.h"

#include "base/check.h"
#include "crypto/hash.h"

namespace sealane::repo {

std::string describe(const DocumentError& error) {
  const std::string field = "\"" + error.field + "\"";
  switch (error.fault) {
    case DocumentFault::kTooLarge:
      return "it is too large";
    case DocumentFault::kNotJson:
      return "it is not JSON as a repository holds it";
    case DocumentFault::kNumber:
      return "its field " + field + " is not a whole number in range";
    case DocumentFault::kNewerFormat:
      return "it was made by a newer Sealane";
    case DocumentFault::kDuplicateField:
      return "it has the field " + field + " twice";
    case DocumentFault::kUnknownField:
      return "it has the unknown field " + field;
    case DocumentFault::kMissingField:
      return "it lacks the field " + field;
    case DocumentFault::kBadValue:
      return "its field " + field + " has a value that cannot be";
    case DocumentFault::kNotCanonical:
      return "it is not in the one form that a writer gives it";
    case DocumentFault::kNoSignature:
      return "it has no signature";
    case DocumentFault::kBadSignature:
      return "its signature is not valid";
    case DocumentFault::kWrongSigner:
      return "it is signed by another key than it names";
  }
  return "it cannot be read";
}

Result<SignedText, DocumentError> split_signed(std::string_view document) {
  // JSON as we write it has no line that starts so: the first one is the only one.
  const std::string start = "\n" + std::string(kSignatureLine);
  const std::size_t at = document.find(start);
  if (at == std::string_view::npos) return DocumentError{DocumentFault::kNoSignature, {}};
  return SignedText{.text = document.substr(0, at + 1), .signature = document.substr(at + 1)};
}

std::string append_signature(std::string text, const identity::SigningKey& key,
                             std::string_view name_space) {
  SEALANE_CHECK(text.ends_with('\n'));
  const std::string signature = identity::sign(key, name_space, as_bytes(text));
  text += signature;
  return text;
}

Result<crypto::Ed25519Public, DocumentError> check_signature(const SignedText& document,
                                                             std::string_view name_space) {
  const auto key = identity::verify(document.signature, name_space, as_bytes(document.text));
  if (!key.has_value()) return DocumentError{DocumentFault::kBadSignature, {}};
  return key.value();
}

std::string text_id(std::string_view text) { return to_hex(crypto::sha256(as_bytes(text))); }

}  // namespace sealane::repo
