// sealane seal: one file or stream, to recipients, under a passphrase or under a Backupy data key.
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/data_key.h"
#include "app/keys.h"
#include "app/prompt.h"
#include "app/streams.h"
#include "backup/armor_stream.h"
#include "backup/engine.h"
#include "seal/age.h"

namespace sealane::app {
namespace {

struct SealFlags {
  std::vector<std::string> recipients;
  std::vector<std::string> recipient_files;
  bool passphrase = false;
  std::string passphrase_file;
  std::string format = "age";
  std::string key_file;
  bool armor = false;
  bool force = false;
  std::string out = "-";
  std::string in = "-";
};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

Result<std::unique_ptr<seal::StreamSealer>, Error> make_sealer(Context& context,
                                                               const SealFlags& flags) {
  const bool passphrase = flags.passphrase || !flags.passphrase_file.empty();
  const bool recipients = !flags.recipients.empty() || !flags.recipient_files.empty();
  if (flags.format == "backupy") {
    if (passphrase || recipients || flags.armor)
      return usage("the Backupy format takes a key, by --key-file, and nothing else");
    if (flags.key_file.empty()) return usage("the Backupy format needs its key: --key-file");
    SEALANE_TRY(const auto key, load_data_key(context, flags.key_file));
    return seal::make_chunk_stream_sealer(key, context.random);
  }
  if (!flags.key_file.empty())
    return usage("a key file belongs to --format backupy; the age format takes -r, -R or -p");
  if (passphrase && recipients) return usage("seal to recipients or under a passphrase, not both");
  std::vector<identity::Recipient> all;
  SecretBytes secret;
  seal::AgeSealOptions options;
  if (passphrase) {
    SEALANE_TRY(secret, flags.passphrase_file.empty()
                            ? prompt_passphrase("Passphrase", Ask::kTwice)
                            : read_passphrase_file(context.files, flags.passphrase_file));
    options.passphrase = &secret;
  } else {
    SEALANE_TRY(all, load_recipients(context, flags.recipients, flags.recipient_files));
    options.recipients = all;
  }
  auto sealer = seal::make_age_sealer(options, context.random);
  if (!sealer.has_value())
    return usage("cannot seal: " + std::string(seal::describe(sealer.error())));
  return std::move(sealer).value();
}

Result<int, Error> run_seal(Context& context, const SealFlags& flags) {
  Console& console = context.console;
  console.data_on_stdout = flags.out == "-";
  if (flags.out == "-" && !flags.armor && ::isatty(STDOUT_FILENO) == 1)
    return usage("sealed bytes do not belong on a terminal; use -o FILE, --armor or a pipe");
  if (flags.passphrase && !flags.passphrase_file.empty())
    return usage("-p asks on the terminal, --passphrase-file reads a file; give one of them");
  SEALANE_TRY(Input input, Input::open(context, flags.in));
  SEALANE_TRY(const auto sealer, make_sealer(context, flags));
  std::vector<std::string> keys = flags.recipient_files;
  keys.insert(keys.end(), {flags.passphrase_file, flags.key_file});
  SEALANE_TRY(keep_keys(flags.out, keys));
  SEALANE_TRY(Output output,
              Output::create(context, flags.out, input,
                             flags.force ? Output::Existing::kReplace : Output::Existing::kRefuse));
  backup::ArmorSink armor(output.sink());
  flow::FlowCounters counters;
  Result<backup::SealReport, Error> sealed = [&] {
    const Progress progress(console, "seal", [&] {
      return Progress::Sample{.done = counters.plain_bytes, .total = input.size()};
    });
    return backup::seal_stream(*sealer, input.source(), flags.armor ? armor : output.sink(), {},
                               {.cancel = &context.cancel, .counters = &counters});
  }();
  if (!sealed.has_value()) return sealed.error();
  if (flags.armor) {
    SEALANE_TRY(armor.finish());
  }
  SEALANE_TRY(output.commit());
  const backup::SealReport& report = sealed.value();
  if (console.verbose > 0)
    console.note("sealed " + format_bytes(report.plain.size) + " to " + printable(output.name()));
  console.emit("sealed", {{"in", printable(input.name())},
                          {"out", printable(output.name())},
                          {"format", flags.format},
                          {"armor", flags.armor},
                          {"plain_bytes", report.plain.size},
                          {"sealed_bytes", report.sealed.size}});
  return 0;
}

}  // namespace

Command seal_command() {
  const auto flags = std::make_shared<SealFlags>();
  return {
      .name = "seal",
      .summary = "seal one file or stream",
      .description =
          "Seals to recipients (age1… or ssh-ed25519 keys), or under a passphrase, in the age "
          "format that the age tool opens too. A file appears under its name only when it is "
          "whole; until then a temporary lies beside it. With --format backupy the stream is one "
          "for a Backupy server, which does not protect the order of its parts.",
      .examples = {"sealane seal -R recipients.txt -o dump.age dump.sql",
                   "pg_dump shop | sealane seal -r age1… > shop.age"},
      .options =
          {
              {.names = "-r,--recipient",
               .value_name = "RECIPIENT",
               .help = "Seal to this age1… or ssh-ed25519 key; may be repeated",
               .variable = &flags->recipients},
              {.names = "-R,--recipients-file",
               .value_name = "FILE",
               .help = "Seal to the recipients in FILE, one per line; may be repeated",
               .variable = &flags->recipient_files,
               .completes = Completes::kFile},
              {.names = "-p,--passphrase",
               .help = "Ask for a passphrase on the terminal and seal under it",
               .variable = &flags->passphrase},
              {.names = "--passphrase-file",
               .value_name = "FILE",
               .help = "Seal under the passphrase in the first line of FILE",
               .variable = &flags->passphrase_file,
               .completes = Completes::kFile},
              {.names = "--format",
               .value_name = "FORMAT",
               .help = "age, or backupy for a chunk stream of a Backupy server",
               .variable = &flags->format,
               .choices = {"age", "backupy"}},
              {.names = "--key-file",
               .value_name = "FILE",
               .help = "The 32-byte key of --format backupy: raw, 64 hex digits or base64",
               .variable = &flags->key_file,
               .completes = Completes::kFile},
              {.names = "-a,--armor",
               .help = "Write the age file as text",
               .variable = &flags->armor},
              {.names = "-f,--force",
               .help = "Replace OUT if it exists",
               .variable = &flags->force},
              {.names = "-o,--output",
               .value_name = "OUT",
               .help = "Write to OUT; - is standard output, as without this flag",
               .variable = &flags->out,
               .completes = Completes::kFile},
          },
      .arguments = {{.name = "IN",
                     .help = "File to seal; - is standard input, as without it",
                     .variable = &flags->in}},
      .run = [flags](Context& context) { return run_seal(context, *flags); },
  };
}

}  // namespace sealane::app
