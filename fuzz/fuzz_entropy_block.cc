// Extension block, its name and the acknowledgement: what is read is what is written; the first 28
// bytes are what the MAC binds.
#include "base/check.h"
#include "entropy/extension.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::entropy;
  const ByteSpan input = std::as_bytes(std::span(data, size));
  std::vector<ClusterSecret> secrets;
  secrets.emplace_back(ByteArray<32>{});
  secrets.emplace_back(ByteArray<32>{std::byte{1}});
  if (input.size() >= Acknowledgement::kEncodedSize) {
    const auto bytes = input.first<Acknowledgement::kEncodedSize>();
    const auto decoded = decode_acknowledgement(bytes, secrets[0], SnapshotId{}, 0);
    if (decoded.has_value()) {
      ByteArray<Acknowledgement::kEncodedSize> again{};
      encode(decoded.value(), secrets[0], again);
      SEALANE_CHECK(std::ranges::equal(again, bytes));
    }
  }
  // What stands in a name; below a MAC stands before it, which no mutation gets past.
  Extension block;
  block.flags |= Extension::kStore;
  block.sender = to_text(input.first(std::min(input.size(), Extension::kMaxNameSize)));
  if (const auto store = block.store()) {
    Extension again;
    again.sender = block.name();
    again.set_store(*store);
    SEALANE_CHECK(again.store() == store && again.name() == block.name());
  }
  constexpr std::size_t kBound = kNegotiationSize + 8;
  if (input.size() < kBound) return 0;
  const BoundHeader bound = input.first<kBound>();
  std::size_t used = 0;
  const ByteSpan reserved = input.subspan(kBound);
  const auto decoded = decode_extension(reserved, bound, secrets, &used);
  if (!decoded.has_value()) return 0;
  Bytes again(decoded.value().encoded_size());
  encode(decoded.value(), bound, secrets[used], again);
  SEALANE_CHECK(std::ranges::equal(again, reserved.first(again.size())));
  return 0;
}
