#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/keys.h"
#include "app/paths.h"
#include "app/prompt.h"
#include "base/copy_bytes.h"
#include "sealane/identity/keys.h"

namespace sealane::app {
namespace {

struct KeygenFlags {
  bool recovery = false;
  bool ask_passphrase = false;
  std::string output;
  std::string passphrase_file;
  std::string comment;
};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

bool exists(FileSystem& files, const std::string& path) {
  const auto status = files.status(path);
  return status.has_value() || status.error().code != ENOENT;
}

Error exists_already(const std::string& path) {
  return usage(printable(path) +
               " exists already and is not overwritten; choose another place with -o, or move it "
               "away first");
}

Result<int, Error> make_identity(Context& context, const KeygenFlags& flags) {
  const std::string path = flags.output.empty() ? home_path("identity") : flags.output;
  if (exists(context.files, path)) return exists_already(path);
  SecretBytes passphrase;
  if (!flags.passphrase_file.empty()) {
    SEALANE_TRY(passphrase, read_passphrase_file(context.files, flags.passphrase_file));
  } else if (flags.ask_passphrase) {
    SEALANE_TRY(passphrase, prompt_passphrase("Passphrase for the new key", Ask::kTwice));
  }
  const auto key = identity::SigningKey::generate(
      context.random, flags.comment.empty() ? host_name() : flags.comment);
  const std::string line =
      identity::format_public_key_line({.key = key.public_key(), .comment = key.comment()});
  SEALANE_TRY(write_identity(context, path, key, passphrase.empty() ? nullptr : &passphrase));

  const std::string mark = identity::fingerprint(key.public_key());
  context.console.print("identity     " + printable(path) + "\npublic key   " +
                        printable(line, line.size()) + "\nfingerprint  " + mark + "\n");
  context.console.emit("key_created", {{"kind", "identity"},
                                       {"path", path},
                                       {"public_key", line},
                                       {"fingerprint", mark},
                                       {"encrypted", !passphrase.empty()}});
  return 0;
}

// As age-keygen writes it, so that every age tool reads it.
SecretBytes recovery_text(const identity::AgeIdentity& key, const std::string& recipient,
                          const std::string& comment, WallTime now) {
  std::string header = "# created: " + to_rfc3339(now) + "\n# public key: " + recipient + "\n";
  if (!comment.empty()) header += "# " + comment + "\n";
  header +=
      "# A recovery identity: whoever has it can read every backup sealed to it. Keep it offline,\n"
      "# away from the hosts that are backed up, and keep a second one elsewhere.\n";
  const SecretBytes secret = key.format();
  SecretBytes text(header.size() + secret.size() + 1);
  copy_bytes(as_bytes(header), text.fill().begin());
  copy_bytes(secret.expose(), text.fill().subspan(header.size()).begin());
  text.fill().back() = std::byte{'\n'};
  return text;
}

Result<int, Error> make_recovery_identity(Context& context, const KeygenFlags& flags) {
  if (!flags.passphrase_file.empty() || flags.ask_passphrase) {
    return usage(
        "a recovery identity has no passphrase of its own; seal its file with 'sealane seal -p' "
        "where it needs one");
  }
  if (flags.output.empty() && context.console.json) {
    return usage("--recovery with --json needs -o FILE: no message ever holds a secret");
  }
  const auto key = identity::AgeIdentity::generate(context.random);
  const std::string recipient = identity::AgeRecipient{key.public_key()}.format();
  const SecretBytes text = recovery_text(key, recipient, flags.comment, context.clock.wall_now());
  if (flags.output.empty()) {
    context.console.print(text.expose_text());
    context.console.note("recipient  " + recipient);
  } else {
    if (exists(context.files, flags.output)) return exists_already(flags.output);
    SEALANE_TRY(identity::write_private_file(context.files, flags.output, text));
    context.console.print("recovery identity  " + printable(flags.output) +
                          "\nrecipient          " + recipient + "\n");
  }
  context.console.note(
      "Keep this key offline, away from the hosts that are backed up: it opens every backup "
      "sealed to it,\nand without it none of them opens. Hosts need only the recipient (-r).");
  context.console.emit("key_created",
                       {{"kind", "recovery"}, {"path", flags.output}, {"recipient", recipient}});
  return 0;
}

}  // namespace

Command keygen_command() {
  auto flags = std::make_shared<KeygenFlags>();
  return {
      .name = "keygen",
      .summary = "make a node's identity, or a recovery identity that opens backups",
      .description =
          "A node's identity is an Ed25519 key in an OpenSSH file, with the public key in FILE.pub "
          "beside it. It signs and never opens a backup. Its place is $SEALANE_HOME/identity, else "
          "$XDG_CONFIG_HOME/sealane/identity, else ~/.config/sealane/identity.\n\n"
          "A recovery identity is an age X25519 key. Backups are sealed to its recipient, which "
          "hosts may know; the identity itself belongs offline. Without -o it goes to stdout.",
      .examples = {"sealane keygen", "sealane keygen --recovery -o /media/usb/recovery.key"},
      .options =
          {
              {.names = "--recovery",
               .value_name = "",
               .help = "Make a recovery identity, to be kept away from the hosts",
               .variable = &flags->recovery},
              {.names = "-o,--output",
               .value_name = "FILE",
               .help = "Write the private key to this new file",
               .variable = &flags->output,
               .completes = Completes::kFile},
              {.names = "-p,--passphrase",
               .value_name = "",
               .help = "Encrypt the identity with a passphrase asked on the terminal",
               .variable = &flags->ask_passphrase},
              {.names = "--passphrase-file",
               .value_name = "FILE",
               .help = "Encrypt the identity with the first line of this file",
               .variable = &flags->passphrase_file,
               .completes = Completes::kFile},
              {.names = "--comment",
               .value_name = "TEXT",
               .help = "Say whose key it is; the host name when missing",
               .variable = &flags->comment},
          },
      .arguments = {},
      .run = [flags](Context& context) -> Result<int, Error> {
        if (!identity::is_valid_comment(flags->comment)) {
          return usage("the comment is longer than " + std::to_string(identity::kMaxCommentSize) +
                       " bytes or holds control characters");
        }
        return flags->recovery ? make_recovery_identity(context, *flags)
                               : make_identity(context, *flags);
      },
  };
}

}  // namespace sealane::app
