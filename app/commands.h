#pragma once
// The commands, one cmd_NAME.cc each. A new one gets a line here and one in commands.cc.
#include "app/command.h"

namespace sealane::app {

Command keygen_command();
Command id_command();
Command seal_command();
Command open_command();
Command decrypt_command();
Command repo_init_command();
Command repo_copy_command();
Command backup_command();
Command snapshots_command();
Command restore_command();
Command verify_command();
Command drill_command();
Command forget_command();
Command pipe_listen_command();
Command pipe_dial_command();
Command warm_push_command();
Command warm_serve_command();
Command warm_compare_command();
Command hub_serve_command();
Command hub_enrol_command();
Command hub_clients_command();
Command hub_remove_command();
Command hub_export_command();
Command hub_status_command();
Command send_command();
Command listen_command();
Command chat_command();
Command version_command();

Command generate_man_command();  // hidden, as the next
Command completion_command();

}  // namespace sealane::app
