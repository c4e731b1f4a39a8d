#pragma once
// Man pages and shell completions, made from the descriptions of the commands. Text in, text out.
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/command.h"

namespace sealane::app {

// File name and content, section 1: the program, then a page for each command that is not hidden.
std::vector<std::pair<std::string, std::string>> man_pages(std::span<const Command> commands);

// The script that a shell loads. Words that follow are files, directories, choices or nothing, as
// the description of the option or argument says.
std::string bash_completion(std::span<const Command> commands);
std::string zsh_completion(std::span<const Command> commands);
std::string fish_completion(std::span<const Command> commands);

}  // namespace sealane::app
