// The stream re-framer: any bytes in any pieces, bounded; and a genuine packet behind them is found
// or the stream is given up.
#include "base/check.h"
#include "session/reframer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sealane;
  using namespace sealane::session;
  constexpr std::size_t kMaxPacket = 4096;
  PacketKey key = PacketKey::plain();
  const auto peek =
      [&key](std::span<const std::byte, kPacketHeaderSize> header) -> std::optional<std::uint32_t> {
    const auto opened = key.peek_header({}, header);
    if (!opened.has_value()) return std::nullopt;
    return opened.value().length();
  };
  const ByteSpan input = std::as_bytes(std::span(data, size));
  // The same bytes whole and in pieces give the same packets.
  const auto packets_of = [&](std::size_t piece) {
    Reframer reframer(kMaxPacket, peek);
    std::vector<Bytes> packets;
    for (std::size_t at = 0; at < size; at += piece) {
      reframer.feed(input.subspan(at, std::min(piece, size - at)));
      for (;;) {
        const auto next = reframer.next();
        if (!next.has_value()) return packets;
        if (!next.value()) break;
        packets.push_back(to_bytes(*next.value()));
      }
      SEALANE_CHECK(reframer.buffered() <=
                    Reframer::kMaxUnopened + kMaxPacket + piece + kPacketHeaderSize);
    }
    return packets;
  };
  const std::size_t piece = size == 0 ? 1 : 1 + std::to_integer<std::size_t>(input[0]);
  SEALANE_CHECK(packets_of(size + 1) == packets_of(piece));
  return 0;
}
