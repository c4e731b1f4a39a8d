#pragma once
// The command line: turns argv into one Command that ran. The only file behind it that sees CLI11.
#include "app/command.h"

namespace sealane::app {

// Parses, runs, prints the failure, returns the exit code.
int run_command_line(int argc, char** argv, std::vector<Command>& commands, Context& context);

}  // namespace sealane::app
