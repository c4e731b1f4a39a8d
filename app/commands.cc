#include "app/commands.h"

#include "base/check.h"

namespace sealane::app {

std::string group_summary(std::string_view group) {
  if (group == "repo") return "make and copy repositories";
  if (group == "pipe") return "carry a stream, a file or ports to a machine whose key is pinned";
  if (group == "warm") return "keep a second Redis equal to the first";
  if (group == "hub") return "run a message hub and list its clients";
  SEALANE_CHECK(false && "a group without a summary");
}

std::vector<Command> all_commands() {
  return {
      keygen_command(),       id_command(),           seal_command(),       open_command(),
      decrypt_command(),      repo_init_command(),    repo_copy_command(),  backup_command(),
      snapshots_command(),    restore_command(),      verify_command(),     drill_command(),
      forget_command(),       pipe_listen_command(),  pipe_dial_command(),  warm_push_command(),
      warm_serve_command(),   warm_compare_command(), hub_serve_command(),  hub_enrol_command(),
      hub_clients_command(),  hub_remove_command(),   hub_export_command(), hub_status_command(),
      send_command(),         listen_command(),       chat_command(),       version_command(),
      generate_man_command(), completion_command(),
  };
}

}  // namespace sealane::app
