#pragma once
// SSHSIG: armoured signatures over a namespace and a message (PROTOCOL.sshsig of OpenSSH), made and
// checked by `ssh-keygen -Y sign|verify` as well. Ed25519, SHA-512 (SHA-256 accepted).
#include <string>

#include "sealane/identity/keys.h"

namespace sealane::identity {

inline constexpr std::size_t kMaxSignatureSize = 4096;  // of the armoured text that is read

enum class SignatureError : std::uint8_t {
  kMalformed = 1,  // not an armoured SSHSIG of a kind we take
  kNamespace,      // made for another purpose
  kNotValid,       // the message or the signature was changed
};
std::string_view describe(SignatureError error);  // a clause for a sentence

// Ends with a line feed. REQUIRES: `name_space` has 1 .. 256 bytes.
std::string sign(const SigningKey& key, std::string_view name_space, ByteSpan message);
// Who signed it. Whether to believe that key is the caller's decision (TrustStore). `armoured` goes
// from the BEGIN line to the line feed after the END line, with nothing around.
Result<crypto::Ed25519Public, SignatureError> verify(std::string_view armoured,
                                                     std::string_view name_space, ByteSpan message);

}  // namespace sealane::identity
