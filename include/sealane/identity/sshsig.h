#pragma once
// SSHSIG: armoured signatures over a namespace and a message (PROTOCOL.sshsig of OpenSSH), made and
// checked by `ssh-keygen -Y sign|verify` as well. Ed25519, SHA-512 (SHA-256 accepted).
#include <string>

#include "sealane/identity/keys.h"

namespace sealane::identity {

enum class SignatureError : std::uint8_t {
  kMalformed = 1,  // not an armoured SSHSIG of a kind we take
  kNamespace,      // made for another purpose
  kNotValid,       // the message or the signature was changed
};
std::string_view describe(SignatureError error);

// Ends with a line feed. REQUIRES: `name_space` is not empty.
std::string sign(const SigningKey& key, std::string_view name_space, ByteSpan message);
// Who signed it. Whether to believe that key is the caller's decision (TrustStore).
Result<crypto::Ed25519Public, SignatureError> verify(std::string_view armoured,
                                                     std::string_view name_space, ByteSpan message);

}  // namespace sealane::identity
