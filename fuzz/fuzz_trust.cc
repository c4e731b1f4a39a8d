// Trust files: what is read is written and read as the same; an error has its reason.
#include "base/check.h"
#include "sealane/identity/trust.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto store = TrustStore::parse(text);
  if (!store.has_value()) {
    SEALANE_CHECK(!describe(store.error()).empty());
    return 0;
  }
  const auto again = TrustStore::parse(store.value().format());
  SEALANE_CHECK(again.has_value() && again.value().keys() == store.value().keys());
  for (const TrustedKey& key : store.value().keys()) {
    SEALANE_CHECK(!TrustStore::problem_with(key));
    SEALANE_CHECK(!store.value().allows(key.key, "no:right", "plan:a", WallTime{}));
  }
  return 0;
}
