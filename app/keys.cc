#include "app/keys.h"

#include <unistd.h>

#include <array>
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

// With all missing parents, for the owner only.
Result<void, Error> make_directories(FileSystem& files, const std::string& path) {
  const auto status = files.status(path);
  if (status.has_value() || status.error().code != ENOENT) return success();
  if (const std::string parent = parent_path(path); parent != path) {
    SEALANE_TRY(make_directories(files, parent));
  }
  const auto made = files.create_directory(path);
  // Somebody else may have been quicker.
  if (!made.has_value() && made.error().code != EEXIST) return to_error(made.error());
  return success();
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

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return {};
  const std::string text = name.data();
  return identity::is_valid_comment(text) ? text : std::string();
}

Result<void, Error> write_identity(Context& context, const std::string& path,
                                   const identity::SigningKey& key, const SecretBytes* passphrase) {
  FileSystem& files = context.files;
  const std::string public_path = path + ".pub";
  for (const std::string& name : {path, public_path}) {
    if (exists(context, name)) {
      return usage(printable(name) +
                   " exists already and is not overwritten; choose another place with -o, or move "
                   "it away first");
    }
  }
  if (parent_path(path) == home_directory()) {
    SEALANE_TRY(make_directories(files, home_directory()));
  }
  const std::string line =
      identity::format_public_key_line({.key = key.public_key(), .comment = key.comment()});
  const SecretBytes text = identity::format_private_key(key, context.random, passphrase);
  SEALANE_TRY(identity::write_private_file(files, path, text));
  const auto written = write_new_file(files, public_path, as_bytes(line + "\n"), 0644);
  if (written.has_value()) return success();
  static_cast<void>(files.remove(path));
  return to_error(written.error());
}

Result<crypto::Ed25519Public, Error> load_peer_key(Context& context, const std::string& text) {
  std::string content = text;
  if (!text.starts_with("ssh-ed25519 ")) {
    SEALANE_TRY(content, read_text(context, text, limits::kKeyFileSize));
  }
  const auto key = identity::parse_peer_key(content);
  if (!key.has_value()) return key_error("public key " + text, key.error());
  return key.value();
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
