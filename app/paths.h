#pragma once
// Where a node keeps its own things when no flag says otherwise.
#include <string>
#include <string_view>

namespace sealane::app {

// $SEALANE_HOME, else $XDG_CONFIG_HOME/sealane, else ~/.config/sealane.
std::string home_directory();
// "identity", "trusted_keys", "heads" below it.
std::string home_path(std::string_view name);

}  // namespace sealane::app
