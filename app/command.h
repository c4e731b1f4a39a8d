#pragma once
// Command: one verb of the program, described as data. The parser, --help, man pages and shell
// completion are all made from the same description.
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "app/console.h"
#include "flow/stream.h"
#include "sealane/base/seams.h"

namespace sealane::app {

// What a command may use of the outside.
struct Context {
  Console& console;
  FileSystem& files;
  Clock& clock;
  RandomSource& random;
  flow::Cancellation& cancel;  // SIGINT, SIGTERM, SIGHUP
};

// Where a parsed value goes. It must live as long as the command: keep it in a shared_ptr that
// `run` captures (see cmd_version.cc for the shape).
using Variable = std::variant<bool*, std::string*, std::vector<std::string>*, std::uint64_t*>;

enum class Completes : std::uint8_t { kNothing, kFile, kDirectory };

struct Option {
  std::string names;            // "-r,--recipient" or "--strict"
  std::string value_name = {};  // "RECIPIENT"; empty for a switch
  std::string help = {};        // one sentence without full stop
  Variable variable;
  bool required = false;
  std::vector<std::string> choices = {};
  std::string environment = {};  // variable that gives it when the flag is missing: "SEALANE_REPO"
  Completes completes = Completes::kNothing;
  std::uint64_t max = 1'000'000'000;  // of a number; what is larger, or negative, is a slip
};

inline constexpr std::uint64_t kMaxThreads = 256;  // each holds some MiB; none gains from more

struct Argument {
  std::string name;  // "IN"
  std::string help;
  Variable variable;  // a vector takes all that follow
  bool required = false;
  Completes completes = Completes::kFile;
};

struct Command {
  std::string name;         // "seal", or "repo init" for a verb below a group
  std::string summary;      // one line
  std::string description;  // paragraphs for --help and the man page; may be empty
  std::vector<std::string> examples;
  std::vector<Option> options;
  std::vector<Argument> arguments;
  // The exit code, or the failure. --json, --quiet and --verbose are in context.console already.
  std::function<Result<int, Error>(Context&)> run = {};
  bool hidden = false;
  // Instead of `run`, where another program defined the flags: takes the words behind the verb as
  // they are, says what failed itself, returns the exit code. Nothing: help was asked for.
  std::function<std::optional<int>(Context&, std::span<char* const>)> run_words = {};
  std::string also_called = {};  // also runs when the program's own name ends in this
};

// All commands of the program, in the order of --help.
std::vector<Command> all_commands();
// Of a first word that several commands share: "repo".
std::string group_summary(std::string_view group);

}  // namespace sealane::app
