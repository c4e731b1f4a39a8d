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
