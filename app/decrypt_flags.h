#pragma once
// The flags of `sealane decrypt`, parsed as the Backupy tool does: one or two dashes, "-x v" or
// "-x=v", a switch is turned off by "=false", words that are no flags are ignored.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "app/command.h"

namespace sealane::app {

struct DecryptFlags {
  std::string token, token_file;
  std::string in, out;
  std::string sha256;
  std::string key_hex, key_base64, key_file;
  bool verify_sha256 = true;
  bool skip_decompress = false;
  bool allow_expired = false;
  bool strict = false;
  bool force = false;
  bool version = false;
  bool quiet = false;
  bool verbose = false;
  bool json = false;
  bool help = false;
};

// The flags of its own, for --help and the man page; variables point into `flags`.
std::vector<Option> decrypt_options(DecryptFlags& flags);

// The failure is kUsage.
Result<DecryptFlags, Error> parse_decrypt_flags(std::span<char* const> words);

}  // namespace sealane::app
