#include "app/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>

namespace sealane::app {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 failed; 2 usage; 3 done, but part of the source was unreadable or "
    "damaged;\n"
    "10 repository missing; 11 locked; 12 wrong key; 20 refused; 21 pin mismatch; 30 verification "
    "failed; 130 "
    "interrupted.";

std::string footer(const Command& command) {
  std::string text;
  if (!command.examples.empty()) {
    text += command.examples.size() == 1 ? "Example:\n" : "Examples:\n";
    for (const std::string& example : command.examples) text += "  " + example + "\n";
  }
  return text;
}

template <class Item>
CLI::Option* bind(CLI::App& app, const std::string& names, const Item& item) {
  return std::visit(
      [&](auto* variable) -> CLI::Option* {
        using T = std::remove_pointer_t<decltype(variable)>;
        if constexpr (std::is_same_v<T, bool>) {
          return app.add_flag(names, *variable, item.help);
        } else {
          CLI::Option* option = app.add_option(names, *variable, item.help);
          // "-r A -r B", never "-r A B": what follows may be an argument.
          if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            if (names.starts_with('-'))
              option->expected(1)->allow_extra_args(false)->multi_option_policy(
                  CLI::MultiOptionPolicy::TakeAll);
          }
          return option;
        }
      },
      item.variable);
}

// A list of commands has a line for each; what else there is to say stands in its own --help.
class BriefList final : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App* command) const override {
    const std::string about = command->get_description();
    std::stringstream out;
    CLI::detail::format_help(out, command->get_display_name(true),
                             about.substr(0, about.find('\n')), get_column_width());
    return out.str();
  }
};

// Refuses what the parser would take modulo 2^64: "-1".
CLI::Validator whole_number(std::uint64_t max) {
  return {[max](std::string& text) -> std::string {
            std::uint64_t value = 0;
            const char* end = text.data() + text.size();
            const auto [stop, error] = std::from_chars(text.data(), end, value);
            if (error == std::errc() && stop == end && value <= max) return {};
            return printable(text, 60) + " is not a whole number from 0 to " + std::to_string(max);
          },
          ""};
}

// Insertions, deletions and replacements that turn one word into the other.
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// What is wrong where a command's name is missing: `rest` is what stands in its place, if anything.
std::string no_such_command(CLI::App& app, const std::vector<std::string>& rest) {
  std::string all;
  std::string closest;
  std::size_t distance = 3;  // further is no slip of the finger
  const auto word = std::ranges::find_if(rest, [](const auto& r) { return !r.starts_with('-'); });
  for (const CLI::App* each :
       app.get_subcommands([](CLI::App* sub) { return !sub->get_group().empty(); })) {
    const std::string& name = each->get_name();
    all += (all.empty() ? "" : ", ") + name;
    if (word == rest.end()) continue;
    if (const std::size_t edits = edit_distance(*word, name); edits < distance) {
      distance = edits;
      closest = name;
    }
  }
  if (word == rest.end()) return "which command? " + all;
  const std::string what = "there is no command '" + printable(*word, 60) + "'";
  return closest.empty() ? what : what + "; did you mean '" + closest + "'?";
}

void add_command(CLI::App& root, std::map<std::string, CLI::App*>& groups, const Command& command,
                 Context& context, const Command*& chosen) {
  CLI::App* parent = &root;
  std::string name = command.name;
  if (const auto space = name.find(' '); space != std::string::npos) {
    const std::string group = name.substr(0, space);
    name = name.substr(space + 1);
    if (!groups.contains(group)) {
      groups[group] = root.add_subcommand(group, group_summary(group));
      groups[group]->require_subcommand(1);
    }
    parent = groups[group];
  }
  CLI::App* app = parent->add_subcommand(name, command.summary);
  if (command.hidden) app->group("");
  if (!command.description.empty())
    app->description(command.summary + "\n\n" + command.description);
  app->footer(footer(command));
  for (const Argument& argument : command.arguments) {
    CLI::Option* option = bind(*app, argument.name, argument);
    if (argument.required) option->required();
  }
  for (const Option& item : command.options) {
    CLI::Option* option = bind(*app, item.names, item);
    if (!item.value_name.empty()) option->type_name(item.value_name);
    if (item.required) option->required();
    if (!item.environment.empty()) option->envname(item.environment);
    if (!item.choices.empty()) option->check(CLI::IsMember(item.choices));
    if (std::holds_alternative<std::uint64_t*>(item.variable))
      option->check(whole_number(item.max));
  }
  app->add_flag("--json", context.console.json, "Print messages as JSON lines (docs/json.md)")
      ->envname("SEALANE_JSON");
  app->add_flag("-q,--quiet", context.console.quiet,
                "Say nothing but results, warnings and errors");
  app->add_flag("-v,--verbose", context.console.verbose, "Say more; may be repeated");
  app->callback([&chosen, &command] { chosen = &command; });
}

constexpr std::string_view kResultLost = "the result could not be written to standard output";

// The exit code of help or a version that was asked for.
int shown(Context& context, int code) {
  std::cout.flush();
  if (std::cout.good()) return code;
  const Error lost{.kind = ErrorKind::kFailed, .message = std::string(kResultLost)};
  context.console.error(lost);
  return exit_code(lost.kind);
}

}  // namespace

int run_command_line(int argc, char** argv, std::vector<Command>& commands, Context& context) {
  std::vector<const char*> arguments(argv, argv + argc);
  for (const Command& command : commands) {
    if (!command.run_words) continue;
    const bool renamed =
        !command.also_called.empty() && std::string_view(argv[0]).ends_with(command.also_called);
    if (!renamed && (argc < 2 || argv[1] != command.name)) continue;
    const auto words = std::span(argv, static_cast<std::size_t>(argc)).subspan(renamed ? 1 : 2);
    if (const auto code = command.run_words(context, words)) return *code;
    arguments = {argv[0], command.name.c_str(), "--help"};
    break;
  }
  CLI::App root("Encrypted backups that are proven by restoring them.", "sealane");
  root.set_version_flag("--version", "sealane " SEALANE_VERSION);
  root.require_subcommand(1);
  root.formatter(std::make_shared<BriefList>());  // its subcommands inherit it
  root.footer(std::string("Every command has --help with an example.\n\n") + kExitCodes);
  std::map<std::string, CLI::App*> groups;
  const Command* chosen = nullptr;
  for (const Command& command : commands) add_command(root, groups, command, context, chosen);
  if (arguments.size() <= 1) {
    std::fputs(root.help().c_str(), stderr);
    return exit_code(ErrorKind::kUsage);
  }
  try {
    root.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (const CLI::CallForHelp& help) {
    return shown(context, root.exit(help));
  } catch (const CLI::CallForVersion& version) {
    return shown(context, root.exit(version));
  } catch (const CLI::ParseError& error) {
    // The parse may have stopped before it saw --json.
    for (int i = 1; i < argc; ++i) context.console.json |= std::string_view(argv[i]) == "--json";
    std::string path = "sealane";
    CLI::App* app = &root;
    while (!app->get_subcommands().empty()) {
      app = app->get_subcommands().front();
      path += " " + app->get_name();
    }
    const bool no_command = app->get_require_subcommand_min() > 0;
    const std::string message =
        no_command ? no_such_command(*app, root.remaining(true)) : std::string(error.what());
    context.console.error(
        {.kind = ErrorKind::kUsage, .message = message + "; see '" + path + " --help'"});
    return exit_code(ErrorKind::kUsage);
  }
  auto result = chosen->run(context);
  if (result.has_value() && context.console.result_lost()) {
    result = Error{.kind = ErrorKind::kFailed, .message = std::string(kResultLost)};
  }
  if (result.has_value()) return result.value();
  context.console.error(result.error());
  return exit_code(result.error().kind);
}

}  // namespace sealane::app
