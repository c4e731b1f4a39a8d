// SSHSIG: no input is more than refused, and none is a signature for another message.
#include "base/check.h"
#include "sealane/identity/keys.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::identity;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kNamespace = "sealane-test@v1";  // of the seeds
  const std::string_view message = "a message\nof two lines\n";
  const auto signer = verify(text, kNamespace, as_bytes(message));
  const auto other = verify(text, kNamespace, as_bytes(message.substr(1)));
  SEALANE_CHECK(!signer.has_value() || !other.has_value());
  SEALANE_CHECK(!signer.has_value() || !verify(text, "other", as_bytes(message)).has_value());
  return 0;
}
