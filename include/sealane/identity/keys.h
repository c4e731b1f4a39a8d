#pragma once
// Keys as people and files hold them: OpenSSH Ed25519 keys (PROTOCOL.key of OpenSSH), age X25519
// identities and recipients (C2SP/age), and the recipients one may seal to.
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sealane/base/bytes.h"
#include "sealane/base/result.h"
#include "sealane/base/seams.h"
#include "sealane/base/secret.h"
#include "sealane/crypto/curve.h"

namespace sealane::identity {

inline constexpr std::size_t kMaxCommentSize = 1024;     // of a key
inline constexpr std::uint32_t kBcryptRounds = 24;       // that we write, as ssh-keygen does
inline constexpr std::uint32_t kMaxBcryptRounds = 1024;  // that we are ready to compute
inline constexpr std::size_t kMaxKeysPerFile = 4096;     // of a recipient or identity file

enum class KeyError : std::uint8_t {
  kNotAKey = 1,         // not in any format known here
  kUnsupportedType,     // RSA, ECDSA, sk-…: only Ed25519 and X25519 are taken
  kUnsupportedCipher,   // of an encrypted private key: only aes256-ctr with bcrypt
  kMalformed,           // a known format, damaged
  kPassphraseRequired,  // encrypted and no passphrase given
  kWrongPassphrase,
  kLimits,  // rounds, sizes or counts beyond what is read here
};
std::string_view describe(KeyError error);  // a clause for a sentence: "the passphrase is wrong"

// At most kMaxCommentSize bytes without control characters: what fits in one line of a file.
bool is_valid_comment(std::string_view comment);

// "SHA256:" and 43 base64 digits, as `ssh-keygen -l` prints it.
std::string fingerprint(const crypto::Ed25519Public& key);

struct PublicKeyLine {
  crypto::Ed25519Public key;
  std::string comment;  // may be empty
};
// "ssh-ed25519 AAAA… comment". One line, without its end. Blanks around a comment are no part of
// it. REQUIRES: is_valid_comment(line.comment).
std::string format_public_key_line(const PublicKeyLine& line);
Result<PublicKeyLine, KeyError> parse_public_key_line(std::string_view line);
// The wire form: string "ssh-ed25519", string key (RFC 8709).
Bytes encode_public_key_blob(const crypto::Ed25519Public& key);
Result<crypto::Ed25519Public, KeyError> decode_public_key_blob(ByteSpan blob);

// A node's or a person's signing key.
class SigningKey {
 public:
  // REQUIRES: is_valid_comment(comment).
  SigningKey(crypto::Ed25519Seed seed, std::string comment);
  static SigningKey generate(RandomSource& random, std::string comment);
  const crypto::Ed25519Public& public_key() const { return public_key_; }
  const crypto::Ed25519Seed& seed() const { return seed_; }
  const std::string& comment() const { return comment_; }

 private:
  crypto::Ed25519Seed seed_;
  crypto::Ed25519Public public_key_;
  std::string comment_;
};

// The text of a private key file. With a passphrase: aes256-ctr, bcrypt with `rounds`.
// REQUIRES: a passphrase of 1 .. limits::kPassphraseSize bytes, rounds in 1 .. kMaxBcryptRounds.
SecretBytes format_private_key(const SigningKey& key, RandomSource& random,
                               const SecretBytes* passphrase = nullptr,
                               std::uint32_t rounds = kBcryptRounds);
// "none", "aes256-ctr", …: the cipher that an OpenSSH private key file names, for a sentence about
// it. Untrusted: see printable(). Empty when `text` is no such file.
std::string private_key_cipher(std::string_view text);
bool private_key_is_encrypted(std::string_view text);
// The public key that stands in the clear in a private key file: no passphrase is needed, and
// nothing proves yet that the private half belongs to it.
Result<crypto::Ed25519Public, KeyError> private_key_public_part(std::string_view text);
// White space around the key is allowed, lines may end in CRLF and have any width. A passphrase
// that is not needed is ignored. kLimits above `max_rounds`, so nobody's file can keep us busy for
// long.
Result<SigningKey, KeyError> parse_private_key(std::string_view text,
                                               const SecretBytes* passphrase = nullptr,
                                               std::uint32_t max_rounds = kMaxBcryptRounds);

// age X25519: "AGE-SECRET-KEY-1…" and "age1…" (Bech32, lower or upper case, never mixed).
class AgeIdentity {
 public:
  explicit AgeIdentity(crypto::X25519Private key);
  static AgeIdentity generate(RandomSource& random);
  static Result<AgeIdentity, KeyError> parse(std::string_view text);
  SecretBytes format() const;  // upper case
  const crypto::X25519Private& private_key() const { return private_key_; }
  const crypto::X25519Public& public_key() const { return public_key_; }

 private:
  crypto::X25519Private private_key_;
  crypto::X25519Public public_key_;
};
struct AgeRecipient {
  crypto::X25519Public key{};
  static Result<AgeRecipient, KeyError> parse(std::string_view text);
  std::string format() const;
  friend bool operator==(const AgeRecipient&, const AgeRecipient&) = default;
};
struct SshRecipient {
  crypto::Ed25519Public key;
  friend bool operator==(const SshRecipient&, const SshRecipient&) = default;
};

// Whom a stream is sealed to, and who can open one.
using Recipient = std::variant<AgeRecipient, SshRecipient>;
using OpeningKey = std::variant<AgeIdentity, SigningKey>;

Result<Recipient, KeyError> parse_recipient(std::string_view text);  // age1… or ssh-ed25519 …
std::string format_recipient(const Recipient& recipient);

// A problem in a file of several lines; `line` counts from 1, 0 is the file as a whole (it is too
// large, or holds no key at all).
struct KeyFileError {
  KeyError error = KeyError::kNotAKey;
  std::size_t line = 0;
};
// "line 3: it is damaged", or without the line when that is 0.
std::string describe(const KeyFileError& error);
// One recipient per line, blank lines and lines that start with # skipped. At most kMaxKeysPerFile.
Result<std::vector<Recipient>, KeyFileError> parse_recipients(std::string_view text);
// An identity file: age identities one per line with # comments, or one OpenSSH private key.
Result<std::vector<OpeningKey>, KeyFileError> parse_identities(
    std::string_view text, const SecretBytes* passphrase = nullptr,
    std::uint32_t max_rounds = kMaxBcryptRounds);

// The key files of the secureio library for Go: PEM around raw keys, the private one seed and
// public key, labels "ED25519 PRIVATE KEY" and "ED25519 PUBLIC KEY". Text before the block and PEM
// headers are skipped, lines may end in CRLF; another label is kUnsupportedType, and a private key
// whose halves do not belong together is kMalformed. They have neither comment nor passphrase.
SecretBytes format_pem_private_key(const SigningKey& key);
std::string format_pem_public_key(const crypto::Ed25519Public& key);
Result<SigningKey, KeyError> parse_pem_private_key(std::string_view text);
Result<crypto::Ed25519Public, KeyError> parse_pem_public_key(std::string_view text);
// A peer's key as it comes in a file: one OpenSSH public line, or the PEM form.
Result<crypto::Ed25519Public, KeyError> parse_peer_key(std::string_view text);

inline constexpr std::string_view kPemPrivateName = "id_ed25519";
inline constexpr std::string_view kPemPublicName = "id_ed25519.pub";
// The identity in such a directory, which the Go library would use too. Made on first use: the
// directory (0700), the private file (0600, exclusively), the public one. A missing public file is
// written again. An OpenSSH private key of that name is read (unless it is encrypted) and nothing
// is written beside it. Refuses a public file that belongs to another key. kFailed, kUsage.
Result<SigningKey, Error> open_pem_identity(FileSystem& files, RandomSource& random,
                                            const std::string& directory);

// Reads a file that holds a private key: refuses one that others can read or write (mode & 077),
// one of an owner who is neither this process's user nor root, and anything but a regular file.
Result<SecretBytes, Error> read_private_file(FileSystem& files, const std::string& path);
// Any other secret that a user names by its file: a passphrase, a token, a key that machines share.
struct SecretFile {
  std::string_view what;  // for the refusal: "passphrase file"
  std::size_t max_size = 0;
  // Set: what would be refused for its owner or mode is taken, and the sentence added here. For the
  // files of another program, whose users may have to be able to read them.
  std::vector<std::string>* warnings = nullptr;
};
// The whole file, under the rules of read_private_file(); but what is no regular file (a pipe, a
// terminal) keeps nothing that others could read, and is taken too. Waits for a pipe's writer.
Result<SecretBytes, Error> read_secret_file(FileSystem& files, const std::string& path,
                                            const SecretFile& secret);
// Creates it with mode 0600, exclusively, synced with its directory. Refuses to overwrite.
Result<void, Error> write_private_file(FileSystem& files, const std::string& path,
                                       const SecretBytes& content);

// ---- SSHSIG: armoured signatures over a namespace and a message (PROTOCOL.sshsig of OpenSSH),
// made and checked by `ssh-keygen -Y sign|verify` as well. Ed25519, SHA-512 (SHA-256 accepted) ----

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
