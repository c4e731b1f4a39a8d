// A sender's window as it lies on the disk, and the same bytes as steps against it.
#include "base/check.h"
#include "mailbox/ref_window.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::mailbox;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  RefWindow window;
  if (size >= RefWindow::kEncodedSize) {
    const auto stored = input.first<RefWindow::kEncodedSize>();
    if (const auto decoded = RefWindow::decode(stored)) {
      window = *decoded;
      ByteArray<RefWindow::kEncodedSize> again;
      window.encode(again);
      SEALANE_CHECK(std::ranges::equal(again, stored));
    }
  }
  for (std::size_t at = RefWindow::kEncodedSize; at + 1 < size; at += 2) {
    const std::uint64_t step = std::uint64_t{data[at]} << (data[at + 1] % 8);
    const std::uint64_t low = window.highest() > 1200 ? window.highest() - 1200 : 0;
    if (low > UINT64_MAX - step) break;
    const SenderRef ref{low + step};
    if (window.look_up(ref) == RefWindow::Seen::kNew) {
      window.take(ref);
      SEALANE_CHECK(window.look_up(ref) == RefWindow::Seen::kTaken);
    } else if (window.look_up(ref) == RefWindow::Seen::kTaken) {
      window.give_back(ref);
      SEALANE_CHECK(window.look_up(ref) == RefWindow::Seen::kNew);
    }
  }
  return 0;
}
