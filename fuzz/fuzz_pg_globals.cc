// What is selected from a list of roles is itself such a list, and selects to itself.
#include "backup/pg_globals.h"
#include "base/check.h"
#include "sealane/base/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace sealane;
  const std::string_view text = as_text(std::as_bytes(std::span(data, size)));
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
