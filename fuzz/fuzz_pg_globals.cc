// What is selected from a list of roles is itself such a list, and selects to itself; so do the
// settings of a database.
#include "backup/pg_globals.h"
#include "base/check.h"
#include "sealane/base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace sealane;
  const std::string_view text = as_text(std::as_bytes(std::span(data, size)));
  const auto settings = backup::settings_for_database(text, "\"new; \"\"one\"");
  if (settings.has_value()) {
    const auto again = backup::settings_for_database(settings.value(), "\"new; \"\"one\"");
    SEALANE_CHECK(again.has_value());
    SEALANE_CHECK(again.value() == settings.value());
  }
  const std::set<std::string> roles = {"there"};
  const std::set<std::string> databases = {"here"};
  const auto once = backup::select_globals(text, roles, databases);
  if (!once.has_value()) return 0;
  const auto twice = backup::select_globals(once.value().script, roles, databases);
  SEALANE_CHECK(twice.has_value());
  SEALANE_CHECK(twice.value().script == once.value().script);
  SEALANE_CHECK(twice.value().skipped == 0);
  return 0;
}
