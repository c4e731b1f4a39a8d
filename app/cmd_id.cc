#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/paths.h"
#include "base/limits.h"
#include "sealane/identity/keys.h"

namespace sealane::app {
namespace {

struct IdFlags {
  std::string file;
  std::string passphrase_file;
};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

void show_ssh(Console& console, const std::string& path, std::string_view kind,
              const identity::PublicKeyLine& line) {
  const std::string text = identity::format_public_key_line(line);
  const std::string mark = identity::fingerprint(line.key);
  const std::string recipient = identity::format_recipient(identity::SshRecipient{line.key});
  console.print("public key   " + printable(text, text.size()) + "\nfingerprint  " + mark +
                "\nrecipient    " + recipient + "\n");
  console.emit("key", {{"kind", kind},
                       {"path", path},
                       {"public_key", text},
                       {"fingerprint", mark},
                       {"recipient", recipient}});
}

void show_age(Console& console, const std::string& path, std::string_view kind,
              const crypto::X25519Public& key) {
  const std::string recipient = identity::AgeRecipient{key}.format();
  console.print("recipient    " + recipient + "\n");
  console.emit("key", {{"kind", kind}, {"path", path}, {"recipient", recipient}});
}

// A private key: read again under the rules for private files. The public half of an encrypted one
// stands in the clear, so nobody is asked for the passphrase.
Result<int, Error> show_private(Context& context, const std::string& path,
                                const std::string& passphrase_file) {
  SEALANE_TRY(const auto text, identity::read_private_file(context.files, path));
  if (passphrase_file.empty() && identity::private_key_is_encrypted(text.expose_text())) {
    const auto key = identity::private_key_public_part(text.expose_text());
    if (key.has_value()) {
      show_ssh(context.console, path, "identity", {.key = key.value(), .comment = {}});
      return 0;
    }
  }
  SEALANE_TRY(const auto keys, load_opening_keys(context, {path}, passphrase_file));
  for (const identity::OpeningKey& key : keys) {
    if (const auto* age = std::get_if<identity::AgeIdentity>(&key)) {
      show_age(context.console, path, "recovery", age->public_key());
    } else {
      const auto& ssh = std::get<identity::SigningKey>(key);
      show_ssh(context.console, path, "identity",
               {.key = ssh.public_key(), .comment = ssh.comment()});
    }
  }
  return 0;
}

Result<int, Error> show_public(Context& context, const std::string& path, std::string_view text) {
  std::string_view line = text;
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.find('\n') == std::string_view::npos) {
    const auto key = identity::parse_public_key_line(line);
    if (key.has_value()) {
      show_ssh(context.console, path, "public", key.value());
      return 0;
    }
  }
  const auto recipients = identity::parse_recipients(text);
  if (!recipients.has_value()) {
    return usage(printable(path) + ": " + identity::describe(recipients.error()));
  }
  for (const identity::Recipient& recipient : recipients.value()) {
    if (const auto* age = std::get_if<identity::AgeRecipient>(&recipient)) {
      show_age(context.console, path, "public", age->key);
    } else {
      show_ssh(context.console, path, "public",
               {.key = std::get<identity::SshRecipient>(recipient).key, .comment = {}});
    }
  }
  return 0;
}

bool looks_private(std::string_view text) {
  return text.find("PRIVATE KEY-----") != std::string_view::npos ||
         text.find("AGE-SECRET-KEY-") != std::string_view::npos ||
         text.find("age-secret-key-") != std::string_view::npos;
}

Result<int, Error> show(Context& context, const IdFlags& flags) {
  const std::string path = flags.file.empty() ? home_path("identity") : flags.file;
  auto content = read_file(context.files, path, limits::kRecipientFileSize);
  if (!content.has_value()) {
    if (flags.file.empty() && content.error().code == ENOENT) {
      return usage("there is no identity at " + printable(path) +
                   "; make one with 'sealane keygen', or name a file");
    }
    return to_error(content.error());
  }
  const std::string_view text = as_text(content.value());
  if (looks_private(text)) {
    cleanse(content.value());
    return show_private(context, path, flags.passphrase_file);
  }
  return show_public(context, path, text);
}

}  // namespace

Command id_command() {
  auto flags = std::make_shared<IdFlags>();
  return {
      .name = "id",
      .summary = "print the public key, fingerprint and recipient of a key file",
      .description =
          "FILE is an identity, a recovery identity, a public key or a file of recipients; this "
          "node's identity when missing. The fingerprint is the one that `ssh-keygen -l` prints. "
          "An encrypted identity needs no passphrase for this; with --passphrase-file its private "
          "half is checked too.",
      .examples = {"sealane id", "sealane id recovery.key"},
      .options =
          {
              {.names = "--passphrase-file",
               .value_name = "FILE",
               .help = "Open an encrypted identity with the first line of this file",
               .variable = &flags->passphrase_file,
               .completes = Completes::kFile},
          },
      .arguments = {{.name = "FILE",
                     .help = "The key file; this node's identity when missing",
                     .variable = &flags->file}},
      .run = [flags](Context& context) { return show(context, *flags); },
  };
}

}  // namespace sealane::app
