#include "app/commands.h"

namespace sealane::app {

std::vector<Command> all_commands() {
  return {
      version_command(),
      generate_man_command(),
      completion_command(),
  };
}

}  // namespace sealane::app
