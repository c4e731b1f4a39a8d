#include "app/commands.h"

namespace sealane::app {

std::vector<Command> all_commands() {
  return {
      keygen_command(),
      id_command(),
      version_command(),
      generate_man_command(),
      completion_command(),
  };
}

}  // namespace sealane::app
