#include <nlohmann/json.hpp>

#include "app/commands.h"

namespace sealane::app {

Command version_command() {
  return {
      .name = "version",
      .summary = "print the version",
      .description = "",
      .examples = {"sealane version --json"},
      .options = {},
      .arguments = {},
      .run = [](Context& context) -> Result<int, Error> {
        context.console.print("sealane " SEALANE_VERSION "\n");
        context.console.emit("version", {{"version", SEALANE_VERSION}});
        return 0;
      },
  };
}

}  // namespace sealane::app
