// What packaging calls: man pages and shell completions, made from the commands themselves.
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/generate.h"

namespace sealane::app {

Command generate_man_command() {
  auto directory = std::make_shared<std::string>();
  return {
      .name = "generate-man",
      .summary = "write the man pages",
      .description = "",
      .examples = {"sealane generate-man /usr/local/share/man/man1"},
      .options = {},
      .arguments = {{.name = "DIR",
                     .help = "An existing directory",
                     .variable = directory.get(),
                     .required = true,
                     .completes = Completes::kDirectory}},
      .run = [directory](Context& context) -> Result<int, Error> {
        for (const auto& [name, text] : man_pages(all_commands())) {
          const auto written = replace_file(context.files, context.random,
                                            join_path(*directory, name), as_bytes(text), 0644);
          if (!written.has_value()) return to_error(written.error());
          context.console.emit("file", {{"path", join_path(*directory, name)}});
        }
        return 0;
      },
      .hidden = true,
  };
}

Command completion_command() {
  auto shell = std::make_shared<std::string>();
  return {
      .name = "completion",
      .summary = "print the completion script of a shell",
      .description = "",
      .examples = {"source <(sealane completion bash)"},
      .options = {},
      .arguments = {{.name = "SHELL",
                     .help = "bash, zsh or fish",
                     .variable = shell.get(),
                     .required = true,
                     .completes = Completes::kNothing}},
      .run = [shell](Context& context) -> Result<int, Error> {
        const auto commands = all_commands();
        std::string script;
        if (*shell == "bash") {
          script = bash_completion(commands);
        } else if (*shell == "zsh") {
          script = zsh_completion(commands);
        } else if (*shell == "fish") {
          script = fish_completion(commands);
        } else {
          return Error{.kind = ErrorKind::kUsage,
                       .message = "no completion for '" + printable(*shell) +
                                  "'; there is one for bash, zsh and fish"};
        }
        context.console.print(script);
        context.console.emit("completion", {{"shell", *shell}, {"script", script}});
        return 0;
      },
      .hidden = true,
  };
}

}  // namespace sealane::app
