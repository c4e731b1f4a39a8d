#include "app/generate.h"

#include <algorithm>
#include <cstdint>
#include <set>

namespace sealane::app {
namespace {

// What every command takes (command_line.cc adds them); tests compare both with --help.
struct CommonFlag {
  std::string_view names;
  std::string_view help;
};
constexpr CommonFlag kCommonFlags[] = {
    {"-h,--help", "Print this help message and exit"},
    {"--json", "Print messages as JSON lines (docs/json.md)"},
    {"-q,--quiet", "Say nothing but results, warnings and errors"},
    {"-v,--verbose", "Say more; may be repeated"},
};

struct ExitStatus {
  int code;
  std::string_view meaning;
};
constexpr ExitStatus kExitStatus[] = {
    {0, "done"},
    {1, "failed; trying again may help"},
    {2, "usage: the request itself is wrong, and nothing was changed"},
    {3, "done, but part of the source was unreadable or damaged"},
    {10, "no repository there"},
    {11, "locked: somebody else is writing"},
    {12, "none of the given keys opens it"},
    {20, "refused by a peer or a right"},
    {21, "signed or answered by a key that is not pinned"},
    {30, "verification failed: damaged, forged, truncated, rolled back or forked"},
    {130, "interrupted; nothing half-done is left"},
};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(separator, start), text.size());
    parts.emplace_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::vector<const Command*> visible(std::span<const Command> commands) {
  std::vector<const Command*> out;
  for (const Command& command : commands) {
    if (!command.hidden) out.push_back(&command);
  }
  return out;
}

std::string dashed(std::string_view name) { return replace_all(std::string(name), " ", "-"); }

bool is_list(const Variable& variable) {
  return std::holds_alternative<std::vector<std::string>*>(variable);
}

// ---- man(1) ----

// Text as roff shows it: no line starts a request, no hyphen becomes a dash.
std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (byte >= 0xe0 && i + 2 < text.size()) {  // "…" and other three-byte characters
      const auto continuation = [&](std::size_t at) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at]) & 0x3f);
      };
      const std::uint32_t code =
          (std::uint32_t{byte} & 0x0f) << 12 | continuation(i + 1) << 6 | continuation(i + 2);
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      out += "\\[u";
      for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[(code >> shift) & 0xf];
      out += "]";
      i += 2;
    } else {
      out += c;
    }
  }
  return out;
}

// Paragraphs are separated by empty lines; indented lines stay as they are.
std::string roff_paragraphs(std::string_view text) {
  std::string out;
  bool verbatim = false;
  bool fresh = true;
  for (const std::string& line : split(text, '\n')) {
    const bool indented = line.starts_with("  ");
    if (indented != verbatim) {
      out += indented ? ".PP\n.EX\n" : ".EE\n";
      verbatim = indented;
      fresh = true;
    }
    if (line.empty()) {
      if (!fresh) out += ".PP\n";
      fresh = true;
      continue;
    }
    out += roff(line) + "\n";
    fresh = false;
  }
  if (verbatim) out += ".EE\n";
  if (out.ends_with(".PP\n")) out.resize(out.size() - 4);
  return out;
}

std::string heading(std::string_view page, std::string_view summary) {
  std::string title(page);
  std::ranges::transform(title, title.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return ".TH " + roff(title) + " 1 \"\" \"sealane " SEALANE_VERSION "\" \"Sealane\"\n.SH NAME\n" +
         roff(page) + " \\- " + roff(summary) + "\n";
}

std::string flag_item(std::string_view names, std::string_view value_name) {
  std::string out = ".TP\n";
  bool first = true;
  for (const std::string& name : split(names, ',')) {
    if (!first) out += ", ";
    first = false;
    out += "\\fB" + roff(name) + "\\fR";
  }
  if (!value_name.empty()) out += " \\fI" + roff(value_name) + "\\fR";
  return out + "\n";
}

std::string exit_status() {
  std::string out = ".SH EXIT STATUS\n";
  for (const ExitStatus& status : kExitStatus) {
    out += ".TP\n" + std::to_string(status.code) + "\n" + roff(status.meaning) + ".\n";
  }
  return out;
}

std::string synopsis(const Command& command) {
  std::string out = "\\fBsealane " + roff(command.name) + "\\fR";
  for (const Option& option : command.options) {
    if (!option.required) continue;
    out += " \\fB" + roff(split(option.names, ',').back()) + "\\fR \\fI" + roff(option.value_name) +
           "\\fR";
    if (is_list(option.variable)) out += " \\[u2026]";
  }
  out += " [\\fIOPTION\\fR]\\[u2026]";
  for (const Argument& argument : command.arguments) {
    const std::string name = "\\fI" + roff(argument.name) + "\\fR";
    out += argument.required ? " " + name : " [" + name + "]";
    if (is_list(argument.variable)) out += "\\[u2026]";
  }
  return out + "\n";
}

std::string command_page(const Command& command) {
  const std::string page = "sealane-" + dashed(command.name);
  std::string out = heading(page, command.summary);
  out += ".SH SYNOPSIS\n" + synopsis(command);
  if (!command.description.empty()) {
    out += ".SH DESCRIPTION\n" + roff_paragraphs(command.description);
  }
  out += ".SH OPTIONS\n";
  for (const Argument& argument : command.arguments) {
    out += ".TP\n\\fI" + roff(argument.name) + "\\fR\n" + roff(argument.help) + ".\n";
  }
  for (const Option& option : command.options) {
    out += flag_item(option.names, option.value_name) + roff(option.help);
    if (!option.choices.empty()) {
      out += ": ";
      for (std::size_t i = 0; i < option.choices.size(); ++i) {
        out += (i == 0 ? "" : ", ") + roff(option.choices[i]);
      }
    }
    out += ".\n";
    if (option.required) out += "Required.\n";
    if (is_list(option.variable)) out += "May be given several times.\n";
    if (!option.environment.empty()) {
      out += "Without it: the environment variable \\fB" + roff(option.environment) + "\\fR.\n";
    }
  }
  for (const CommonFlag& flag : kCommonFlags) {
    out += flag_item(flag.names, "") + roff(flag.help) + ".\n";
  }
  // Where another program defined the flags, it defined the codes too; the description says them.
  if (!command.run_words) out += exit_status();
  if (!command.examples.empty()) {
    out += ".SH EXAMPLES\n.EX\n";
    for (const std::string& example : command.examples) out += roff(example) + "\n";
    out += ".EE\n";
  }
  return out + ".SH SEE ALSO\n\\fBsealane\\fR(1)\n";
}

std::string program_page(const std::vector<const Command*>& commands) {
  std::string out = heading("sealane", "encrypted backups that are proven by restoring them");
  out += ".SH SYNOPSIS\n\\fBsealane\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]\\[u2026]\n";
  out +=
      ".SH DESCRIPTION\n"
      "Data goes to standard output, talk to standard error; \\fB\\-\\fR names a standard stream.\n"
      "Every command takes \\fB\\-\\-json\\fR and \\fB\\-\\-help\\fR, which ends with an example.\n"
      "Secrets come from files or prompts, never from arguments.\n";
  out += ".SH COMMANDS\n";
  for (const Command* command : commands) {
    out += ".TP\n\\fBsealane\\-" + roff(dashed(command->name)) + "\\fR(1)\n" +
           roff(command->summary) + "\n";
  }
  out += ".SH ENVIRONMENT\n";
  out += ".TP\n\\fBNO_COLOR\\fR\nNo colors on a terminal.\n";
  out +=
      ".TP\n\\fBSEALANE_CPU\\fR\nWith \\fIgeneric\\fR, only code that every CPU runs: slower, to "
      "look for a "
      "fault.\n";
  std::set<std::string> variables = {"SEALANE_JSON"};
  for (const Command* command : commands) {
    for (const Option& option : command->options) {
      if (!option.environment.empty()) variables.insert(option.environment);
    }
  }
  for (const std::string& variable : variables) {
    out += ".TP\n\\fB" + roff(variable) + "\\fR\n";
    std::vector<std::string> flags;
    if (variable == "SEALANE_JSON") flags.emplace_back("--json");
    for (const Command* command : commands) {
      for (const Option& option : command->options) {
        const std::string flag = split(option.names, ',').back();
        if (option.environment == variable && !std::ranges::count(flags, flag)) {
          flags.push_back(flag);
        }
      }
    }
    out += "Stands for";
    for (std::size_t i = 0; i < flags.size(); ++i) {
      out += (i == 0 ? " \\fB" : ", \\fB") + roff(flags[i]) + "\\fR";
    }
    out += " where that is missing.\n";
  }
  return out + exit_status();
}

// ---- Shells ----

// Words in one pair of single quotes, for all three shells.
std::string quoted(std::string_view text) {
  return "'" + replace_all(std::string(text), "'", "'\\''") + "'";
}

std::string joined(const std::vector<std::string>& words, std::string_view separator) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += separator;
    out += word;
  }
  return out;
}

std::vector<std::string> all_flags(const Command& command) {
  std::vector<std::string> flags;
  for (const Option& option : command.options) {
    for (std::string& name : split(option.names, ',')) flags.push_back(std::move(name));
  }
  for (const CommonFlag& flag : kCommonFlags) {
    for (std::string& name : split(flag.names, ',')) flags.push_back(std::move(name));
  }
  return flags;
}

struct Group {
  std::string name;
  std::vector<const Command*> verbs;
};
std::vector<Group> groups(const std::vector<const Command*>& commands) {
  std::vector<Group> out;
  for (const Command* command : commands) {
    const auto space = command->name.find(' ');
    if (space == std::string::npos) continue;
    const std::string name = command->name.substr(0, space);
    auto found = std::ranges::find(out, name, &Group::name);
    if (found == out.end()) found = out.insert(out.end(), {.name = name, .verbs = {}});
    found->verbs.push_back(command);
  }
  return out;
}
std::string verb_of(const Command& command) {
  return command.name.substr(command.name.find(' ') + 1);
}

// The words that may follow "sealane": commands and groups, once each.
std::vector<std::string> first_words(const std::vector<const Command*>& commands) {
  std::vector<std::string> words;
  for (const Command* command : commands) {
    std::string word = command->name.substr(0, command->name.find(' '));
    if (!std::ranges::count(words, word)) words.push_back(std::move(word));
  }
  return words;
}

std::string bash_values(Completes completes, const std::vector<std::string>& choices) {
  if (!choices.empty()) return "_sealane_words " + quoted(joined(choices, " "));
  switch (completes) {
    case Completes::kFile:
      return "_sealane_paths -f";
    case Completes::kDirectory:
      return "_sealane_paths -d";
    case Completes::kNothing:
      break;
  }
  return ":";
}

std::string zsh_values(std::string_view name, Completes completes,
                       const std::vector<std::string>& choices) {
  const std::string label = replace_all(std::string(name), ":", "\\:");
  if (!choices.empty()) return ":" + label + ":(" + joined(choices, " ") + ")";
  switch (completes) {
    case Completes::kFile:
      return ":" + label + ":_files";
    case Completes::kDirectory:
      return ":" + label + ":_files -/";
    case Completes::kNothing:
      break;
  }
  return ":" + label + ": ";
}

std::string zsh_help(std::string_view help) {
  std::string text(help);
  for (const std::string_view special : {"\\", "[", "]", ":"}) {
    text = replace_all(text, special, "\\" + std::string(special));
  }
  return "[" + text + "]";
}

std::string fish_values(Completes completes, const std::vector<std::string>& choices) {
  if (!choices.empty()) return " -x -a " + quoted(joined(choices, " "));
  switch (completes) {
    case Completes::kFile:
      return " -r -F";
    case Completes::kDirectory:
      return " -x -a '(__fish_complete_directories)'";
    case Completes::kNothing:
      break;
  }
  return " -x";
}

std::string fish_names(std::string_view names) {
  std::string out;
  for (const std::string& name : split(names, ',')) {
    out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> man_pages(std::span<const Command> commands) {
  const auto shown = visible(commands);
  std::vector<std::pair<std::string, std::string>> pages;
  pages.emplace_back("sealane.1", program_page(shown));
  for (const Command* command : shown) {
    pages.emplace_back("sealane-" + dashed(command->name) + ".1", command_page(*command));
  }
  return pages;
}

std::string bash_completion(std::span<const Command> commands) {
  const auto shown = visible(commands);
  std::string out =
      "# bash completion for sealane, made by `sealane completion bash`\n"
      "_sealane_words() { mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$current\"); }\n"
      "_sealane_paths() {\n"
      "  compopt -o filenames 2>/dev/null\n"
      "  mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$current\")\n"
      "}\n"
      "_sealane() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
      "  local command='' i\n"
      "  COMPREPLY=()\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"$command/${COMP_WORDS[i]}\" in\n";
  for (const std::string& word : first_words(shown)) {
    out += "      /" + word + ") command=" + quoted(word) + " ;;\n";
  }
  for (const Group& group : groups(shown)) {
    for (const Command* verb : group.verbs) {
      out += "      " + quoted(group.name + "/" + verb_of(*verb)) +
             ") command=" + quoted(verb->name) + " ;;\n";
    }
  }
  out += "    esac\n  done\n  case $command in\n";
  out += "    '') _sealane_words " + quoted(joined(first_words(shown), " ") + " --help --version") +
         " ;;\n";
  for (const Group& group : groups(shown)) {
    std::vector<std::string> verbs;
    for (const Command* verb : group.verbs) verbs.push_back(verb_of(*verb));
    out += "    " + quoted(group.name) + ") _sealane_words " +
           quoted(joined(verbs, " ") + " --help") + " ;;\n";
  }
  for (const Command* command : shown) {
    out += "    " + quoted(command->name) + ")\n      case $previous in\n";
    for (const Option& option : command->options) {
      if (option.value_name.empty()) continue;
      out += "        " + joined(split(option.names, ','), " | ") + ") " +
             bash_values(option.completes, option.choices) + "; return ;;\n";
    }
    out += "      esac\n      if [[ $current == -* ]]; then\n        _sealane_words " +
           quoted(joined(all_flags(*command), " ")) + "\n";
    if (!command->arguments.empty()) {
      out += "      else\n        " + bash_values(command->arguments.front().completes, {}) + "\n";
    }
    out += "      fi\n      ;;\n";
  }
  return out + "  esac\n}\ncomplete -F _sealane sealane\n";
}

std::string zsh_completion(std::span<const Command> commands) {
  const auto shown = visible(commands);
  const auto described = [](std::string_view name, std::string_view summary) {
    return quoted(std::string(name) + ":" + replace_all(std::string(summary), ":", "\\:"));
  };
  std::string out =
      "#compdef sealane\n"
      "# zsh completion for sealane, made by `sealane completion zsh`\n"
      "_sealane() {\n"
      "  local -a commands\n"
      "  if ((CURRENT == 2)); then\n"
      "    commands=(";
  for (const std::string& word : first_words(shown)) {
    const auto found = std::ranges::find(shown, word, [](const Command* c) { return c->name; });
    out += "\n      " +
           described(word, found != shown.end() ? (*found)->summary : group_summary(word));
  }
  out += ")\n    _describe command commands\n    return\n  fi\n";
  for (const Group& group : groups(shown)) {
    out += "  if [[ $words[2] == " + group.name + " ]] && ((CURRENT == 3)); then\n    commands=(";
    for (const Command* verb : group.verbs) {
      out += "\n      " + described(verb_of(*verb), verb->summary);
    }
    out += ")\n    _describe command commands\n    return\n  fi\n";
  }
  out +=
      "  local command=$words[2]\n"
      "  shift words; ((CURRENT--))\n"
      "  case $command in\n    ";
  std::vector<std::string> group_names;
  for (const Group& group : groups(shown)) group_names.push_back(group.name);
  if (!group_names.empty()) {
    out += joined(group_names, " | ") +
           ") command=\"$command $words[2]\"; shift words; ((CURRENT--)) ;;\n";
  }
  out += "  esac\n  case $command in\n";
  for (const Command* command : shown) {
    out += "    " + quoted(command->name) + ")\n      _arguments -s";
    for (const Option& option : command->options) {
      const std::string values =
          option.value_name.empty()
              ? ""
              : zsh_values(option.value_name, option.completes, option.choices);
      for (const std::string& name : split(option.names, ',')) {
        out += " \\\n        " + quoted((is_list(option.variable) ? "*" : "") + name +
                                        zsh_help(option.help) + values);
      }
    }
    for (const CommonFlag& flag : kCommonFlags) {
      for (const std::string& name : split(flag.names, ',')) {
        out += " \\\n        " + quoted(name + zsh_help(flag.help));
      }
    }
    for (const Argument& argument : command->arguments) {
      const std::string place = is_list(argument.variable) ? "*" : argument.required ? "" : ":";
      out += " \\\n        " + quoted(place + zsh_values(argument.name, argument.completes, {}));
    }
    out += "\n      ;;\n";
  }
  return out + "  esac\n}\n_sealane \"$@\"\n";
}

std::string fish_completion(std::span<const Command> commands) {
  const auto shown = visible(commands);
  std::string out =
      "# fish completion for sealane, made by `sealane completion fish`\n"
      "complete -c sealane -f\n";
  const auto line = [&](const std::string& condition, const std::string& rest) {
    out += "complete -c sealane -n " + quoted(condition) + rest + "\n";
  };
  for (const std::string& word : first_words(shown)) {
    const auto found = std::ranges::find(shown, word, [](const Command* c) { return c->name; });
    const std::string summary = found != shown.end() ? (*found)->summary : group_summary(word);
    line("__fish_use_subcommand", " -a " + word + " -d " + quoted(summary));
  }
  for (const Group& group : groups(shown)) {
    std::vector<std::string> verbs;
    for (const Command* verb : group.verbs) verbs.push_back(verb_of(*verb));
    for (const Command* verb : group.verbs) {
      line("__fish_seen_subcommand_from " + group.name + "; and not __fish_seen_subcommand_from " +
               joined(verbs, " "),
           " -a " + verb_of(*verb) + " -d " + quoted(verb->summary));
    }
  }
  for (const Command* command : shown) {
    std::string condition = "__fish_seen_subcommand_from " + command->name;
    if (const auto space = command->name.find(' '); space != std::string::npos) {
      condition = "__fish_seen_subcommand_from " + command->name.substr(0, space) +
                  "; and __fish_seen_subcommand_from " + verb_of(*command);
    }
    for (const Option& option : command->options) {
      line(condition,
           fish_names(option.names) +
               (option.value_name.empty() ? "" : fish_values(option.completes, option.choices)) +
               " -d " + quoted(option.help));
    }
    for (const CommonFlag& flag : kCommonFlags) {
      line(condition, fish_names(flag.names) + " -d " + quoted(flag.help));
    }
    for (const Argument& argument : command->arguments) {
      if (argument.completes == Completes::kNothing) continue;
      line(condition,
           argument.completes == Completes::kFile ? " -F" : " -a '(__fish_complete_directories)'");
    }
  }
  return out;
}

}  // namespace sealane::app
