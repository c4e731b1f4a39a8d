#pragma once
// Keys as commands take them: files and arguments in, keys or one clear sentence out.
#include <string>
#include <vector>

#include "app/command.h"
#include "sealane/identity/keys.h"
#include "sealane/identity/trust.h"

namespace sealane::app {

// The private signing key in `path`. An encrypted one asks on the terminal, or reads the first line
// of `passphrase_file` when that is not empty.
Result<identity::SigningKey, Error> load_signing_key(Context& context, const std::string& path,
                                                     const std::string& passphrase_file);

// A new identity: `path` (0600) and `path`.pub, both or none; folders that are missing in the
// node's home are made. Never replaces a file.
Result<void, Error> write_identity(Context& context, const std::string& path,
                                   const identity::SigningKey& key, const SecretBytes* passphrase);
std::string host_name();  // fit to be a key's comment, or empty

// One public key: an OpenSSH line, or a file that holds one or the Go library's PEM form.
Result<crypto::Ed25519Public, Error> load_peer_key(Context& context, const std::string& text);

// Identity files of "-i": age identities or OpenSSH private keys.
Result<std::vector<identity::OpeningKey>, Error> load_opening_keys(
    Context& context, const std::vector<std::string>& files, const std::string& passphrase_file);

// "-r" and "-R". At least one in the end, or kUsage.
Result<std::vector<identity::Recipient>, Error> load_recipients(
    Context& context, const std::vector<std::string>& recipients,
    const std::vector<std::string>& recipient_files);

// Pinned keys: the file (the default one may be missing), the keys of "--host-key" (a .pub file or
// a public key line), and this node's own key, if `identity_path`.pub is there.
Result<identity::TrustStore, Error> load_trust(Context& context, const std::string& file,
                                               const std::vector<std::string>& host_keys,
                                               const std::string& identity_path);

}  // namespace sealane::app
