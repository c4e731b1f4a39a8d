#include "app/paths.h"

#include <cstdlib>

#include "sealane/base/seams.h"

namespace sealane::app {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string home_directory() {
  if (std::string home = variable("SEALANE_HOME"); !home.empty()) return home;
  if (const std::string config = variable("XDG_CONFIG_HOME"); !config.empty()) {
    return join_path(config, "sealane");
  }
  const std::string home = variable("HOME");
  return join_path(home.empty() ? "/root" : home, ".config/sealane");
}

std::string home_path(std::string_view name) { return join_path(home_directory(), name); }

}  // namespace sealane::app
