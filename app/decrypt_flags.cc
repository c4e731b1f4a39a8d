#include "app/decrypt_flags.h"

#include <algorithm>
#include <array>
#include <optional>

namespace sealane::app {
namespace {

struct Flag {
  std::string_view name;
  Variable variable;
};

std::vector<Flag> all_flags(DecryptFlags& flags, const std::vector<Option>& options) {
  std::vector<Flag> all;
  all.reserve(options.size());
  for (const Option& option : options) {
    all.push_back({std::string_view(option.names).substr(2), option.variable});
  }
  // What every command has.
  all.push_back({"json", &flags.json});
  all.push_back({"quiet", &flags.quiet});
  all.push_back({"q", &flags.quiet});
  all.push_back({"verbose", &flags.verbose});
  all.push_back({"v", &flags.verbose});
  all.push_back({"help", &flags.help});
  all.push_back({"h", &flags.help});
  return all;
}

std::optional<bool> parse_switch(std::string_view text) {
  constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "true", "TRUE", "True"};
  constexpr std::array<std::string_view, 6> kFalse = {"0", "f", "F", "false", "FALSE", "False"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, text) != kFalse.end()) return false;
  return std::nullopt;
}

Error usage(std::string_view what, std::string_view flag) {
  return {.kind = ErrorKind::kUsage,
          .message = std::string(what) + ": -" + printable(flag) + "; see --help"};
}

}  // namespace

std::vector<Option> decrypt_options(DecryptFlags& flags) {
  using enum Completes;
  return {
      {.names = "--token",
       .value_name = "JWT",
       .help = "Decryption token; better in a file, since others can read command lines",
       .variable = &flags.token},
      {.names = "--token-file",
       .value_name = "FILE",
       .help = "File with the token, - for standard input; wins over --token",
       .variable = &flags.token_file,
       .completes = kFile},
      {.names = "--in",
       .value_name = "FILE",
       .help = "Encrypted object, - for standard input",
       .variable = &flags.in,
       .completes = kFile},
      {.names = "--out",
       .value_name = "FILE",
       .help = "Where the dump goes, - for standard output",
       .variable = &flags.out,
       .completes = kFile},
      {.names = "--verify-sha256",
       .value_name = "",
       .help = "Compare the object's SHA-256 with the expected one (on; =false skips it)",
       .variable = &flags.verify_sha256},
      {.names = "--skip-decompress",
       .value_name = "",
       .help = "Write the decrypted bytes as they are, without unzstd",
       .variable = &flags.skip_decompress},
      {.names = "--version",
       .value_name = "",
       .help = "Print the version and exit",
       .variable = &flags.version},
      {.names = "--key-hex",
       .value_name = "HEX",
       .help = "Data key as 64 hex digits, instead of a token; visible to others, as --token",
       .variable = &flags.key_hex},
      {.names = "--key-base64",
       .value_name = "BASE64",
       .help = "Data key as base64, instead of a token; visible to others, as --token",
       .variable = &flags.key_base64},
      {.names = "--key-file",
       .value_name = "FILE",
       .help = "File with the data key: 32 raw bytes, 64 hex digits or base64",
       .variable = &flags.key_file,
       .completes = kFile},
      {.names = "--sha256",
       .value_name = "HEX",
       .help = "Expected SHA-256 of the object, instead of the token's",
       .variable = &flags.sha256},
      {.names = "--allow-expired",
       .value_name = "",
       .help = "Take an expired token, for recovery with a kept one",
       .variable = &flags.allow_expired},
      {.names = "--strict",
       .value_name = "",
       .help = "Refuse data after the end and frames cut as no writer cuts them",
       .variable = &flags.strict},
      {.names = "--force",
       .value_name = "",
       .help = "Replace an existing output file",
       .variable = &flags.force},
  };
}

Result<DecryptFlags, Error> parse_decrypt_flags(std::span<char* const> words) {
  DecryptFlags flags;
  const auto options = decrypt_options(flags);
  const std::vector<Flag> known = all_flags(flags, options);
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (word == "--") break;
    if (word.size() < 2 || word[0] != '-') continue;
    word.remove_prefix(word[1] == '-' ? 2 : 1);
    const std::size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    std::optional<std::string_view> value;
    if (equals != std::string_view::npos) value = word.substr(equals + 1);
    const auto flag = std::ranges::find(known, name, &Flag::name);
    if (flag == known.end()) return usage("unknown flag", name);
    if (const auto* text = std::get_if<std::string*>(&flag->variable)) {
      if (!value) {
        if (++i == words.size()) return usage("this flag needs a value", name);
        value = words[i];
      }
      **text = *value;
    } else {
      const auto on = parse_switch(value.value_or("true"));
      if (!on) return usage("the value of this flag must be true or false", name);
      *std::get<bool*>(flag->variable) = *on;
    }
  }
  return flags;
}

}  // namespace sealane::app
