#include "app/keys.h"

#include <cerrno>

#include "app/paths.h"
#include "app/prompt.h"
#include "base/limits.h"

namespace sealane::app {
namespace {

using identity::KeyError;

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

ErrorKind kind_of(KeyError error) {
  return error == KeyError::kWrongPassphrase ? ErrorKind::kWrongKey : ErrorKind::kUsage;
}

Error key_error(const std::string& path, KeyError error) {
  return {.kind = kind_of(error),
          .message = printable(path) + ": " + std::string(identity::describe(error))};
}
// `text`: of the file, for the name of a cipher that is not read.
Error key_error(const std::string& path, const identity::KeyFileError& error,
                std::string_view text = {}) {
  std::string message = printable(path) + ": " + identity::describe(error);
  if (error.error == KeyError::kUnsupportedCipher) {
    message += " (it has " + printable(identity::private_key_cipher(text)) + ")";
  }
  return {.kind = kind_of(error.error), .message = std::move(message)};
}

Result<SecretBytes, Error> passphrase_for(Context& context, const std::string& path,
                                          const std::string& passphrase_file) {
  if (!passphrase_file.empty()) return read_passphrase_file(context.files, passphrase_file);
  return prompt_passphrase("Passphrase of " + printable(path), Ask::kOnce);
}

Result<std::string, Error> read_text(Context& context, const std::string& path, std::size_t limit) {
  const auto content = read_file(context.files, path, limit);
  if (!content.has_value()) return to_error(content.error());
  return to_text(content.value());
}

bool exists(Context& context, const std::string& path) {
  const auto status = context.files.status(path);
  return status.has_value() || status.error().code != ENOENT;
}

// `text`: a public key line, or the path of a .pub file.
Result<identity::PublicKeyLine, Error> load_public_key(Context& context, const std::string& text) {
  std::string line = text;
  if (!line.starts_with("ssh-ed25519 ")) {
    SEALANE_TRY(const auto content, read_text(context, text, limits::kKeyFileSize));
    line = content.substr(0, content.find_first_of("\r\n"));
  }
  auto key = identity::parse_public_key_line(line);
  if (!key.has_value()) return key_error("public key " + text, key.error());
  return std::move(key).value();
}

void add_key(identity::TrustStore& store, std::string name, const identity::PublicKeyLine& line,
             std::vector<identity::Right> rights) {
  store.add({.names = {std::move(name)},
             .key = line.key,
             .rights = std::move(rights),
             .namespaces = {},
             .valid_after = {},
             .valid_before = {},
             .comment = line.comment});
}

}  // namespace

Result<identity::SigningKey, Error> load_signing_key(Context& context, const std::string& path,
                                                     const std::string& passphrase_file) {
  if (!exists(context, path)) {
    return usage("there is no identity at " + printable(path) +
                 "; make one with 'sealane keygen', or name another with --identity");
  }
  SEALANE_TRY(const auto text, identity::read_private_file(context.files, path));
  auto key = identity::parse_private_key(text.expose_text());
  if (!key.has_value() && key.error() == KeyError::kPassphraseRequired) {
    SEALANE_TRY(const auto passphrase, passphrase_for(context, path, passphrase_file));
    key = identity::parse_private_key(text.expose_text(), &passphrase);
  }
  if (!key.has_value()) return key_error(path, {key.error(), 0}, text.expose_text());
  return std::move(key).value();
}

Result<std::vector<identity::OpeningKey>, Error> load_opening_keys(
    Context& context, const std::vector<std::string>& files, const std::string& passphrase_file) {
  std::vector<identity::OpeningKey> keys;
  for (const std::string& path : files) {
    SEALANE_TRY(const auto text, identity::read_private_file(context.files, path));
    auto found = identity::parse_identities(text.expose_text());
    if (!found.has_value() && found.error().error == KeyError::kPassphraseRequired) {
      SEALANE_TRY(const auto passphrase, passphrase_for(context, path, passphrase_file));
      found = identity::parse_identities(text.expose_text(), &passphrase);
    }
    if (!found.has_value()) return key_error(path, found.error(), text.expose_text());
    for (identity::OpeningKey& key : found.value()) keys.push_back(std::move(key));
  }
  return keys;
}

Result<std::vector<identity::Recipient>, Error> load_recipients(
    Context& context, const std::vector<std::string>& recipients,
    const std::vector<std::string>& recipient_files) {
  std::vector<identity::Recipient> all;
  for (const std::string& text : recipients) {
    const auto recipient = identity::parse_recipient(text);
    if (!recipient.has_value()) return key_error("recipient " + text, recipient.error());
    all.push_back(recipient.value());
  }
  for (const std::string& path : recipient_files) {
    SEALANE_TRY(const auto text, read_text(context, path, limits::kRecipientFileSize));
    const auto found = identity::parse_recipients(text);
    if (!found.has_value()) return key_error(path, found.error());
    all.insert(all.end(), found.value().begin(), found.value().end());
  }
  if (all.empty()) {
    return usage(
        "no recipient: name one with -r age1… or a file of them with -R FILE "
        "(make one with 'sealane keygen --recovery')");
  }
  return all;
}

Result<identity::TrustStore, Error> load_trust(Context& context, const std::string& file,
                                               const std::vector<std::string>& host_keys,
                                               const std::string& identity_path) {
  identity::TrustStore store;
  const std::string path = file.empty() ? home_path("trusted_keys") : file;
  if (!file.empty() || exists(context, path)) {
    SEALANE_TRY(const auto text, read_text(context, path, limits::kRecipientFileSize));
    auto parsed = identity::TrustStore::parse(text);
    if (!parsed.has_value()) {
      return usage(printable(path) + ", line " + std::to_string(parsed.error().line) + ": " +
                   parsed.error().reason);
    }
    store = std::move(parsed).value();
  }
  for (const std::string& text : host_keys) {
    SEALANE_TRY(const auto line, load_public_key(context, text));
    // What the file says of a key is not widened by naming it again.
    if (store.find(line.key) == nullptr) add_key(store, "host-key", line, {});
  }
  if (const std::string own = identity_path + ".pub"; exists(context, own)) {
    SEALANE_TRY(const auto line, load_public_key(context, own));
    // Who keeps a repository may forget in it, unless the file says what this key may do.
    if (store.find(line.key) == nullptr) {
      add_key(store, "self", line, {{.name = "repo:forget", .scopes = {"*"}}});
    }
  }
  return store;
}

}  // namespace sealane::app
