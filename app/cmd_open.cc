// sealane open: what seal sealed, or age, or a Backupy agent.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/data_key.h"
#include "app/keys.h"
#include "app/prompt.h"
#include "app/streams.h"
#include "backup/engine.h"
#include "backup/sealed_input.h"
#include "base/limits.h"
#include "seal/age.h"
#include "seal/decrypt_token.h"

namespace sealane::app {
namespace {

struct OpenFlags {
  std::vector<std::string> identities;
  bool passphrase = false;
  std::string passphrase_file;
  std::string key_file;
  std::string token_file;
  std::string format = "auto";
  bool strict = false;
  bool force = false;
  std::string out;  // empty: standard output, where a terminal shows text only
  std::string in = "-";
};

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}

// What a stream of either format needs to be opened.
struct Opening {
  std::unique_ptr<seal::StreamOpener> opener;
  ByteSpan header = {};
  std::string sha256 = {};  // that the sealed bytes should have, lower case; empty if nobody said
};

// A terminal gets text, never bytes that could steer it.
class TerminalSink final : public flow::ByteSink {
 public:
  explicit TerminalSink(flow::ByteSink& terminal) : terminal_(terminal) {}
  Result<void, Error> write(ByteSpan data) override {
    const auto steers = [](std::byte byte) {
      const auto c = std::to_integer<unsigned char>(byte);
      return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F;
    };
    if (std::ranges::any_of(data, steers))
      return usage("what was sealed is not text and does not belong on a terminal; use -o FILE");
    return terminal_.write(data);
  }
  void interrupt() noexcept override { terminal_.interrupt(); }

 private:
  flow::ByteSink& terminal_;
};

Result<Opening, Error> open_age(Context& context, const OpenFlags& flags,
                                backup::SealedInput& sealed, const std::string& name) {
  if (!flags.key_file.empty() || !flags.token_file.empty())
    return usage(printable(name) + " is an age file; it opens with -i or -p, not with a data key");
  const bool passphrase = flags.passphrase || !flags.passphrase_file.empty();
  if (flags.identities.empty() && !passphrase)
    return usage("an age file opens with an identity (-i FILE) or a passphrase (-p)");
  SEALANE_TRY(const ByteSpan header, sealed.age_header());
  SEALANE_TRY(const auto keys, load_opening_keys(context, flags.identities, flags.passphrase_file));
  seal::AgeOpenOptions options;
  options.keys = keys;
  SecretBytes secret;
  if (passphrase) {
    SEALANE_TRY(secret, flags.passphrase_file.empty()
                            ? prompt_passphrase("Passphrase", Ask::kOnce)
                            : read_passphrase_file(context.files, flags.passphrase_file));
    options.passphrase = &secret;
  }
  auto opener = seal::make_age_opener(header, options);
  if (!opener.has_value()) return backup::seal_failure(opener.error(), name);
  return Opening{.opener = std::move(opener).value(), .header = header};
}

Result<Opening, Error> open_chunk_stream(Context& context, const OpenFlags& flags) {
  if (!flags.identities.empty() || flags.passphrase || !flags.passphrase_file.empty())
    return usage("a Backupy chunk stream opens with --key-file or --token-file");
  if (flags.key_file.empty() == flags.token_file.empty())
    return usage("a Backupy chunk stream opens with one of --key-file and --token-file");
  const auto mode =
      flags.strict ? seal::ChunkStreamMode::kStrict : seal::ChunkStreamMode::kCompatible;
  if (!flags.key_file.empty()) {
    SEALANE_TRY(const auto key, load_data_key(context, flags.key_file));
    return Opening{.opener = seal::make_chunk_stream_opener(key, mode)};
  }
  SEALANE_TRY(const SecretBytes token, load_token(context, flags.token_file));
  auto parsed = seal::parse_decrypt_token(token.expose_text(), context.clock.wall_now());
  if (!parsed.has_value()) {
    if (parsed.error().kind == seal::TokenError::Kind::kExpired)
      return Error{ErrorKind::kFailed, "the token in " + printable(flags.token_file) +
                                           " has expired; ask the server for a new one"};
    return usage(printable(flags.token_file) +
                 " is no token of a Backupy server: " + std::string(parsed.error().detail));
  }
  std::string sha256 = parsed.value().sha256;
  std::ranges::transform(sha256, sha256.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return Opening{.opener = seal::make_chunk_stream_opener(parsed.value().key, mode),
                 .sha256 = std::move(sha256)};
}

Result<Opening, Error> make_opening(Context& context, const OpenFlags& flags,
                                    backup::SealedInput& sealed, const std::string& name) {
  SEALANE_TRY(const auto found, sealed.detect());
  if (flags.format == "backupy") return open_chunk_stream(context, flags);
  if (found == backup::SealedFormat::kAge) return open_age(context, flags, sealed, name);
  if (flags.format == "auto" && found == backup::SealedFormat::kChunkStream)
    return open_chunk_stream(context, flags);
  return backup::seal_failure(seal::SealError::kNotThisFormat, name);
}

Result<int, Error> run_open(Context& context, const OpenFlags& flags) {
  Console& console = context.console;
  const bool to_stdout = flags.out.empty() || flags.out == "-";
  console.data_on_stdout = to_stdout;
  if (flags.passphrase && !flags.passphrase_file.empty())
    return usage("-p asks on the terminal, --passphrase-file reads a file; give one of them");
  SEALANE_TRY(Input input, Input::open(context, flags.in));
  backup::SealedInput sealed(input.source(), input.name());
  SEALANE_TRY(const Opening opening, make_opening(context, flags, sealed, input.name()));
  std::vector<std::string> keys = flags.identities;
  keys.insert(keys.end(), {flags.passphrase_file, flags.key_file, flags.token_file});
  SEALANE_TRY(keep_keys(flags.out, keys));
  SEALANE_TRY(Output output,
              Output::create(context, to_stdout ? "-" : flags.out, input,
                             flags.force ? Output::Existing::kReplace : Output::Existing::kRefuse));
  TerminalSink terminal(output.sink());
  const bool text_only = flags.out.empty() && ::isatty(STDOUT_FILENO) == 1;
  const bool chunk_stream = opening.header.empty();
  backup::OpenJob job;
  job.name = input.name();
  job.header = opening.header;
  job.key_unproven = chunk_stream;
  job.hash_sealed = !opening.sha256.empty();
  job.refuse_trailing = flags.strict || !chunk_stream;
  flow::FlowCounters counters;
  Result<backup::OpenReport, Error> opened = [&] {
    const Progress progress(console, "open", [&] {
      return Progress::Sample{.done = counters.sealed_bytes, .total = input.size()};
    });
    return backup::open_stream(*opening.opener, sealed.first(), sealed.source(),
                               text_only ? terminal : output.sink(), job,
                               {.cancel = &context.cancel, .counters = &counters});
  }();
  if (!opened.has_value()) return opened.error();
  const backup::OpenReport& report = opened.value();
  if (job.hash_sealed && to_hex(report.sealed.hash) != opening.sha256)
    return Error{ErrorKind::kVerificationFailed,
                 printable(input.name()) +
                     " is not the object of this token: its SHA-256 is another one" +
                     (output.is_file() ? "" : "; do not use what was written")};
  if (report.trailing_data)
    console.warn(printable(input.name()) + " has data after its end, which was ignored");
  SEALANE_TRY(output.commit());
  if (console.verbose > 0)
    console.note("opened " + format_bytes(report.plain.size) + " from " + printable(input.name()) +
                 "; its sender is unknown: whoever has the recipient's public key, or the "
                 "passphrase, could have sealed it");
  console.emit("opened", {{"in", printable(input.name())},
                          {"out", printable(output.name())},
                          {"format", chunk_stream ? "backupy" : "age"},
                          {"armor", sealed.armored()},
                          {"sealed_bytes", report.sealed.size},
                          {"plain_bytes", report.plain.size},
                          {"trailing_data", report.trailing_data},
                          {"sender", "unknown"}});
  return 0;
}

}  // namespace

Command open_command() {
  const auto flags = std::make_shared<OpenFlags>();
  return {
      .name = "open",
      .summary = "open one sealed file or stream",
      .description =
          "Opens age files, armored or not, and chunk streams of a Backupy server; the content "
          "tells which. OUT appears only when all of it was verified. To standard output verified "
          "parts are written as they come, and only the exit code tells that the end was "
          "reached.\n\n"
          "The sender of a lone file is unknown: whoever has the recipient's public key, or the "
          "passphrase, could have sealed it. Backups in a repository are signed; see 'sealane "
          "restore'.",
      .examples = {"sealane open -i recovery.key -o dump.sql dump.age",
                   "sealane open -i recovery.key shop.age | psql shop"},
      .options =
          {
              {.names = "-i,--identity",
               .value_name = "FILE",
               .help = "Open with the age or OpenSSH private key in FILE; may be repeated",
               .variable = &flags->identities,
               .completes = Completes::kFile},
              {.names = "-p,--passphrase",
               .help = "Ask for the passphrase on the terminal",
               .variable = &flags->passphrase},
              {.names = "--passphrase-file",
               .value_name = "FILE",
               .help = "Read the passphrase, of the file or of an identity, from the first line "
                       "of FILE",
               .variable = &flags->passphrase_file,
               .completes = Completes::kFile},
              {.names = "--key-file",
               .value_name = "FILE",
               .help = "The 32-byte key of a chunk stream: raw, 64 hex digits or base64",
               .variable = &flags->key_file,
               .completes = Completes::kFile},
              {.names = "--token-file",
               .value_name = "FILE",
               .help = "The token of a Backupy server that holds the key",
               .variable = &flags->token_file,
               .completes = Completes::kFile},
              {.names = "--format",
               .value_name = "FORMAT",
               .help = "auto, age or backupy",
               .variable = &flags->format,
               .choices = {"auto", "age", "backupy"}},
              {.names = "--strict",
               .help = "Refuse a chunk stream that is not cut as its writer cuts it, or that is "
                       "followed by other data",
               .variable = &flags->strict},
              {.names = "-f,--force",
               .help = "Replace OUT if it exists",
               .variable = &flags->force},
              {.names = "-o,--output",
               .value_name = "OUT",
               .help = "Write to OUT; - is standard output, even if that is a terminal",
               .variable = &flags->out,
               .completes = Completes::kFile},
          },
      .arguments = {{.name = "IN",
                     .help = "File to open; - is standard input, as without it",
                     .variable = &flags->in}},
      .run = [flags](Context& context) { return run_open(context, *flags); },
  };
}

}  // namespace sealane::app
