// sealane decrypt: stands in for the Backupy tool of that name, with its flags, exit codes and
// words. docs/protocol/decrypt-token.md, section 3.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/data_key.h"
#include "app/decrypt_flags.h"
#include "app/streams.h"
#include "backup/engine.h"
#include "base/limits.h"
#include "seal/decrypt_token.h"

namespace sealane::app {
namespace {

constexpr std::uint64_t kMebibyte = 1024 * 1024;
constexpr const char* kKeyVariable = "BACKUPY_DEK";

Error usage(std::string message) {
  return {.kind = ErrorKind::kUsage, .message = std::move(message)};
}
Error failed(std::string message) {
  return {.kind = ErrorKind::kFailed, .message = std::move(message)};
}

// "12.00 MiB"; whole bytes below 1 KiB.
std::string amount(std::uint64_t bytes) {
  constexpr std::array<const char*, 3> kUnits = {"KiB", "MiB", "GiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  char text[64];
  std::snprintf(text, sizeof text, "%.2f %s", value, kUnits[unit]);
  return text;
}

// Tells how much of the object was read, each time another MiB was.
class ReportingSource final : public flow::ByteSource {
 public:
  ReportingSource(flow::ByteSource& source, bool report) : source_(source), report_(report) {}
  Result<std::size_t, Error> read(MutableByteSpan out) override {
    SEALANE_TRY(const std::size_t size, source_.read(out));
    const std::uint64_t before = read_;
    read_ += size;
    if (report_ && read_ / kMebibyte != before / kMebibyte) {
      std::fprintf(stderr, "\rprocessed %s", amount(read_).c_str());
      shown_ = true;
    }
    return size;
  }
  void interrupt() noexcept override { source_.interrupt(); }
  // Ends the progress line. REQUIRES: nobody reads any more.
  void end_line() {
    if (std::exchange(shown_, false)) std::fputc('\n', stderr);
  }

 private:
  flow::ByteSource& source_;
  bool report_;
  bool shown_ = false;
  std::uint64_t read_ = 0;
};

// The key, and the SHA-256 that the object should have; empty if nobody said.
struct KeyAndHash {
  seal::DataKey key;
  std::string sha256;
};

Result<SecretBytes, Error> read_token(Context& context, const DecryptFlags& flags) {
  if (flags.token_file.empty()) return SecretBytes(flags.token);
  if (flags.token_file != "-") return load_token(context, flags.token_file);
  SecretBytes content(limits::kTokenFileSize + 1);
  std::size_t size = 0;
  SEALANE_TRY(Input input, Input::open(context, flags.token_file));
  while (size < content.size()) {
    SEALANE_TRY(const std::size_t got, input.source().read(content.fill().subspan(size)));
    if (got == 0) break;
    size += got;
  }
  if (size > limits::kTokenFileSize) {
    return failed("invalid token: " + printable(input.name()) + " is too large for a token");
  }
  while (size > 0 && std::string_view(" \t\r\n").find(content.expose_text()[size - 1]) !=
                         std::string_view::npos) {
    --size;
  }
  content.truncate(size);
  return content;
}

Error token_failure(const seal::TokenError& error) {
  using Kind = seal::TokenError::Kind;
  switch (error.kind) {
    case Kind::kExpired:
      return failed("token expired; ask for a new one, or use --allow-expired");
    case Kind::kUnsupportedAlgorithm:
      return failed("unsupported algorithm: " + std::string(error.detail));
    case Kind::kUnsupportedFormat:
      return failed("unsupported format version: " + std::string(error.detail));
    case Kind::kInvalid:
      break;
  }
  return failed("invalid token: " + std::string(error.detail));
}

Result<KeyAndHash, Error> find_key(Context& context, const DecryptFlags& flags) {
  if (!flags.token.empty() || !flags.token_file.empty()) {
    SEALANE_TRY(const SecretBytes text, read_token(context, flags));
    const auto expiry =
        flags.allow_expired ? seal::TokenExpiry::kAllow : seal::TokenExpiry::kRefuse;
    auto token = seal::parse_decrypt_token(text.expose_text(), context.clock.wall_now(), expiry);
    if (!token.has_value()) return token_failure(token.error());
    if (token.value().expired) context.console.warn("the token has expired");
    return KeyAndHash{std::move(token.value().key), std::move(token.value().sha256)};
  }
  if (!flags.key_file.empty()) {
    SEALANE_TRY(auto key, load_data_key(context, flags.key_file));
    return KeyAndHash{std::move(key), {}};
  }
  const char* variable = std::getenv(kKeyVariable);
  const auto [text, what] = !flags.key_hex.empty() ? std::pair(flags.key_hex, "--key-hex")
                            : !flags.key_base64.empty()
                                ? std::pair(flags.key_base64, "--key-base64")
                                : std::pair(std::string(variable), kKeyVariable);
  SEALANE_TRY(auto key, parse_data_key(text, what));
  return KeyAndHash{std::move(key), {}};
}

// What the flags alone can say.
Result<void, Error> check_flags(const DecryptFlags& flags) {
  const bool token = !flags.token.empty() || !flags.token_file.empty();
  const int keys = int{token} + int{!flags.key_hex.empty()} + int{!flags.key_base64.empty()} +
                   int{!flags.key_file.empty()};
  const char* variable = std::getenv(kKeyVariable);
  if (keys == 0 && (variable == nullptr || *variable == '\0')) {
    return usage("--token or --token-file is required (or a key: --key-file, BACKUPY_DEK, …)");
  }
  if (keys > 1) return usage("give one key: a token, --key-hex, --key-base64 or --key-file");
  if (flags.in.empty()) return usage("--in is required");
  if (flags.out.empty()) return usage("--out is required");
  if (flags.in == "-" && flags.token_file == "-") {
    return usage("--in and --token-file cannot both be standard input");
  }
  if (!flags.sha256.empty() && (flags.sha256.size() != 64 || !from_hex(flags.sha256))) {
    return usage("--sha256 must be 64 hex digits");
  }
  return success();
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

Result<void, Error> decrypt(Context& context, const DecryptFlags& flags) {
  Console& console = context.console;
  SEALANE_TRY(const KeyAndHash found, find_key(context, flags));
  const std::string expected = flags.sha256.empty() ? found.sha256 : lower(flags.sha256);
  const bool compare = flags.verify_sha256 && !expected.empty();
  if (flags.verify_sha256 && !compare) {
    console.warn(
        "no SHA-256 to compare with: reordered or missing parts would go unnoticed; "
        "--sha256 gives one");
  }
  SEALANE_TRY(Input input, Input::open(context, flags.in));
  SEALANE_TRY(keep_keys(flags.out, {flags.token_file, flags.key_file}));
  SEALANE_TRY(Output output,
              Output::create(context, flags.out, input,
                             flags.force ? Output::Existing::kReplace : Output::Existing::kRefuse));
  const auto opener =
      seal::make_chunk_stream_opener(found.key, flags.strict ? seal::ChunkStreamMode::kStrict
                                                             : seal::ChunkStreamMode::kCompatible);
  ReportingSource source(input.source(), !console.quiet && !console.json);
  backup::OpenJob job;
  job.name = input.name();
  job.key_unproven = true;
  job.decompress = !flags.skip_decompress;
  job.hash_sealed = true;
  job.refuse_trailing = flags.strict;
  const auto opened =
      backup::open_stream(*opener, {}, source, output.sink(), job, {.cancel = &context.cancel});
  source.end_line();
  if (!opened.has_value()) return opened.error();
  const backup::OpenReport& report = opened.value();
  const std::string sha256 = to_hex(report.sealed.hash);
  if (compare && sha256 != expected) {
    return failed("sha256 mismatch: the object has " + sha256 + ", expected is " +
                  printable(expected) + "; the object was changed, or is another one" +
                  (output.is_file() ? "" : "; do not use what was written"));
  }
  if (report.trailing_data) {
    console.warn(printable(input.name()) + " has data after its end, which was ignored");
  }
  SEALANE_TRY(output.commit());
  console.note("OK: " + printable(output.name()) + " (" + amount(report.plain.size) + ")");
  console.emit("decrypted", {{"in", input.name()},
                             {"out", output.name()},
                             {"plain_bytes", report.plain.size},
                             {"sealed_bytes", report.sealed.size},
                             {"sealed_sha256", sha256},
                             {"sha256_compared", compare},
                             {"trailing_data", report.trailing_data}});
  return success();
}

// The original's codes, not ours: 1 for whatever fails while it runs.
int report_failure(Context& context, const Error& error, int code) {
  if (context.console.json) {
    context.console.emit(
        "error",
        {{"kind", kind_name(error.kind)}, {"exit_code", code}, {"message", error.message}});
  } else {
    std::fprintf(stderr, "error: %s\n", error.message.c_str());
  }
  return code;
}

std::optional<int> run_words(Context& context, std::span<char* const> words) {
  const auto parsed = parse_decrypt_flags(words);
  if (parsed.has_value() && parsed.value().help) return std::nullopt;
  Console& console = context.console;
  if (!parsed.has_value()) {
    // The parse may have stopped before it saw --json.
    for (const std::string_view word : words) console.json |= word == "--json" || word == "-json";
    return report_failure(context, parsed.error(), 2);
  }
  const DecryptFlags& flags = parsed.value();
  console.json = flags.json;
  console.quiet = flags.quiet;
  console.data_on_stdout = flags.out == "-";
  if (flags.version) {
    console.print("backupy-decrypt " SEALANE_VERSION "\n");
    console.emit("version", {{"version", SEALANE_VERSION}});
    return 0;
  }
  if (const auto checked = check_flags(flags); !checked.has_value()) {
    if (!console.json) {
      std::fputs("usage: backupy-decrypt --token-file FILE --in FILE --out FILE; see --help\n",
                 stderr);
    }
    return report_failure(context, checked.error(), 2);
  }
  const auto done = decrypt(context, flags);
  if (!done.has_value()) return report_failure(context, done.error(), 1);
  return 0;
}

}  // namespace

Command decrypt_command() {
  const auto flags = std::make_shared<DecryptFlags>();
  return {
      .name = "decrypt",
      .summary = "open an object of a Backupy server, as backupy-decrypt does",
      .description =
          "Flags take one dash or two, -x VALUE or -x=VALUE; words that are no flags are ignored. "
          "The key comes from a token, from --key-hex, --key-base64 or --key-file, or from the "
          "variable BACKUPY_DEK. The output file appears only when everything was verified.\n\n"
          "Exit codes are the original's: 0 done, 1 failed, 2 usage. The program also answers to "
          "any name that ends in backupy-decrypt.",
      .examples = {"sealane decrypt --token-file token.jwt --in run.enc --out dump.sql"},
      .options = decrypt_options(*flags),
      .arguments = {},
      .run_words = [flags](Context& context,
                           std::span<char* const> words) { return run_words(context, words); },
      .also_called = "backupy-decrypt",
  };
}

}  // namespace sealane::app
