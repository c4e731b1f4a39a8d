// Extension block and acknowledgement: what is read is what is written, byte for byte; the first 28
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
  if (const auto store = decoded.value().store()) {
    Extension named;
    named.sender = decoded.value().name();
    named.set_store(*store);
    SEALANE_CHECK(named.store() == store && named.name() == decoded.value().name());
  }
  return 0;
}
